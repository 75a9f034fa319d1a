"""How a lift came to be what it is: day by day, with bounds that hold on all days together.

In: `per_user_day` as a frame. Out: for each day the lift of all that had happened by its end, and its
always-valid interval. Tests are tuned to the least effect that matters: the interval is tightest where that
effect would just be found, and that is known before the first look.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.experiments import Experiment, Metric
from jobs.experiments.analysis import AlwaysValid
from jobs.experiments.ratio import Ints, looks
from jobs.experiments.sequential import confidence_sequence, critical_values, none_yet

Record = dict[str, Any]
Mask = NDArray[np.bool_]
AT_NONE = 0.1  # of alpha, beside it, for looks at which one arm has nothing at all: the first few


@dataclass(frozen=True)
class Day:
    """A lift up to the end of a day, nan where there is none yet, and what is sure of it."""

    day: date
    lift: float
    sure: AlwaysValid


def planned_variance(experiment: Experiment, metric: str) -> float:
    """Variance of a log lift at which the least effect that matters is just found.

    That is the worst that a guardrail lets pass, else the experiment's `lift`.
    """
    worst = {each.metric: each.worst for each in experiment.guardrails}.get(metric) or experiment.lift
    return float((np.log1p(worst) / critical_values(1.0, alpha_of(experiment))) ** 2)


def alpha_of(experiment: Experiment) -> float:
    """The probability of an error in one treatment's comparison: several share it."""
    return experiment.alpha / len(experiment.treatments)


def by_day(days: Any, experiment: Experiment, arm: str, metric: Metric) -> list[Day]:
    """The days of one arm against the control, in order; none before both have users."""
    rows = days[days.arm.isin([arm, experiment.control])]
    if rows.arm.nunique() < 2:
        return []
    every, when = np.unique(rows.day.to_numpy().astype("datetime64[D]"), return_inverse=True)
    users = np.unique(rows.user_id.to_numpy().astype(str), return_inverse=True)[1]
    treated, numerator = (rows.arm == arm).to_numpy().astype(np.int64), rows[metric.numerator].to_numpy()
    found = looks(users, treated, when, numerator, rows[metric.denominator].to_numpy())
    alpha, planned = alpha_of(experiment), planned_variance(experiment, metric.name)
    sure = confidence_sequence(*found, planned_variance=planned, alpha=alpha)
    did = users_by(users, treated, when, numerator > 0)
    came = users_by(users, treated, when, np.ones(len(users), dtype=bool))
    none = none_yet(did, came, alpha=AT_NONE * alpha)
    logs = np.fmax(sure.low, none.low), np.fmin(sure.high, none.high)
    low, high = (np.expm1(each) for each in logs)
    low = np.where(low > -1, low, -np.inf)  # that all may be lost bounds nothing
    lifts = np.where((did[0] > 0) & (did[1] == 0) & (came[1] > 0), -1.0, np.expm1(found.estimates))
    p = np.fmin(sure.p, none.p / AT_NONE)
    return [
        Day(day.item(), float(lifts[n]), AlwaysValid(float(low[n]), float(high[n]), float(p[n])))
        for n, day in enumerate(every)
    ]


def users_by(users: Ints, treated: Ints, when: Ints, which: Mask) -> Ints:
    """Different users of control and treatment in some of the rows up to each look, (2, n_looks)."""
    n_looks = int(when.max()) + 1
    seen, places = np.unique(users[which], return_inverse=True)
    first, arm = np.full(len(seen), n_looks), np.zeros(len(seen), dtype=np.int64)
    np.minimum.at(first, places, when[which])
    arm[places] = treated[which]
    return np.bincount(arm * n_looks + first, minlength=2 * n_looks).reshape(2, n_looks).cumsum(axis=1)


def day_records(over_time: Mapping[tuple[str, str], list[Day]], experiment: Experiment) -> Iterator[Record]:
    """A record for each day of each arm and metric; bounds that say nothing are null."""
    for (arm, metric), days in over_time.items():
        for each in days:
            value, low, high, p = (
                number if np.isfinite(number) else None for number in (each.lift, *each.sure)
            )
            yield {
                "report": "experiment",
                "experiment": experiment.name,
                "metric": metric,
                "arm": arm,
                "versus": experiment.control,
                "method": "sequential",
                "day": each.day.isoformat(),
                "value": value,
                "low": low,
                "high": high,
                "unit": "relative lift",
                "p_value": p,
            }
