"""What a monitor says of one thing: in order, worth a look, or broken; and what a pager reads of it.

In: what was found. Out: alerts, the worst of their levels, an exit code, and JSON.

    Alert("data", "rows", "fail", "1,900 rows, expected 3,400 to 4,900", {"value": 1900.0})
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

OK, WARN, FAIL = LEVELS = ("ok", "warn", "fail")
BROKEN = 4  # exit code of a day on which something fails; 0 where it is in order or worth a look


@dataclass(frozen=True)
class Alert:
    """One rule's outcome on one day. `name` is the rule's, `about` what it was held to: a column, a feature.

    `figures` are the numbers behind it; a level that is none of LEVELS raises ValueError.
    """

    section: str
    name: str
    level: str
    text: str
    figures: Mapping[str, float] = field(default_factory=dict)
    about: str = ""

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"level is {self.level!r}; use {', '.join(LEVELS)}")

    @property
    def line(self) -> str:
        """As a terminal shows it."""
        about = f" {self.about}" if self.about else ""
        return f"{self.level:<5}{self.section:<10}{self.name}{about}: {self.text}"

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "section": self.section,
            "name": self.name,
            "about": self.about,
            "level": self.level,
            "text": self.text,
            "figures": dict(self.figures),
        }


def worst(alerts: Iterable[Alert]) -> str:
    """The gravest level; `ok` of none."""
    return max((alert.level for alert in alerts), key=LEVELS.index, default=OK)


def level_of(size: float, warn: float, fail: float) -> str:
    """Level of a size that is in order up to `warn`, and worth a look up to `fail`; nan is in order.

    >>> [level_of(size, 1, 2) for size in (1.0, 1.5, 2.5)]
    ['ok', 'warn', 'fail']
    """
    return FAIL if size > fail else WARN if size > warn else OK


def exit_code(alerts: Iterable[Alert]) -> int:
    """BROKEN where anything fails."""
    return BROKEN if worst(alerts) == FAIL else 0


def pager(day: date, alerts: Iterable[Alert]) -> dict[str, Any]:
    """What a pager reads: the day, its level, counts by level, and what is not ok, gravest first."""
    every = list(alerts)
    shown = sorted((a for a in every if a.level != OK), key=lambda a: -LEVELS.index(a.level))
    return {
        "day": day.isoformat(),
        "level": worst(every),
        "counts": {level: sum(a.level == level for a in every) for level in LEVELS},
        "alerts": [alert.record() for alert in shown],
    }
