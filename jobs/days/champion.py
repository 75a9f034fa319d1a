"""The champion of a logical date: the release that served before, which its challenger is held against.

It is noted when the day's models are begun, so a second run of the day meets the same one, whatever was
published or rolled back since.
"""

import json
from datetime import date
from pathlib import Path

from feature_repo.settings import Settings


def champion_file(settings: Settings, day: date) -> Path:
    """Where it is noted."""
    return settings.day(day) / "champion.json"


def champion_of(settings: Settings, day: date) -> str | None:
    """Tag of the champion as noted, else of the release that is current now; None where there is none."""
    path = champion_file(settings, day)
    if path.exists():
        noted: str | None = json.loads(path.read_text())["tag"]
        return noted
    current = settings.current_release
    return (current.read_text().strip() or None) if current.is_file() else None


def note_champion(settings: Settings, day: date) -> None:
    """Note the release that is current now, unless a champion of that day was noted before."""
    path = champion_file(settings, day)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".aside")
    aside.write_text(json.dumps({"tag": champion_of(settings, day)}) + "\n")
    aside.replace(path)
