"""Where an installation stands: each step of the pipeline, the release in use, the writer at work.

endcap status
"""

from datetime import datetime

from feature_repo.settings import Settings
from jobs.markers import read_marker
from jobs.pipeline import Pipeline
from jobs.steps import Choices
from jobs.writer_lock import holder


def lines(settings: Settings, choices: Choices) -> list[str]:
    """One line a step with what it left and why it would be done again, then release and writer."""
    pipeline = Pipeline(settings)
    waiting: set[str] = set()
    found = [f"profile {settings.profile}, state {settings.state}, reports {settings.reports}"]
    for step in pipeline.steps:
        blockers = [name for name in step.after if name in waiting]
        reason = f"after {blockers[0]}" if blockers else pipeline.reason_to_run(step, choices)
        if reason is not None:
            waiting.add(step.name)
        found.append(f"{step.name:<16} {_state(reason):<44} {_left(settings, step.name)}".rstrip())
    current = settings.current_release
    release = current.read_text().strip() if current.exists() else "none yet; run: endcap run"
    pid = holder(settings)
    return [
        *found,
        f"release          {release}",
        f"at work          {f'process {pid}' if pid else 'nobody'}",
    ]


def _state(reason: str | None) -> str:
    return "done" if reason is None else f"to do: {reason}"


def _left(settings: Settings, step: str) -> str:
    """What the last finished run of a step left, and when."""
    marker = read_marker(settings, step)
    if marker is None:
        return ""
    finished = datetime.fromisoformat(marker.finished_at).astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{marker.result.rows:>12,} {marker.result.unit:<14} {marker.result.seconds:>7.1f} s  {finished}"
