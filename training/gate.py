"""The promotion gate: what was checked of a challenger, and whether it may take the champion's place.

In: checks, each made elsewhere of figures. Out: a `Decision`, as JSON and as a table of words. A challenger
is promoted when no check refuses it. A person may override a refusal, with a reason that is kept, but not one
that says that the release cannot be served.

    check = Check("coverage", passed=True, reason="98.9% full pages")
    decision = Decision(date(2017, 12, 4), "2017-12-04/release@0123456789ab", None, (check,))
    decision.promoted
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

PROMOTED, REFUSED = 0, 3  # exit codes; 1 is an error, 2 a wrong option
WIDTH = 92  # of a reason in the table


class OverrideError(ValueError):
    """An override without a reason, or of what cannot be overridden."""


@dataclass(frozen=True)
class Check:
    """What one check found; `reason` is a sentence for a person, `figures` are for a program.

    A check that was not `made` says why, and `passed` whether that is allowed. A `warning` does not refuse.
    A refusal that is `final` cannot be overridden: the release cannot be served.
    """

    name: str
    passed: bool
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    made: bool = True
    warning: bool = False
    final: bool = False

    @property
    def outcome(self) -> str:
        """The outcome in a word or two."""
        if not self.passed:
            return "REFUSED" if self.made else "NOT MADE"
        return "not made" if not self.made else "warning" if self.warning else "passed"


def not_made(name: str, why: str, *, allowed: bool) -> Check:
    """A check that could not be made; it refuses unless that is allowed."""
    return Check(name, passed=allowed, reason=why, made=False)


@dataclass(frozen=True)
class Decision:
    """What was decided of one day's challenger; `override` is a person's reason to release it anyway."""

    day: date
    challenger: str
    champion: str | None
    checks: tuple[Check, ...]
    override: str | None = None

    def __post_init__(self) -> None:
        if self.override is not None and not self.override.strip():
            raise OverrideError("--override is empty; say why the challenger is to be released")

    @property
    def failed(self) -> tuple[Check, ...]:
        """Checks that speak against the challenger."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def overridden(self) -> bool:
        """Whether it is promoted although checks failed."""
        return bool(self.failed) and self.promoted

    @property
    def promoted(self) -> bool:
        """Whether the challenger is to be released."""
        return not self.failed or (self.override is not None and not any(each.final for each in self.failed))

    @property
    def exit_code(self) -> int:
        """PROMOTED or REFUSED."""
        return PROMOTED if self.promoted else REFUSED

    @property
    def verdict(self) -> str:
        """The decision in a sentence."""
        names = ", ".join(check.name for check in self.failed)
        if not self.failed:
            return f"{self.day}: promoted, all {len(self.checks)} checks passed"
        if self.promoted:
            return f"{self.day}: promoted over {names}, because: {self.override}"
        final = [check.name for check in self.failed if check.final]
        if self.override is not None:
            return f"{self.day}: refused for {names}; {', '.join(final)} cannot be overridden"
        return f"{self.day}: refused for {names}"

    def record(self) -> dict[str, Any]:
        """The decision for JSON."""
        return {
            "day": self.day.isoformat(),
            "challenger": self.challenger,
            "champion": self.champion,
            "promoted": self.promoted,
            "exit_code": self.exit_code,
            "verdict": self.verdict,
            "override": self.override,
            "overridden": [check.name for check in self.failed] if self.overridden else [],
            "refused": [check.name for check in self.failed],
            "checks": [{**asdict(check), "outcome": check.outcome} for check in self.checks],
        }

    def table(self) -> str:
        """A line for each check, then the verdict."""
        rows = [(check.name, check.outcome, shortened(check.reason)) for check in self.checks]
        widths = [max(map(len, column)) for column in zip(*(row[:2] for row in rows), strict=True)]
        lines = [
            f"{name:<{widths[0]}}  {outcome:<{widths[1]}}  {reason}".rstrip()
            for name, outcome, reason in rows
        ]
        return "\n".join([*lines, self.verdict])

    def write(self, path: Path) -> None:
        """Write as JSON, aside and then renamed; nan becomes null."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".aside")
        aside.write_text(json.dumps(plain(self.record()), indent=1, allow_nan=False) + "\n")
        aside.replace(path)


def read_decision(path: Path) -> Decision:
    """What `Decision.write` wrote; FileNotFoundError names the command that writes it."""
    if not path.exists():
        raise FileNotFoundError(f"No decision in {path}; run `endcap gate`")
    record = json.loads(path.read_text())
    checks = tuple(
        Check(**{name: value for name, value in check.items() if name != "outcome"})
        for check in record["checks"]
    )
    day, override = date.fromisoformat(record["day"]), record["override"]
    return Decision(day, record["challenger"], record["champion"], checks, override)


def shortened(text: str) -> str:
    """The beginning of a long sentence."""
    return text if len(text) <= WIDTH else text[: WIDTH - 1].rstrip() + "…"


def plain(value: Any) -> Any:
    """A value as JSON can hold it: nan and infinities as null, NumPy's numbers as Python's."""
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not -float("inf") < value < float("inf") else value
