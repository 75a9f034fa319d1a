"""How sure a mean over users is: 95 % intervals from resampled users.

In: one value per user (or per user and cut), nan where it is undefined: such a row is left out, of both
models where two are compared. Out: `Interval(value, low, high)`. A user's rows are drawn together (a
cluster), and two models are compared on the same draws (paired), so what all models share, such as a week in
which little was bought, does not widen the interval of their difference.

    >>> values = np.array([0.0, 0.1, 0.2, 0.3])      # four users
    >>> round(bootstrap_interval(values).value, 3)
    0.15
    >>> lift = paired_lift(values * 1.2, values)     # every user gains a fifth: no doubt about it
    >>> f"{lift.value:.0%} [{lift.low:.0%}, {lift.high:.0%}]"
    '20% [20%, 20%]'
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2_000
LEVEL = 0.95
BLOCK = 4_096  # users whose draws are held at a time (64 MB)

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A figure and the interval around it; nan where it is undefined."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    per_user: ArrayLike, *, users: ArrayLike | None = None, cuts: ArrayLike | None = None, seed: int = 0
) -> Interval:
    """Mean of `per_user` and its 95 % percentile interval over users.

    Parameters
    ----------
    per_user
        Values, one a row; nan where the metric is undefined.
    users
        Whose row it is; rows of one user are drawn together. By default each row is a user of its own.
    cuts
        Test window of each row: the figure is then the mean over cuts of each cut's mean. By default one.
    seed
        Equal seeds draw equal users.
    """
    sums, counts = _sums_and_counts([per_user], users, cuts)
    return _interval(_mean_of_cuts(sums[0], counts, None), _mean_of_cuts(sums[0], counts, seed))


def paired_lift(
    per_user_a: ArrayLike,
    per_user_b: ArrayLike,
    *,
    users: ArrayLike | None = None,
    cuts: ArrayLike | None = None,
    seed: int = 0,
) -> Interval:
    """Relative lift mean(a) / mean(b) - 1 and its 95 % interval over users, both drawn together.

    Row i of both arrays is the same user in the same cut. nan where the mean of b is 0.
    """
    (sum_a, sum_b), counts = _sums_and_counts([per_user_a, per_user_b], users, cuts)
    with np.errstate(divide="ignore", invalid="ignore"):
        value, drawn = (
            _mean_of_cuts(sum_a, counts, draw) / _mean_of_cuts(sum_b, counts, draw) - 1
            for draw in (None, seed)
        )
    return _interval(value, drawn)


def _interval(value: Floats, drawn: Floats) -> Interval:
    if not np.isfinite(value).all():
        return Interval(np.nan, np.nan, np.nan)
    drawn = drawn[np.isfinite(drawn)]  # of a handful of users, a resample may hold none
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value[0]), float(low), float(high))


def _sums_and_counts(
    values: list[ArrayLike], users: ArrayLike | None, cuts: ArrayLike | None
) -> tuple[list[Floats], Floats]:
    """Per user and cut: the sum of each of `values` and the number of rows, both (n_users, n_cuts).

    Rows in which any of `values` is nan count as nothing.
    """
    columns = [np.asarray(value, np.float64) for value in values]
    n = len(columns[0])
    user = np.arange(n) if users is None else np.unique(np.asarray(users), return_inverse=True)[1]
    cut = np.zeros(n, np.int64) if cuts is None else np.unique(np.asarray(cuts), return_inverse=True)[1]
    lengths = [len(column) for column in (*columns, user, cut)]
    if n == 0 or set(lengths) != {n}:
        raise ValueError(f"Values, users and cuts need one entry a row; received lengths {lengths}")
    shape = (int(user.max()) + 1, int(cut.max()) + 1)
    cell = user * shape[1] + cut
    size = shape[0] * shape[1]
    known = ~np.isnan(columns).any(axis=0)

    def summed(column: Floats) -> Floats:
        return np.bincount(cell[known], column[known], minlength=size).reshape(shape).astype(np.float64)

    return [summed(column) for column in columns], summed(np.ones(n))


def _mean_of_cuts(sums: Floats, counts: Floats, seed: int | None) -> Floats:
    """Mean over cuts of the cuts' means: of the users as they are (seed None), or of each resample."""
    columns = np.vstack([sums.T, counts.T])  # each in one piece: a product with two at once is slower
    if seed is None:
        drawn = columns.sum(axis=1, keepdims=True)
    else:
        drawn = np.zeros((len(columns), RESAMPLES))
        for block, start in enumerate(range(0, len(sums), BLOCK)):
            draws = _draws(len(sums[start : start + BLOCK]), seed, block)
            drawn += [draws @ column[start : start + BLOCK] for column in columns]
    top, bottom = np.vsplit(drawn, 2)
    means = np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
    return np.asarray(means.mean(axis=0))


@lru_cache(maxsize=2)
def _draws(n: int, seed: int, block: int) -> Floats:
    """How often each of `n` users is in each resample (RESAMPLES, n).

    Poisson(1) counts: as multinomial ones in the limit, but independent, so that blocks can be drawn apart.
    """
    return np.random.default_rng((seed, block)).poisson(size=(RESAMPLES, n)).astype(np.float64)
