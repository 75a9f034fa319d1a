"""The shop's weeks and days: local midnights in the shop's own time zone, as UTC instants.

A week begins at local midnight, so in UTC its length changes with daylight saving: a fixed UTC grid
would put late purchases into the wrong week. The same goes for days.
"""

import json
from dataclasses import dataclass, replace
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
        return self.day_start(self.first_day + timedelta(weeks=week - 1))

    def end(self, week: int) -> datetime:
        """UTC instant at which `week` is over (exclusive): the start of the next one."""
        return self.start(week + 1)

    def week_at(self, instant: datetime) -> int:
        """Week that holds a time-zone-aware `instant`."""
        return (self.day_at(instant) - self.first_day).days // 7 + 1

    def whole_weeks(self, instant: datetime) -> int:
        """Newest week that is over at a time-zone-aware `instant`; 0 if none is."""
        return self.week_at(instant) - 1

    def day_start(self, day: date) -> datetime:
        """UTC instant at which a local day begins (inclusive)."""
        return datetime.combine(day, time(), tzinfo=ZoneInfo(self.timezone)).astimezone(UTC)

    def day_end(self, day: date) -> datetime:
        """UTC instant at which a local day is over (exclusive): the start of the next one."""
        return self.day_start(day + timedelta(days=1))

    def day_at(self, instant: datetime) -> date:
        """Local day that holds a time-zone-aware `instant`."""
        if instant.tzinfo is None:
            raise ValueError(f"{instant} has no time zone; give a UTC instant")
        return instant.astimezone(ZoneInfo(self.timezone)).date()

    def ending_with(self, day: date, weeks: int) -> "ShopCalendar":
        """The same days in other weeks: the last day of week `weeks` is `day`."""
        return replace(self, first_day=day + timedelta(days=1) - timedelta(weeks=weeks))

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
        return cls.from_text(path.read_text())

    @classmethod
    def from_text(cls, text: str) -> "ShopCalendar":
        """That of a file's content."""
        record = json.loads(text)
        return cls(timezone=record["timezone"], first_day=date.fromisoformat(record["first_day"]))
