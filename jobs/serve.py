"""Serve the current release: `bentoml serve` with this installation's settings.

endcap serve --port 3000
"""

import os
import sys

from bentos.current_release import current_tag
from feature_repo.settings import Settings


def run(settings: Settings, host: str, port: int) -> None:
    """Replace this process by BentoML's server; ReleaseError when there is nothing to serve."""
    current_tag(settings)
    command = [sys.executable, "-m", "bentoml", "serve", "bentos.service:Endcap"]
    environment = {**os.environ, "ENDCAP_STATE": str(settings.state), "ENDCAP_REPORTS": str(settings.reports)}
    # Not a child: signals and the exit code of the server are those of the verb.
    os.execve(  # noqa: S606 - no shell on purpose
        sys.executable, [*command, "--host", host, "--port", str(port)], environment
    )
