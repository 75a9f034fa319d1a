"""What runs as an experiment: arms and their shares, on whom, from when to when, and what decides.

In: `state/experiments.yaml`. Out: `Experiments`, checked, or an ExperimentError that names the place and the
value and says what to use. Who gets which arm stands in `assignment.py`, what an arm does in `arms.py`.

    layers:
      page: {holdout: 0.05}                 # of all users, in no experiment of this layer
    experiments:
      engine:
        layer: page
        start: 2017-12-04T05:00:00Z
        ramp: 0.2                           # of the users of its slice
        control: segment
        arms:
          segment: {share: 0.5, legacy: segment}
          engine: {share: 0.5}              # the current release
        primary: ctr
        guardrails:
          - {metric: latency_ms, worst: 0.5}

Layers overlap: a user is in each, by independent chance. Experiments of one layer share its users out, so at
no time do their slices overlap; experiments of different layers may not change the same thing at one time
(Tang et al. 2010, "Overlapping experiment infrastructure").
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from bentos.exploration import Explore
from bentos.file_parts import Instant, Name, Number, Part, Share, first_of, one_of
from bentos.legacy_rules import LEGACY_RULES
from bentos.yaml_file import YamlFileError, read_yaml

SHARES_SUM = 1e-9  # how far shares may be from adding up to 1
HANDFUL = 20  # users of an arm, of fewer of which no rollout believes an interval: those are right for many


class ExperimentError(ValueError):
    """An experiment file cannot be used; the message names the place and the value."""


@dataclass(frozen=True)
class Metric:
    """What is compared: a ratio of two sums over a user's answers or baskets, and which way is better."""

    name: str
    numerator: str
    denominator: str
    title: str
    unit: str
    more_is_better: bool = True


_METRICS = (
    Metric("ctr", "clicks", "slots", "clicks per slot shown", "share"),
    Metric("repeat_ctr", "repeat_clicks", "slots", "clicks on what was bought before, per slot", "share"),
    Metric(
        "discover_ctr", "discover_clicks", "slots", "clicks on what is new to the shopper, per slot", "share"
    ),
    Metric("conversion", "bought_answers", "answers", "answers of which something was bought", "share"),
    Metric("slot_revenue", "slot_revenue", "answers", "revenue of items shown, per answer", "money"),
    Metric("revenue_per_basket", "revenue", "baskets", "revenue per basket", "money"),
    Metric("items_per_basket", "items", "baskets", "items per basket", "items"),
    Metric("latency_ms", "latency_ms", "answers", "time of an answer", "ms", more_is_better=False),
    Metric("degraded", "degraded", "answers", "answers that were degraded", "share", more_is_better=False),
)
METRICS: Mapping[str, Metric] = MappingProxyType({each.name: each for each in _METRICS})
MetricName = Annotated[str, AfterValidator(lambda name: one_of(name, METRICS, "metric"))]
LegacyName = Annotated[str, AfterValidator(lambda name: one_of(name, LEGACY_RULES, "legacy rule"))]


class Exploring(Part):
    """How an arm draws its last slots: see `Explore`."""

    slots: int = Field(strict=True, ge=1, le=10)
    temperature: Number = Field(gt=0, le=100)
    pool: int = Field(default=20, strict=True, ge=2, le=100)

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        self.as_drawn()
        return self

    def as_drawn(self) -> Explore:
        """For the request path."""
        return Explore(self.slots, self.temperature, self.pool)


class Arm(Part):
    """What one share of the users gets; what it does not name is as without the experiment."""

    share: Share
    release: str | None = Field(default=None, min_length=1, max_length=200)
    legacy: LegacyName | None = None
    rules: str | None = Field(default=None, min_length=1, max_length=500)
    explore: Exploring | None = None

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        if self.legacy and (self.release or self.explore):
            raise ValueError("a legacy rule has no release and explores nothing; give one or the other")
        return self

    @property
    def changes(self) -> set[str]:
        """What it sets: the engine, the rules, the exploration."""
        named = {"engine": self.release or self.legacy, "rules": self.rules, "explore": self.explore}
        return {what for what, value in named.items() if value}


class Guardrail(Part):
    """A metric that may not get worse by more than `worst`, as a share of the control's."""

    metric: MetricName
    worst: Number = Field(ge=0, le=10)


class RolloutPlan(Part):
    """To which shares of the slice's users the treatment is given, and what it takes to go on to the next.

    A step lasts `hours` at least, by the shop's clock, and until each arm has had so many `users` in all.
    Who is not in it yet gets the control's arm.
    """

    steps: tuple[Share, ...] = Field(default=(0.01, 0.05, 0.25, 0.5), min_length=1, max_length=20)
    hours: Number = Field(default=24.0, ge=0, le=24 * 90)
    users: int = Field(default=100, strict=True, ge=HANDFUL, le=10**9)

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if list(self.steps) != sorted(set(self.steps)) or self.steps[0] <= 0:
            raise ValueError(f"steps are {list(self.steps)}; use shares above 0, each above the one before")
        return self


class Experiment(Part):
    """One experiment; its name is its key in the file."""

    name: Name
    layer: Name
    arms: dict[Name, Arm] = Field(min_length=2, max_length=10)
    control: Name
    primary: MetricName
    start: Instant
    end: Instant | None = None
    ramp: Share = 1.0
    slice: tuple[Share, Share] = (0.0, 1.0)
    guardrails: tuple[Guardrail, ...] = Field(default=(), max_length=10)
    window_hours: Number = Field(default=24.0, gt=0, le=24 * 90)
    alpha: Number = Field(default=0.05, gt=0, le=0.5)
    lift: Number = Field(default=0.05, gt=0, le=10)  # the least worth finding
    rollout: RolloutPlan | None = None
    settled: Name | None = None  # the arm that all users of its slice get from now on: no experiment any more

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = sum(arm.share for arm in self.arms.values())
        if abs(total - 1) > SHARES_SUM:
            raise ValueError(f"the arms' shares add up to {total:.12g}; make that 1")
        if self.control not in self.arms:
            raise ValueError(f"control is {self.control!r}; use one of the arms {', '.join(self.arms)}")
        if self.settled is not None and self.settled not in self.arms:
            raise ValueError(f"settled is {self.settled!r}; use one of the arms {', '.join(self.arms)}")
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end {self.end.isoformat()} is not after start {self.start.isoformat()}")
        if self.slice[0] >= self.slice[1]:
            raise ValueError(f"slice is {list(self.slice)}; use [from, to] with from below to")
        if self.rollout is not None:
            self._can_roll_out(self.rollout)
        metrics = [each.metric for each in self.guardrails]
        if len(set(metrics)) < len(metrics):
            raise ValueError("two guardrails have the same metric; keep the stricter one")
        return self

    def _can_roll_out(self, plan: RolloutPlan) -> None:
        if len(self.arms) != 2:
            raise ValueError(f"a rollout is of one arm over the control; there are {len(self.arms)} arms")
        if not self.arms[self.control].share:
            raise ValueError("a rollout compares with the control, which has share 0; give it some users")
        most = self.arms[self.treatments[0]].share
        if plan.steps[-1] > most + SHARES_SUM:
            raise ValueError(f"rollout.steps go up to {plan.steps[-1]:g}; the treatment's share is {most:g}")

    @property
    def treatments(self) -> tuple[str, ...]:
        """The arms that are held against the control."""
        return tuple(name for name in self.arms if name != self.control)

    @property
    def changes(self) -> set[str]:
        """What any of its arms sets."""
        return set().union(*(arm.changes for arm in self.arms.values()))

    def runs_at(self, now: datetime) -> bool:
        """Whether it assigns users at an instant."""
        return self.start <= now and (self.end is None or now < self.end)

    def meets(self, other: "Experiment") -> bool:
        """Whether both run at some instant."""
        far = datetime.max.replace(tzinfo=UTC)
        return self.start < (other.end or far) and other.start < (self.end or far)


class Layer(Part):
    """Experiments that share users out; `holdout` is the share of all users that are in none of them."""

    holdout: Number = Field(default=0.0, ge=0, lt=1)


class Experiments(Part):
    """The whole file."""

    layers: dict[Name, Layer] = Field(default={}, max_length=20)
    experiments: dict[Name, Experiment] = Field(default={}, max_length=100)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, content: Any) -> Any:
        """Each experiment with its name inside."""
        if not isinstance(content, dict) or not isinstance(content.get("experiments"), dict):
            return content
        named = {
            name: {"name": name, **each} if isinstance(each, dict) else each
            for name, each in content["experiments"].items()
        }
        return {**content, "experiments": named}

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for name, each in self.experiments.items():
            place = f"experiments.{name}"
            if each.name != name:
                raise ValueError(f"{place}.name is {each.name!r}; take it out, as the key is the name")
            if each.layer not in self.layers:
                known = ", ".join(self.layers) or "none yet"
                raise ValueError(f"{place}.layer is {each.layer!r}; use one under layers ({known})")
        for problem in self._overlaps():
            raise ValueError(problem)
        return self

    def _overlaps(self) -> Iterator[str]:
        """Pairs of experiments that may not run at one time."""
        for one, other in combinations(self.experiments.values(), 2):
            if not one.meets(other):
                continue
            both = f"{one.name} and {other.name}"
            if one.layer == other.layer:
                if max(one.slice[0], other.slice[0]) < min(one.slice[1], other.slice[1]):
                    yield f"{both} share users of layer {one.layer} at one time; give them slices apart"
            elif shared := one.changes & other.changes:
                names = ", ".join(sorted(shared))
                yield f"{both} change the same ({names}) at one time; put them in one layer"

    def named(self, name: str) -> Experiment:
        """One experiment; ExperimentError with the names there are."""
        if name not in self.experiments:
            known = ", ".join(self.experiments) or "none is defined"
            raise ExperimentError(f"There is no experiment {name!r}; use {known}")
        return self.experiments[name]


def load_experiments(path: Path) -> Experiments:
    """Read and check an experiment file; ExperimentError in one line where it cannot be used."""
    if not path.exists():
        raise ExperimentError(f"{path} is not there; copy bentos/experiments.yaml to it, and change that")
    try:
        return Experiments.model_validate(
            read_yaml(path, "experiments", too_long="take out those that ended")
        )
    except YamlFileError as error:
        raise ExperimentError(str(error)) from error
    except ValidationError as error:
        raise ExperimentError(f"{path}: {first_of(error)}") from error
