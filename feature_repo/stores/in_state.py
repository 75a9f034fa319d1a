"""Relative paths of `feature_store.yaml` start at the state folder.

The file has no defaults for variables, and Feast resolves a relative path against the folder of that file.
Here it is resolved against the state folder of the settings, so that `feast apply` run by hand and `endcap
apply` mean the same files, with and without ENDCAP_STATE. Absolute paths stay as they are.
"""

from pathlib import Path

from feature_repo.settings import Settings


def in_state(path: str | Path, state: str | Path | None = None) -> Path:
    """`path`, below the state folder (`state`, or that of the environment) unless it is absolute."""
    if Path(path).is_absolute():
        return Path(path)
    return Path(state or Settings.from_environment().state) / path
