"""What an experiment came to, looked up by what a record says: the ground of its summary and its page.

In: the experiment and its tidy records, one number each:

    {"report": "experiment", "experiment": "engine", "metric": "ctr", "arm": "engine", "value": 0.031,
     "low": 0.030, "high": 0.032, "unit": "share", "users": 10155}

A record with `versus` is the relative lift of `arm` over the control by a `method`; one with a `segment` is
of some users only, one with a `day` of all until the end of that day. Method `side by side` stands apart: a
level, or with `versus` a lift over any other arm, of trips that all arms had. Out: `Results`, and numbers as
text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import copysign, isfinite
from typing import Any, TypeGuard

from bentos.experiments import METRICS, Experiment
from jobs.experiments.outcomes import SEGMENTS

Record = Mapping[str, Any]

METHODS = {"fixed": "fixed horizon", "cuped": "CUPED", "sequential": "always valid"}
SIDE_BY_SIDE = "side by side"  # method of records of all arms on the same trips, see `side_by_side.py`
QUANTILES = ("p50", "p95", "p99")
STAGES = ("answers", "slots", "clicks", "bought")
UNITS = {"share": ".2%", "money": ",.2f", "items": ",.2f", "ms": ",.1f"}
MISSING = "-"
FAR = 99.99  # relative lift, +9,999 %: of what lies beyond, only that it does is told


class ResultsError(ValueError):
    """Records do not belong to the experiment; the message names what they say."""


@dataclass(frozen=True)
class Results:
    """An experiment with its records; ResultsError where one is of another experiment or an unknown arm."""

    experiment: Experiment
    records: tuple[Record, ...]

    def __post_init__(self) -> None:
        name, arms = self.experiment.name, self.experiment.arms
        for record in self.records:
            if record.get("experiment", name) != name:
                raise ResultsError(f"A record is of {record['experiment']!r}; give those of {name} only")
            if record.get("arm") is not None and record["arm"] not in arms:
                known = ", ".join(arms)
                raise ResultsError(f"A record has the arm {record['arm']!r}; {name} has {known}")

    @property
    def arms(self) -> tuple[str, ...]:
        """The control, then the treatments."""
        return (self.experiment.control, *self.experiment.treatments)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics with a record: the primary, the guardrails, then the others in the order of METRICS."""
        first = (self.experiment.primary, *(each.metric for each in self.experiment.guardrails))
        there = {record["metric"] for record in self.records if record.get("method") != SIDE_BY_SIDE}
        return tuple(metric for metric in dict.fromkeys((*first, *METRICS)) if metric in there)

    @property
    def segments(self) -> tuple[str, ...]:
        """Names of segments: SEGMENTS from least bought to most, then others as the records bring them."""
        names = dict.fromkeys(r["segment"] for r in self.records if r.get("segment") is not None)
        return (*(name for name in SEGMENTS if name in names), *(n for n in names if n not in SEGMENTS))

    def of(self, **tags: str | None) -> list[Record]:
        """Records with all of these tags; None asks for those without the tag."""
        return [r for r in self.records if all(r.get(tag) == value for tag, value in tags.items())]

    def one(self, **tags: str | None) -> Record | None:
        """The record with these tags, if there is one."""
        return next(iter(self.of(**tags)), None)

    def level(self, metric: str, arm: str) -> Record | None:
        """The metric itself in an arm, of the users assigned to it."""
        return self.one(metric=metric, arm=arm, versus=None, method=None, segment=None, day=None)

    def lift(self, metric: str, arm: str, method: str, segment: str | None = None) -> Record | None:
        """Relative lift of an arm over the control, of the whole time."""
        control = self.experiment.control
        return self.one(metric=metric, arm=arm, versus=control, method=method, segment=segment, day=None)

    def best_lift(self, metric: str, arm: str, segment: str | None = None) -> Record | None:
        """The lift with CUPED, or without it where there is none."""
        found = (self.lift(metric, arm, method, segment) for method in ("cuped", "fixed"))
        return next((record for record in found if record), None)

    def side_by_side(self, metric: str, arm: str, versus: str | None = None) -> Record | None:
        """The metric in an arm on the same trips as in all others, or its lift there over another arm."""
        return self.one(metric=metric, arm=arm, versus=versus, method=SIDE_BY_SIDE)

    def by_day(self, metric: str, arm: str) -> list[Record]:
        """Cumulative lifts of an arm, one a day, in order of the days."""
        days = [r for r in self.of(metric=metric, arm=arm, method="sequential", segment=None) if r.get("day")]
        return sorted(days, key=lambda record: record["day"])

    def users(self) -> dict[str, int]:
        """Users of each arm that has such a record."""
        return {record["arm"]: int(record["value"]) for record in self.of(metric="users")}


def known(value: float | None) -> TypeGuard[float]:
    """Whether a number is there and finite."""
    return value is not None and isfinite(value)


def told(value: float | None, form: str) -> str:
    """A number as text; a dash where there is none."""
    return format(value, form) if known(value) else MISSING


def relative(value: float) -> str:
    """A relative lift as text, of bounded width.

    >>> relative(0.10614), relative(12.3), relative(4e51)
    ('+10.61%', '+1,230%', '>+9,999%')
    """
    if abs(value) > FAR:
        return f"{'<' if value < 0 else '>'}{copysign(FAR, value):+,.0%}"
    return f"{value:+.2%}" if abs(value) < 10 else f"{value:+,.0%}"


def in_words(value: float) -> str:
    """A relative lift as a sentence has it.

    >>> in_words(0.10614), in_words(4e51)
    ('+10.6 %', '>+9,999 %')
    """
    return relative(value).replace("%", " %") if abs(value) > FAR else f"{100 * value:+,.1f} %"


def lift_text(record: Record | None, form: Callable[[float], str] = relative) -> tuple[str, str]:
    """A lift and its interval, each number in the `form`; an end that is not known is unbounded.

    >>> lift_text({"value": 0.106, "low": None, "high": 0.153})
    ('+10.60%', '[-∞, +15.30%]')
    """
    if record is None:
        return MISSING, ""
    if not known(record["value"]):
        return "undefined", ""
    low, high = record.get("low"), record.get("high")
    ends = form(low) if known(low) else "-∞", form(high) if known(high) else "+∞"
    return form(record["value"]), f"[{', '.join(ends)}]"


def level_text(record: Record | None, metric: str) -> tuple[str, str]:
    """A level and its interval, in the metric's unit; no interval where the record has none.

    A share's interval by the normal distribution may pass 0 or 1: it is shown up to there.
    """
    if record is None:
        return MISSING, ""
    unit = METRICS[metric].unit
    form = UNITS.get(unit, ",.3g")
    ends = [record.get("low"), record.get("high")]
    if unit == "share":
        ends = [min(max(0.0, end), 1.0) if known(end) else end for end in ends]
    shown = [told(end, form) for end in ends]
    return told(record["value"], form), "" if MISSING in shown else f"[{', '.join(shown)}]"


def p_text(value: float | None) -> str:
    """A p value to three places, and no nearer to 0 than that."""
    return "< 0.001" if value is not None and value < 0.001 else told(value, ".3f")


def shortened(name: str, room: int) -> str:
    """A name in at most `room` letters, 4 or more: its middle gives way, as names differ at their ends.

    >>> shortened("engine_without_promotions_2", 12)
    'engine_w…s_2'
    """
    tail = (room - 1) // 3
    return name if len(name) <= room else f"{name[: room - 1 - tail]}…{name[-tail:]}"
