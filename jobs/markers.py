"""Markers of finished steps: one small JSON file a step in `state/steps/`, written last, by a rename.

A step of a logical date has its marker in a folder of that date, one of a cut in a folder of the cut.

A marker says what a step was done from (its *parts*: arguments, code, libraries, the steps before it)
and what came out. It exists, with equal parts, exactly when the step need not be done again.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from feature_repo.settings import Settings
from jobs.result import Result


@dataclass(frozen=True)
class Marker:
    """One finished step; `run` names this very run of it, so that steps after it notice a second one."""

    run: str
    finished_at: str
    parts: Mapping[str, str]
    result: Result
    peak_bytes: int
    cpu_seconds: float = 0.0


def marker_file(settings: Settings, step: str) -> Path:
    """Where the marker of `step` is kept."""
    return settings.state / "steps" / f"{step}.json"


def write_marker(settings: Settings, step: str, marker: Marker) -> None:
    """Say that `step` is done; call it when its outputs are complete."""
    path = marker_file(settings, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {**asdict(marker), "parts": dict(marker.parts), "result": result_record(marker.result)}
    aside = path.with_suffix(".aside")
    aside.write_text(json.dumps(record, indent=1))
    aside.replace(path)


def read_marker(settings: Settings, step: str) -> Marker | None:
    """Marker of `step`, None if it is not done (or its marker is of another version of this program)."""
    try:
        record = json.loads(marker_file(settings, step).read_text())
        return Marker(**{**record, "result": result_of(record["result"])})
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None


def remove_marker(settings: Settings, step: str) -> None:
    """Say that `step` is not done; call it before its outputs are touched."""
    marker_file(settings, step).unlink(missing_ok=True)


def result_record(result: Result) -> dict[str, Any]:
    """A result as JSON can hold it."""
    return {**asdict(result), "where": str(result.where), "notes": list(result.notes)}


def result_of(record: Mapping[str, Any]) -> Result:
    """The result that `result_record` was made from; `where` stays text."""
    return Result(**{**record, "notes": tuple(record["notes"])})
