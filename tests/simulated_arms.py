"""Experiments of two arms in a simulated shop: rows of users over days, and what each look finds."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jobs.experiments.ratio import Looks, looks

DAYS = 19


class Rows(NamedTuple):
    """Rows of users, one a user and day with something in it (n_rows,) each."""

    user: np.ndarray
    arm: np.ndarray
    day: np.ndarray
    numerator: np.ndarray
    denominator: np.ndarray


def first_visits(rng, users, *, lift=0.0, days=DAYS):
    """Every user comes once, on some day, and spends gamma(0.5) by chance, which is skewed."""
    arm = np.arange(users) % 2
    spent = rng.gamma(0.5, size=users) * (1 + lift * arm)
    return Rows(np.arange(users), arm, rng.integers(days, size=users), spent, np.ones(users))


def returning(rng, users, *, lift=0.0, days=DAYS, shown=8.0, sigma=1.0):
    """Users come again and again: activity is lognormal (sigma), the propensity to click Beta with mean 0.1.

    `shown` is how much a user is shown in all days together, on average.
    """
    arm = np.arange(users) % 2
    activity = rng.lognormal(-(sigma**2) / 2, sigma, users) * shown / days
    propensity = np.minimum(rng.beta(0.3, 2.7, users) * (1 + lift * arm), 1)
    impressions = rng.poisson(np.repeat(activity[:, None], days, axis=1))
    user, day = np.nonzero(impressions)
    some = impressions[user, day]
    return Rows(user, arm[user], day, rng.binomial(some, propensity[user]), some)


def simulated(draw: Callable[[], Rows], n: int) -> Looks:
    """What each look at each of `n` experiments finds, (n, n_looks) each."""
    found = [looks(*draw()) for _ in range(n)]
    return Looks(*(np.array(column) for column in zip(*found, strict=True)))
