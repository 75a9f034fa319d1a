"""One word on an experiment, and one sentence with the numbers that it rests on.

In: the records of `analysis.py`. Out: `Verdict(word, reason, arm)`, the first of these that holds:

- **invalid**: the comparison itself is broken: users per arm are not as planned (p < SRM), an arm that should
  have users has none, more than MOST_CROSSED of the users were in two arms, or more than MOST_ODD of the
  outcomes cannot belong to the answer that they name. No lift is worth reading.
- **stop**: every treatment is bad: a guardrail's always-valid interval says worse than allowed, or the
  primary metric's lies on the bad side of 0. One that is bad among others is named, and never shipped.
- **ship**: a treatment's primary metric has its always-valid interval on the good side of 0, and no guardrail
  is in doubt. Of several, that with the highest lift; then Holm's p must also be at most alpha.
- **keep running**: anything else.

A guardrail is in doubt if its estimate is worse than allowed or unknown. An interval that reaches beyond
what is allowed is no doubt by itself: to exclude every harm takes many times the users that the primary
metric takes, and a harm that matters shows at a later look or in another guardrail. Who wants it stricter
sets `worst` lower.

    verdict(records, experiment, needed=12_000)
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bentos.experiments import HANDFUL, METRICS, Experiment, Guardrail
from jobs.experiments.attribution import CROSSED, EARLY, OFF_PAGE, OTHER_USER, UNKNOWN
from jobs.experiments.results import in_words

SRM = 1e-3  # p value: one false alarm in a thousand experiments (Fabijan et al. 2019, "Diagnosing SRM")
MOST_CROSSED = 0.01  # of all users
MOST_ODD = 0.1  # of all outcomes
ODD = (UNKNOWN, OTHER_USER, OFF_PAGE, EARLY)  # what a sound log has next to none of

Record = dict[str, Any]
Word = Literal["ship", "stop", "keep running", "invalid"]


@dataclass(frozen=True)
class Verdict:
    """What to do, why, and with which arm."""

    word: Word
    reason: str
    arm: str | None = None


@dataclass(frozen=True)
class Lift:
    """An always-valid lift: `value` NaN where it is not defined, bounds infinite where there are none."""

    metric: str
    value: float
    low: float
    high: float
    p_adjusted: float  # 0 where nothing is adjusted
    said: str

    @property
    def gain(self) -> tuple[float, float, float]:
        """Value, low and high, turned so that more is better."""
        better = METRICS[self.metric].more_is_better
        return (self.value, self.low, self.high) if better else (-self.value, -self.high, -self.low)


class Figures:
    """The records that a verdict rests on, by what they say."""

    def __init__(self, records: Sequence[Record], experiment: Experiment) -> None:
        self.records = [each for each in records if "day" not in each and "segment" not in each]
        self.experiment = experiment

    def values(self, metric: str, **tags: str) -> list[float]:
        """Values of the records of a metric with these tags that say nothing of a lift."""
        wanted = {"metric": metric, **tags}
        return [
            math.nan if each["value"] is None else each["value"]
            for each in self.records
            if "method" not in each and wanted.items() <= each.items()
        ]

    def level(self, arm: str, metric: str) -> float:
        """A metric in an arm, NaN where it is not known."""
        return next(iter(self.values(metric, arm=arm)), math.nan)

    def users(self, arm: str) -> int:
        """Users of an arm, 0 where it is not known."""
        return int(sum(self.values("users", arm=arm)))

    def lift(self, arm: str, metric: str) -> Lift | None:
        """The always-valid lift of an arm over the control, if there is one."""
        wanted = {"metric": metric, "arm": arm, "method": "sequential"}
        found = next((each for each in self.records if wanted.items() <= each.items()), None)
        if found is None:
            return None
        value, low, high = (
            none if found[name] is None else found[name]
            for name, none in (("value", math.nan), ("low", -math.inf), ("high", math.inf))
        )
        pair = f"{metric} of {arm} over {self.experiment.control}"
        said = f"{pair} {_share(value)} [{_share(low)}, {_share(high)}]"
        return Lift(metric, value, low, high, found.get("p_adjusted") or 0.0, said)


def verdict(records: Sequence[Record], experiment: Experiment, *, needed: int | None = None) -> Verdict:
    """The verdict on an experiment.

    Guardrails and the primary metric are judged by the records of method `sequential` without a day or
    segment. `needed` is about how many more users a decision takes, if someone knows.
    """
    figures = Figures(records, experiment)
    if broken := next(_broken(figures), None):
        return Verdict("invalid", f"{broken}.")
    arms = [arm for arm in experiment.treatments if figures.users(arm)]
    bad = {arm: harm for arm in arms if (harm := next(_harms(figures, arm), None))}
    if len(bad) == len(arms):
        return Verdict("stop", f"{'; '.join(bad.values())}.")
    doubts = {arm: next(_doubts(figures, arm), None) for arm in arms if arm not in bad}
    gains = {arm: lift for arm in doubts if (lift := figures.lift(arm, experiment.primary))}
    good = [arm for arm, doubt in doubts.items() if doubt is None]
    if good:
        best = max(good, key=lambda arm: gains[arm].gain[0])
        return Verdict("ship", f"{gains[best].said}, and no guardrail is in doubt.", best)
    open_ = [*bad.values(), *(doubt for doubt in doubts.values() if doubt)]
    more = [f"about {needed:,} more users are needed"] if needed else []
    return Verdict("keep running", f"{'; '.join([*open_, *more])}.")


def in_doubt(records: Sequence[Record], experiment: Experiment) -> Iterator[str]:
    """What speaks against giving a treatment more users: a guardrail that is worse than allowed or unknown.

    And the primary metric where all of it is lost: there is no lift then, whose interval could say so.
    """
    figures = Figures(records, experiment)
    for arm in experiment.treatments:
        yield from _lost(figures, arm)
        for guardrail in experiment.guardrails:
            yield from _guarded(figures, arm, guardrail)


def _broken(figures: Figures) -> Iterator[str]:
    """What makes a comparison worth nothing, the most telling first."""
    arms = figures.experiment.arms
    users = {arm: figures.users(arm) for arm in arms}
    for name, arm in arms.items():
        if not users[name] and (arm.share > 0 or name == figures.experiment.control):
            yield f"no user of arm {name} was in the log"
    if not any(users[arm] for arm in figures.experiment.treatments):
        yield "no treatment has users"
    p = figures.values("srm")
    if p and p[0] < SRM:
        found = ", ".join(f"{arm} {n:,}" for arm, n in users.items())
        planned = ", ".join(f"{arm.share * 100:.1f} %" for arm in arms.values())
        yield f"users per arm are {found} where shares of {planned} were planned (p = {p[0]:.1g})"
    crossed, total = sum(figures.values("rejected", reason=CROSSED)), sum(users.values())
    if crossed > MOST_CROSSED * (crossed + total):
        yield f"{crossed:,.0f} of {crossed + total:,.0f} users were in two arms"
    odd = sum(sum(figures.values("rejected", reason=reason)) for reason in ODD)
    credited = sum(sum(figures.values("funnel", stage=stage)) for stage in ("clicks", "bought"))
    if odd >= HANDFUL and odd > MOST_ODD * (odd + credited):
        yield f"{odd:,.0f} outcomes cannot belong to the answer that they name, {credited:,.0f} do"


def _harms(figures: Figures, arm: str) -> Iterator[str]:
    """What an arm surely makes worse: a guardrail by more than allowed, or the primary metric."""
    for guardrail in figures.experiment.guardrails:
        lift = figures.lift(arm, guardrail.metric)
        if lift and lift.gain[2] < -guardrail.worst:
            yield f"{lift.said} where {_allowed(guardrail)} is allowed"
    lift = figures.lift(arm, figures.experiment.primary)
    if lift and lift.gain[2] < 0:
        yield f"{lift.said} is worse"


def _doubts(figures: Figures, arm: str) -> Iterator[str]:
    """What keeps an arm from being shipped."""
    experiment = figures.experiment
    lift = figures.lift(arm, experiment.primary)
    if lift is None:
        yield f"{experiment.primary} of {arm} has no always-valid interval yet"
    elif not lift.gain[1] > 0:
        yield f"{lift.said} may be nothing"
    elif lift.p_adjusted > experiment.alpha:
        yield f"{lift.said} may be chance among {len(experiment.treatments)} (p = {lift.p_adjusted:.2g})"
    for guardrail in experiment.guardrails:
        yield from _guarded(figures, arm, guardrail)


def _lost(figures: Figures, arm: str) -> Iterator[str]:
    """The primary metric where either arm has 0 and the treatment the worse of both."""
    metric, control = METRICS[figures.experiment.primary], figures.experiment.control
    mine, theirs = figures.level(arm, metric.name), figures.level(control, metric.name)
    if 0 in (mine, theirs) and (mine < theirs if metric.more_is_better else mine > theirs):
        yield f"{metric.name} of {arm} is {mine:.3g} where {control} has {theirs:.3g}"


def _guarded(figures: Figures, arm: str, guardrail: Guardrail) -> Iterator[str]:
    """The doubt about a guardrail, if there is one; over a control of 0, as good will do."""
    metric, control = METRICS[guardrail.metric], figures.experiment.control
    lift = figures.lift(arm, guardrail.metric)
    mine, theirs = figures.level(arm, metric.name), figures.level(control, metric.name)
    if theirs == 0:
        if mine != 0 and (mine > 0) != metric.more_is_better:
            yield f"{metric.name} of {arm} is {mine:.3g} where {control} has 0"
    elif lift is None:
        yield f"{metric.name} of {arm} has no always-valid interval yet"
    elif not lift.gain[0] >= -guardrail.worst:
        yield f"{lift.said} where {_allowed(guardrail)} is allowed"


def _allowed(guardrail: Guardrail) -> str:
    if METRICS[guardrail.metric].more_is_better:
        return f"at least {_share(-guardrail.worst)}"
    return f"at most {_share(guardrail.worst)}"


def _share(value: float) -> str:
    """A relative lift in words."""
    return in_words(value) if math.isfinite(value) else "unknown"
