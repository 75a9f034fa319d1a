"""How many users an experiment needs, what lift it can find, and in how many days the shop has the users.

In: a metric's numerator and denominator of each user in the shop's own history (1 for each user where the
metric is a mean). Out: users, power, lifts, days. Measure the history over as many days as the experiment is
to run: users who return bring more, and another variance.

    >>> orders = np.random.default_rng(0).poisson(0.5, 20_000)
    >>> noise = spread_of(orders, np.ones(20_000))
    >>> users_needed(0.05, noise)                        # to find a lift of 5 %, looking once, at the end
    Users(treatment=12939, control=12939)
    >>> users_needed(0.05, noise, looks=14)              # looking every day for two weeks
    Users(treatment=22758, control=22758)

All is in logarithms of ratios, as in `ratio.log_lift`, and in the normal approximation. The spread is taken
as the same in both arms, as where a treatment multiplies what each user does.

With `looks`, power is that of `sequential.confidence_sequence` by the last of so many looks, to which
information comes evenly, by recursive integration (Armitage, McPherson & Rowe 1969), exact to 1e-6 up to 400
looks. Users who return make looks more alike, which costs a point or so; the power never falls below that of
the last look alone, 5 points less with 19 looks.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from jobs.experiments.ratio import linearised, ratio_of_sums
from jobs.experiments.sequential import ALPHA, critical_values

Floats = NDArray[np.float64]
POWER = 0.8
NODES = 128  # of the quadrature at each look


class PlanError(ValueError):
    """A history or a wish that no experiment can be planned from."""


class Users(NamedTuple):
    """Users in each of two arms."""

    treatment: int
    control: int


class Days(NamedTuple):
    """Days until the shop has seen enough users; None if it never did. `said` tells it in words."""

    days: int | None
    said: str


def spread_of(
    numerator: ArrayLike, denominator: ArrayLike, covariate: tuple[ArrayLike, ArrayLike] | None = None
) -> float:
    """Relative variance of one user: n times that of the logarithm of the ratio of n users' sums.

    Parameters
    ----------
    numerator, denominator
        Of each user of the history (n_users,).
    covariate
        Numerator and denominator of what is known of the same users before the experiment; the variance is
        then what CUPED leaves, 1 - r² of it, r the correlation of the linearised ratios (Deng, Xu, Kohavi &
        Walker 2013).

    Raises
    ------
    PlanError
        If there are fewer than two users, or the ratio is not above 0.
    """
    errors = linearised(numerator, denominator)
    ratio = ratio_of_sums(numerator, denominator).value
    if len(errors) < 2 or not ratio > 0:
        raise PlanError(
            f"The metric is {ratio} over {len(errors)} users of the history, over which no lift can be "
            "planned; take a metric above 0, or a longer history"
        )
    variance = errors.var(ddof=1) / ratio**2
    if covariate is not None:
        before = linearised(*covariate)
        if before.std() > 0:  # False of nan too: a covariate that nobody has
            variance *= 1 - np.corrcoef(errors, before)[0, 1] ** 2
    return float(variance)


def users_needed(
    lift: float,
    spread: float,
    *,
    power: float = POWER,
    alpha: float = ALPHA,
    share: float = 0.5,
    looks: int | None = None,
) -> Users:
    """Users in each arm for a test of two sides that finds a true lift with probability `power`.

    Parameters
    ----------
    lift
        Relative: 0.05 is 5 % more. Above -1 and not 0.
    spread
        What `spread_of` measures.
    share
        Part of the users of the two arms that is treated.
    looks
        None for one z test at the end. A number for the sequential test, by the last of so many looks.

    Raises
    ------
    PlanError
        If a probability or share is not in (0, 1), power not above alpha, looks below 1 or the lift as said.
    """
    if not 0 < share < 1 or not lift > -1 or lift == 0:
        raise PlanError(f"A share is in (0, 1), a lift above -1 and not 0; received {share} and {lift}")
    effect = _effect(power, alpha, looks)
    total = spread * (1 / share + 1 / (1 - share)) * (effect / math.log1p(lift)) ** 2
    return Users(math.ceil(total * share), math.ceil(total * (1 - share)))


def power_of(
    lift: float, users: Users, spread: float, *, alpha: float = ALPHA, looks: int | None = None
) -> float:
    """The probability that so many users show a true lift; arguments and errors as of `users_needed`."""
    if not lift > -1:
        raise PlanError(f"A lift is above -1; received {lift}")
    return _power(abs(math.log1p(lift)) / math.sqrt(planned_variance(users, spread)), alpha, looks)


def smallest_lift(
    users: Users, spread: float, *, power: float = POWER, alpha: float = ALPHA, looks: int | None = None
) -> float:
    """The smallest lift that so many users show with probability `power`; arguments as of `users_needed`.

    The smallest drop is 1 / (1 + lift) - 1.
    """
    return math.expm1(_effect(power, alpha, looks) * math.sqrt(planned_variance(users, spread)))


def planned_variance(users: Users, spread: float) -> float:
    """Variance of the log lift once all users are there; what the sequential test is tuned to."""
    if min(users) < 1:
        raise PlanError(f"Both arms need users; received {users}")
    return spread * (1 / users.treatment + 1 / users.control)


def days_needed(users: int, users_by_day: ArrayLike) -> Days:
    """Days until `users`, of all arms together, have come.

    `users_by_day` (n_days,) counts the different users seen from the first day of the history to each day;
    where the experiment gets a part of them only, hand in that part.
    """
    seen = np.asarray(users_by_day)
    if seen.ndim != 1 or len(seen) == 0 or (np.diff(seen) < 0).any():
        raise PlanError("Users by day are counted from the first day on and do not fall; sum them up first")
    if seen[-1] < users:
        return Days(
            None, f"not within {len(seen)} days: {seen[-1]:,.0f} users came in them, {users:,} are needed"
        )
    days = int(np.searchsorted(seen, users)) + 1
    return Days(days, f"{days} days" if days > 1 else "1 day")


@lru_cache(maxsize=64)
def _effect(power: float, alpha: float, looks: int | None) -> float:
    """The true effect, in standard errors at the last look, that is found with probability `power`."""
    if not 0 < alpha < power < 1:
        raise PlanError(f"0 < alpha < power < 1 is needed; received alpha {alpha} and power {power}")
    closed = float(norm.isf(alpha / 2) + norm.ppf(power))
    if looks is None:
        return closed
    return float(brentq(lambda effect: _power(effect, alpha, looks) - power, 0, 3 * closed + 3))


def _power(effect: float, alpha: float, looks: int | None) -> float:
    """The probability that a test of two sides finds a true effect, in standard errors at the last look."""
    if looks is None:
        critical = norm.isf(alpha / 2)
        return float(norm.sf(critical - effect) + norm.cdf(-critical - effect))
    if looks < 1:
        raise PlanError(f"One looks at least once; received {looks} looks")
    information = np.arange(1, looks + 1) / looks
    limits = critical_values(1 / information, alpha) * np.sqrt(information)
    return _crossing(limits, effect / looks, 1 / math.sqrt(looks))


def _crossing(limits: Floats, drift: float, scale: float) -> float:
    """The probability that a random walk of normal steps (drift, scale) ever leaves [-limit, limit].

    `limits` are those at each step (n_steps,).
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    places, density, crossed = np.zeros(1), np.ones(1), 0.0  # where it stands before a step, times weight
    for limit in limits:
        mean = places + drift
        crossed += density @ (norm.sf((limit - mean) / scale) + norm.cdf((-limit - mean) / scale))
        places = limit * nodes
        density = density @ norm.pdf(places, mean[:, None], scale) * weights * limit
    return float(crossed)
