"""What an ingest read, refused, left out, changed, merged, added and wrote, per table and reason.

For every table: read - refused - left out - merged + added = written. `changed` and `kept` rows are written.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from feature_repo.shop_calendar import ShopCalendar

ACTIONS = ("refused", "left out", "merged", "added", "changed", "kept")


@dataclass(frozen=True)
class RuleCount:
    """How many rows of a table met a rule, and what was done with them (one of `ACTIONS`)."""

    action: str
    reason: str
    rows: int


@dataclass(frozen=True)
class TableSummary:
    """One table's way from the raw rows to the written ones."""

    name: str
    where: str
    read: int
    written: int
    rules: tuple[RuleCount, ...] = ()

    def rows(self, action: str) -> int:
        """Rows with which `action` was done, whatever the reason."""
        return sum(rule.rows for rule in self.rules if rule.action == action)

    def record(self) -> dict[str, Any]:
        """For ingest.json."""
        rules = [asdict(rule) for rule in self.rules]
        return {"where": self.where, "read": self.read, "written": self.written, "rules": rules}

    def lines(self) -> Iterable[str]:
        """The table as text: a headline, then a line for each rule that met a row."""
        yield f"{self.name:<13}{self.read:>12,} read {self.written:>12,} written"
        for rule in sorted(self.rules, key=lambda rule: ACTIONS.index(rule.action)):
            yield f"    {rule.rows:>12,} {rule.action}: {rule.reason}"


@dataclass(frozen=True)
class Summary:
    """One finished ingest; `str()` of it is what people read, `record()` what programs read."""

    source: str
    recorded: bool
    calendar: ShopCalendar
    first: str
    last: str
    tables: tuple[TableSummary, ...]
    until: date | None = None  # the last day that was asked for

    def table(self, name: str) -> TableSummary:
        """Summary of one table."""
        return next(table for table in self.tables if table.name == name)

    @property
    def lines(self) -> tuple[str, ...]:
        """The summary as text."""
        head = f"source {self.source}, {'recorded' if self.recorded else 'live'}, {self.first} to {self.last}"
        return (head, *(line for table in self.tables for line in table.lines()))

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def record(self) -> dict[str, Any]:
        """For ingest.json."""
        return {
            "source": self.source,
            "recorded": self.recorded,
            "until": self.until.isoformat() if self.until else None,
            "first": self.first,
            "last": self.last,
            "weeks": {"timezone": self.calendar.timezone, "first_day": self.calendar.first_day.isoformat()},
            "tables": {table.name: table.record() for table in self.tables},
        }
