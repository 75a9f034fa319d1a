"""Where an installation stands: each step of the pipeline, of the newest day too, the release, the writer.

endcap status
endcap status --date 2017-12-04
"""

from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

from feature_repo.settings import Settings
from jobs.pipeline import Pipeline
from jobs.steps import STEPS, Choices, Step, steps_here
from jobs.writer_lock import holder

HEAD = f"{'step':<16} {'state':<40} {'left':>12} {'':<14} {'wall':>8} {'CPU':>8} {'size':>9}  finished"


def lines(settings: Settings, choices: Choices, day: date | None = None) -> list[str]:
    """A table of the steps, one of a day's (the newest by default), then release and writer."""
    from jobs.days.daily import days_in
    from jobs.days.steps import DAY_STEPS

    days = days_in(settings)
    day = day or (days[-1] if days else None)
    current = settings.current_release
    release = current.read_text().strip() if current.exists() else "none yet; run: endcap run"
    pid = holder(settings)
    found = [f"profile {settings.profile}, state {settings.state}, reports {settings.reports}", HEAD]
    found += table(settings, STEPS, choices)
    if day is not None:
        found += [f"day {day}" + (f", of {len(days)} up to {days[-1]}" if days else ", none is in yet"), HEAD]
        found += table(settings, DAY_STEPS, replace(choices, day=day))
    return [
        *found,
        f"release          {release}",
        f"at work          {f'process {pid}' if pid else 'nobody'}",
    ]


def table(settings: Settings, steps: tuple[Step, ...], choices: Choices) -> list[str]:
    """One line a step with what it left and why it would be done again."""
    pipeline, found = Pipeline(settings, steps=steps), []
    waiting: set[str] = set()
    for step in steps_here(settings, steps):
        blockers = [name for name in step.after if name in waiting]
        reason = f"after {blockers[0]}" if blockers else _reason(pipeline, step, choices)
        if reason is not None:
            waiting.add(step.name)
        found.append(f"{step.name:<16} {_state(reason):<40} {_left(pipeline, step, choices)}".rstrip())
    return found


def _reason(pipeline: Pipeline, step: Step, choices: Choices) -> str | None:
    """Why a step would be done; where that hangs on a file of an earlier step, that this is missing."""
    try:
        return pipeline.reason_to_run(step, choices)
    except (FileNotFoundError, ValueError) as error:
        return str(error).partition(";")[0]


def _state(reason: str | None) -> str:
    return "done" if reason is None else f"to do: {reason}"


def _left(pipeline: Pipeline, step: Step, choices: Choices) -> str:
    """What the last finished run of a step left, what it took, and when."""
    marker = pipeline.marker_of(step, choices)
    if marker is None:
        return ""
    finished = datetime.fromisoformat(marker.finished_at).astimezone().strftime("%Y-%m-%d %H:%M")
    result, size = marker.result, sum(map(_size, step.outputs(pipeline.settings, choices))) / 1e6
    took = f"{result.seconds:>6.1f} s {marker.cpu_seconds:>6.1f} s {size:>6.1f} MB"
    return f"{result.rows:>12,} {result.unit:<14} {took}  {finished}"


def _size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size if path.exists() else 0
