"""What a verb reports when it is done: what, how many, how long, where."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Result:
    """One finished step; `str()` of it is the step's log line."""

    step: str
    rows: int
    unit: str
    where: Path | str
    seconds: float = 0.0
    detail: str = ""
    notes: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        line = f"{self.step:<16} {self.rows:>12,} {self.unit:<14} {self.seconds:>7.1f} s   {self.where}"
        return f"{line}   {self.detail}" if self.detail else line
