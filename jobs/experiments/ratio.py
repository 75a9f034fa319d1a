"""Ratios of sums over users, such as the click rate, and one arm's lift over another's, with variances.

In: a metric's numerator and denominator, one entry a user, or rows of users over time. Out: estimates and
their variances by the delta method over users (Deng, Knoblich & Lu 2018, "Applying the Delta Method in Metric
Analytics"). Users are what was randomised: rows of one user are alike, and a variance over rows would be too
small. A mean over users is a ratio whose denominator is 1 for each.

    >>> clicks, shown = [0, 1, 3, 0], [4, 6, 10, 5]      # of four users
    >>> rate = ratio_of_sums(clicks, shown)
    >>> f"{rate.value:.2f} ± {rate.variance**0.5:.2f}"
    '0.16 ± 0.08'

Arms are compared by the logarithm of the ratio of their ratios. It is what the lift is symmetric in: where
few have clicked yet, an arm unlucky by chance has a small variance too, and the lift itself, divided by its
standard error, errs far more often than it says; its logarithm does not. `np.expm1` leads back to lifts.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class RatioError(ValueError):
    """Columns that are not one entry a user or row, or that no ratio can be made of."""


class Estimate(NamedTuple):
    """A figure and its variance (not its standard deviation); nan where there is none."""

    value: float
    variance: float


class Looks(NamedTuple):
    """What each look at an experiment finds, (n_looks,) each; nan where nothing can be said yet."""

    estimates: Floats
    variances: Floats


def linearised(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """Each user's share in the error of the ratio r of the sums: (x - r y) / mean(y), (n_users,), mean 0.

    The variance of its mean is that of the ratio by the delta method. nan where the denominators sum to 0.

    Raises
    ------
    RatioError
        If the columns differ in length, hold no user, or hold what is no number.
    """
    x, y = _columns(numerator, denominator)
    total = y.sum()
    if total == 0:
        return np.full(len(x), np.nan)
    return np.asarray((x - x.sum() / total * y) * (len(y) / total))


def ratio_of_sums(numerator: ArrayLike, denominator: ArrayLike) -> Estimate:
    """sum(numerator) / sum(denominator) over users, and its variance; arguments as of `linearised`.

    nan where the denominators sum to 0; of one user, the variance is nan.
    """
    x, y = _columns(numerator, denominator)
    n, total = len(x), y.sum()
    value = x.sum() / total if total != 0 else np.nan
    return Estimate(float(value), float(linearised(x, y).var(ddof=1) / n) if n > 1 else np.nan)


def log_lift(treatment: Estimate, control: Estimate) -> Estimate:
    """log(treatment / control) of two arms' ratios, and its variance; nan unless both are above 0.

    `np.expm1` of value ± z standard errors is the interval of the lift, treatment / control - 1.
    """
    value, variance = _log_lifts(*(np.asarray(figure) for figure in (*treatment, *control)))
    return Estimate(float(value), float(variance))


def relative_lift(treatment: Estimate, control: Estimate) -> Estimate:
    """The lift of two arms' ratios, treatment / control - 1, and its variance; nan unless both are above 0.

    To tell, not to test: `log_lift` is nearer to normal.
    """
    log = log_lift(treatment, control)
    lift = float(np.expm1(log.value))
    return Estimate(lift, (1 + lift) ** 2 * log.variance)


def looks(
    user: ArrayLike, arm: ArrayLike, look: ArrayLike, numerator: ArrayLike, denominator: ArrayLike
) -> Looks:
    """The log lift of treatment over control, as it stood at each look, of all that had happened by then.

    A look takes every user seen so far with the totals so far. Sums of totals, their squares and products
    are carried from look to look, so that all looks together cost one pass over the rows.

    Parameters
    ----------
    user
        Whose row it is: whole numbers (n_rows,). A user counts from the first row on, also one of zeros.
    arm
        1 treatment, 0 control (n_rows,); of one user always the same.
    look
        At which look the row is there first, 0 to n_looks - 1 (n_rows,), such as its day.
    numerator, denominator
        What the row adds to the user's totals (n_rows,).

    Raises
    ------
    RatioError
        If columns differ in length or hold what they must not, or a user is in both arms.
    """
    x, y = _columns(numerator, denominator)
    users, arms, days = _whole_numbers(len(x), user=user, arm=arm, look=look)
    if days.min() < 0 or not np.isin(arms, (0, 1)).all():
        raise RatioError(
            f"Looks start at 0 and arms are 0 and 1; received look {days.min()}, arms {np.unique(arms)[:5]}"
        )
    order = np.lexsort((days, users))
    users, arms, days = users[order], arms[order], days[order]
    same = users[1:] == users[:-1]
    in_both = users[1:][same & (arms[1:] != arms[:-1])]
    if len(in_both):
        raise RatioError(f"User {in_both[0]} is in both arms; leave out users who changed arms")
    start = np.r_[0, 1 + np.flatnonzero(~same)]  # of each user's rows
    moments = _growth(x[order], y[order], start)
    shape = (2, int(days.max()) + 1)
    cell = arms * shape[1] + days
    sums = [np.bincount(cell, weights=grown, minlength=shape[0] * shape[1]) for grown in moments]
    control, treatment = np.moveaxis(np.reshape(sums, (len(sums), *shape)).cumsum(axis=2), 1, 0)
    return Looks(*_log_lifts(*_ratios(treatment), *_ratios(control)))


def _growth(x: Floats, y: Floats, start: Ints) -> list[Floats]:
    """What each row adds to the sums over users of 1, X, Y, X², Y² and XY of their totals X and Y so far.

    Rows of a user stand together, from `start` on, in order of time.
    """
    rows = np.diff(np.r_[start, len(x)])

    def totals(column: Floats) -> tuple[Floats, Floats]:
        after = column.cumsum()
        after -= np.repeat(after[start] - column[start], rows)
        return after, after - column

    (x_after, x_before), (y_after, y_before) = totals(x), totals(y)
    first = np.zeros(len(x))
    first[start] = 1
    return [
        first,
        x,
        y,
        x * (x_after + x_before),
        y * (y_after + y_before),
        x_after * y + x * y_before,
    ]


def _ratios(sums: Floats) -> tuple[Floats, Floats]:
    """Ratios and their variances from the six sums over users that `_growth` feeds (6, n_looks)."""
    n, x, y, xx, yy, xy = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = x / y
        errors = xx - 2 * ratio * xy + ratio**2 * yy
        return ratio, errors / y**2 * n / (n - 1)


def _log_lifts(
    treatment: Floats, treatment_variance: Floats, control: Floats, control_variance: Floats
) -> tuple[Floats, Floats]:
    known = (treatment > 0) & (control > 0)
    t, c = np.where(known, treatment, np.nan), np.where(known, control, np.nan)
    return np.log(t / c), np.asarray(treatment_variance / t**2 + control_variance / c**2)


def _columns(numerator: ArrayLike, denominator: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) == 0:
        raise RatioError(f"Columns have one entry each; received shapes {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise RatioError("Numerators and denominators are numbers; received nan or infinity: leave them out")
    return x, y


def _whole_numbers(n: int, **columns: ArrayLike) -> list[Ints]:
    found = []
    for name, column in columns.items():
        values = np.asarray(column)
        if values.shape != (n,) or not np.issubdtype(values.dtype, np.integer):
            raise RatioError(
                f"{name} needs a whole number for each of {n} rows; received {values.dtype} {values.shape}"
            )
        found.append(values.astype(np.int64))
    return found
