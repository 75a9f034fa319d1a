"""What tea-tasting computes for us: levels and lifts of ratio metrics from sums per user, and their check.

In: `per_user` of `outcomes.py`, an Ibis table: means and covariances are computed where the log lies, and
only these travel. Out: `Figure(value, low, high, p_value)`.

A metric is a ratio of two sums. Users were assigned, so users are what is drawn: the variance of a ratio is
that of the delta method over users (Deng, Knoblich & Lu 2018, "Applying the Delta Method in Metric
Analytics"), not over slots or answers.
"""

import math
from collections.abc import Mapping
from functools import reduce
from operator import or_
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import tea_tasting as tt
from ibis.expr.types import Table
from tea_tasting.aggr import Aggregates, read_aggregates
from tea_tasting.metrics import AggrCols

from bentos.experiments import METRICS, Experiment, Metric
from jobs.experiments.outcomes import PRE_SUMS

LEVEL = 0.95
LEAST_USERS = 2  # of whom there is a variance
ROUNDING = 1e-9  # of the sums' own variance

# What of the pre-period stands in for a metric, fixed here so that nobody picks what fits best afterwards.
# Clicks and purchases of what is shown go with how much a shopper puts into a basket, money with money. What
# the service does to an answer (time, degraded) has nothing to do with a shopper's past.
_ITEMS, _MONEY = ("pre_items", "pre_baskets"), ("pre_revenue", "pre_baskets")
COVARIATES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ctr": _ITEMS,
        "repeat_ctr": _ITEMS,
        "discover_ctr": _ITEMS,
        "conversion": _ITEMS,
        "slot_revenue": _MONEY,
        "revenue_per_basket": _MONEY,
        "items_per_basket": _ITEMS,
    }
)


class Figure(NamedTuple):
    """A level or a relative lift, its 95 % interval and, of a lift, the p value; NaN where undefined."""

    value: float
    low: float
    high: float
    p_value: float = math.nan


def ratio_of_means(metric: Metric, *, cuped: bool = False) -> tt.RatioOfMeans:
    """tea-tasting's test of a metric, by CUPED (Deng, Xu, Kohavi & Walker 2013) with its covariate.

    Welch's t test at LEVEL; the lift's interval is that of the logarithm of the two ratios.
    """
    covariate = COVARIATES[metric.name] if cuped else (None, None)
    return tt.RatioOfMeans(
        metric.numerator,
        metric.denominator,
        *covariate,
        alternative="two-sided",
        confidence_level=LEVEL,
        equal_var=False,
        use_t=True,
    )


def aggregates(per_user: Table, *, by_segment: bool = False) -> dict[Any, Aggregates]:
    """Counts, means and covariances of each arm, or of each (arm, segment); of LEAST_USERS and more.

    With PRE_SUMS among the columns, also of these. Users without a segment are in none.
    """
    cuped = set(PRE_SUMS) <= set(per_user.columns)
    tests = [ratio_of_means(metric) for metric in METRICS.values()]
    tests += [ratio_of_means(METRICS[name], cuped=True) for name in COVARIATES if cuped]
    needed = reduce(or_, (test.aggr_cols for test in tests), AggrCols())
    cell = per_user.arm + " " + per_user.segment if by_segment else per_user.arm  # no arm has a space
    found = read_aggregates(per_user.mutate(cell=cell), "cell", **needed._asdict())
    kept = {key: each for key, each in found.items() if key is not None and each.count() >= LEAST_USERS}
    return {tuple(key.split(" ", 1)): each for key, each in kept.items()} if by_segment else kept


def level(arm: Aggregates, metric: Metric) -> Figure:
    """A metric's ratio in one arm and its interval."""
    arm = arm.with_zero_div()
    value = _ratio(arm, metric)
    error = math.sqrt(_variance(arm, metric) / arm.count())
    half = error * float(scipy.stats.t.isf((1 - LEVEL) / 2, arm.count() - 1))
    return Figure(value, value - half, value + half)


def lift(control: Aggregates, treatment: Aggregates, metric: Metric, *, cuped: bool = False) -> Figure:
    """Relative lift of a metric over the control; NaN or infinite over a control of 0.

    No interval where users of neither arm differ, as when all answers of both are degraded.
    """
    both = control.with_zero_div(), treatment.with_zero_div()
    if not any(_variance(arm, metric) for arm in both):
        theirs, mine = (_ratio(arm, metric) for arm in both)
        return Figure(mine / theirs - 1 if theirs else math.nan, math.nan, math.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = ratio_of_means(metric, cuped=cuped).analyze_aggregates(control, treatment)
    return Figure(
        float(result.rel_effect_size),
        float(result.rel_effect_size_ci_lower),
        float(result.rel_effect_size_ci_upper),
        float(result.pvalue),
    )


def _ratio(arm: Aggregates, metric: Metric) -> float:
    return float(arm.mean(metric.numerator) / arm.mean(metric.denominator))


def _variance(arm: Aggregates, metric: Metric) -> float:
    """Variance of a metric's ratio over users; 0, not the rounding around it, where they do not differ."""
    found = float(arm.ratio_var(metric.numerator, metric.denominator))
    of_sums = float(arm.var(metric.numerator) / arm.mean(metric.denominator) ** 2)
    return found if found > ROUNDING * of_sums else 0.0


def sample_ratio(users: Mapping[str, int], experiment: Experiment) -> float:
    """Sample ratio mismatch: p value of the users per arm under the shares planned; NaN for nobody.

    Each treatment against the control, exact for fewer than 1,000 users, else normal, which is chi square
    with one degree of freedom; the smallest p, times the number of treatments (Bonferroni). Arms with a share
    of 0 are not expected to have users and are left out.
    """
    shares = {name: arm.share for name, arm in experiment.arms.items() if arm.share > 0}
    control = experiment.control
    counts = {name: Aggregates(count_=users.get(name, 0)) for name in shares}
    pairs = [name for name in shares if name != control and control in shares]
    found = [
        tt.SampleRatio(shares[name] / shares[control], correction=False).analyze(counts, control, name).pvalue
        for name in pairs
        if users.get(name, 0) + users.get(control, 0) > 0
    ]
    return min(1.0, len(pairs) * min(found)) if found else math.nan
