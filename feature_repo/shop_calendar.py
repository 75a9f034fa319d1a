"""The shop's weeks: local midnights in the shop's own time zone, as UTC instants.

A week begins at local midnight, so in UTC its length changes with daylight saving: a fixed UTC grid
would put late purchases into the wrong week.
"""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class ShopCalendar:
    """Weeks counted from 1; week 1 begins on `first_day` at midnight in `timezone`."""

    timezone: str
    first_day: date

    def start(self, week: int) -> datetime:
        """UTC instant at which `week` begins (inclusive)."""
        day = self.first_day + timedelta(weeks=week - 1)
        return datetime.combine(day, time(), tzinfo=ZoneInfo(self.timezone)).astimezone(UTC)

    def end(self, week: int) -> datetime:
        """UTC instant at which `week` is over (exclusive): the start of the next one."""
        return self.start(week + 1)

    def week_at(self, instant: datetime) -> int:
        """Week that holds a time-zone-aware `instant`."""
        if instant.tzinfo is None:
            raise ValueError(f"{instant} has no time zone; give a UTC instant")
        local = instant.astimezone(ZoneInfo(self.timezone)).date()
        return (local - self.first_day).days // 7 + 1

    def save(self, path: Path) -> None:
        """Write as JSON, aside and then renamed."""
        aside = path.with_suffix(".aside")
        aside.write_text(json.dumps({"timezone": self.timezone, "first_day": self.first_day.isoformat()}))
        aside.replace(path)

    @classmethod
    def load(cls, path: Path) -> "ShopCalendar":
        """Read what `save` wrote; FileNotFoundError names the command that writes it."""
        if not path.exists():
            raise FileNotFoundError(f"No calendar in {path}; run `endcap ingest`")
        record = json.loads(path.read_text())
        return cls(timezone=record["timezone"], first_day=date.fromisoformat(record["first_day"]))
