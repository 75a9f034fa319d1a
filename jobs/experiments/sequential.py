"""Tests that one may look at as often as one likes, and stop when one likes: always-valid inference.

In: estimates of one difference and their variances, look by look (`ratio.looks`). Out: bounds and p values
that hold at all looks together: with probability 1 - alpha no bound is ever on the wrong side, so who looks
every day and stops at the first that excludes 0 errs in at most alpha of cases. A z test repeated over 19
looks errs in 24 %. The price: about 1.7 times the users for the same power (`power.users_needed`).

    >>> found = confidence_sequence([0.30, 0.12, 0.11], [0.04, 0.004, 0.0005], planned_variance=0.0005)
    >>> [f"{low:.2f} to {high:.2f}" for low, high in zip(found.low, found.high, strict=True)]
    ['-1.32 to 1.92', '-0.11 to 0.35', '0.04 to 0.18']
    >>> found.p.round(3).tolist()
    [0.946, 0.572, 0.0]

Method: the normal mixture (Robbins 1970; as a test, mSPRT: Johari, Pekelis & Walsh 2017, "Always Valid
Inference"). An estimate is compared with what it would be if its true value were drawn from N(0, tau²); that
likelihood ratio is a martingale, which exceeds 1 / alpha with probability alpha at most (Ville 1939). For
estimates that are normal only in the limit: Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2021, "Time-uniform
central limit theory and asymptotic confidence sequences". tau² is such that the interval is tightest, in
standard errors, at the variance planned for the last look (Howard, Ramdas, McAuliffe & Sekhon 2021,
"Time-uniform, nonparametric, nonasymptotic confidence sequences"). Plan it before the first look; a plan that
is off by a factor of four widens the interval by 7 % at most (alpha 5 %).

What is assumed: estimates are near to normal, and a later one holds what an earlier one held, so that
cov(early, late) = variance(late), as where each user comes once. Where users come again and again, totals of
the same users are in both, and the covariance is as a rule greater. Looks that are more alike cross a
boundary less often (Slepian 1962, each side by itself), so the bounds still hold. An effect that changes in
time does no harm to p values, whose null hypothesis is no effect at any look. But no bound is kept from look
to look: intersected, intervals around a lift that wears off could exclude what it is now, or be empty.
Several arms against one control share alpha: hand in alpha / arms.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, lambertw

Floats = NDArray[np.float64]
ALPHA = 0.05
CONCENTRATION = 100.0  # users; more would find smaller deviations of more users sooner, and large ones later


class SequentialError(ValueError):
    """Looks, or a level, that no sequential test can be made of."""


@dataclass(frozen=True)
class ConfidenceSequence:
    """Bounds at each look, and always-valid p values: (..., n_looks) each.

    Where a look says nothing, as before both arms have users, bounds are infinite and p stays as it was.
    """

    low: Floats
    high: Floats
    p: Floats  # the least so far; at most alpha once a bound has excluded the null hypothesis


def confidence_sequence(
    estimates: ArrayLike, variances: ArrayLike, *, planned_variance: float, alpha: float = ALPHA
) -> ConfidenceSequence:
    """Bounds that hold together at all looks with probability 1 - alpha; p of there being no difference.

    Parameters
    ----------
    estimates, variances
        By look, in order (..., n_looks). A variance of 0, nan or infinity says that nothing is known yet.
    planned_variance
        Variance of the estimate at the last look, by plan: there the interval is tightest.
    alpha
        How probable an error may be over all looks together.

    Raises
    ------
    SequentialError
        If shapes differ, alpha is not in (0, 1) or the planned variance is not above 0.
    """
    values, variance = _known(estimates, variances, planned_variance)
    half = np.sqrt(variance) * critical_values(variance / planned_variance, alpha)
    gain = mixture_variance(alpha) * planned_variance / variance
    evidence = values**2 / variance * gain / (1 + gain) / 2
    p = np.exp(-evidence) * np.sqrt(1 + gain)
    return _sequence(values - half, values + half, p)


def one_sided(
    estimates: ArrayLike,
    variances: ArrayLike,
    *,
    allowed: float,
    planned_variance: float,
    alpha: float = ALPHA,
) -> ConfidenceSequence:
    """Bounds each of which holds at all looks by itself with probability 1 - alpha: for guardrails.

    `high` below `allowed` says that it is worse than allowed, and p how sure that is; `low` above it says
    that it is not. `allowed` is on the scale of the estimates: of log lifts, log(0.98) allows a drop of 2 %.
    Where more is worse, as of latency, hand in the negative of estimates and of `allowed`. Other arguments
    and errors are as of `confidence_sequence`; alpha is below 1/2.

    The mixture is the positive half of a normal distribution (Howard et al. 2021), with exp(-z²/2) for its
    factor 1 - Phi(z), which is never above that: a boundary in closed form and a trifle wide. tau² is that of
    two sides at 2 alpha.
    """
    if not alpha < 0.5:
        raise SequentialError(
            f"alpha, the probability of an error, is below 1/2 for one side; received {alpha}"
        )
    values, variance = _known(estimates, variances, planned_variance)
    gain = mixture_variance(2 * alpha) * planned_variance / variance
    root = np.sqrt(1 + gain)
    half = np.sqrt(2 * variance * (1 + 1 / gain) * np.log1p(root / (2 * alpha)))
    worse = np.maximum(allowed - values, 0)
    with np.errstate(divide="ignore", over="ignore"):
        p = root / (2 * np.expm1(worse**2 / variance * gain / (1 + gain) / 2))
    return _sequence(values - half, values + half, p)


def sample_ratio_p(users: ArrayLike, shares: ArrayLike) -> float:
    """P of users coming to arms in other than the planned shares, however often one looks; (n_arms,) each.

    The mixture is Dirichlet around the shares (Lindon & Malek 2022, "Anytime-valid inference for multinomial
    count data"), as if CONCENTRATION users had come as planned. SequentialError unless shares are above 0 and
    add up to 1 and counts are not below 0.
    """
    counts, planned = np.asarray(users, np.float64), np.asarray(shares, np.float64)
    fits = counts.shape == planned.shape and abs(planned.sum() - 1) < 1e-6
    if not fits or not (planned > 0).all() or not (counts >= 0).all():
        raise SequentialError(f"Users {counts.tolist()} do not fit shares {planned.tolist()}")
    prior = CONCENTRATION * planned
    evidence = (gammaln(prior + counts) - gammaln(prior) - counts * np.log(planned)).sum()
    evidence += gammaln(CONCENTRATION) - gammaln(CONCENTRATION + counts.sum())
    return float(np.exp(-max(evidence, 0.0)))


def none_yet(did: ArrayLike, users: ArrayLike, *, alpha: float = ALPHA) -> ConfidenceSequence:
    """Bounds of log(rate of treatment / rate of control) while nobody of one arm did what users do.

    A count of 0 has no logarithm, and nothing about it is near to normal. But who does it first comes from
    either arm in proportion to users times rate, so that the first n all come from one of them with the n-th
    power of its part: exact at all looks together, as a run from the beginning is over once and for all.
    Infinite, and p as it was, where both arms did it or neither.

    Parameters
    ----------
    did
        Users of the control and of the treatment who did it by each look (2, n_looks).
    users
        All of their users by then (2, n_looks).
    """
    counts, came = np.asarray(did, np.float64), np.asarray(users, np.float64)
    n = counts.sum(axis=0)
    without = (counts == 0) & (n > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        most = np.log(np.expm1(-np.log(alpha / 2) / n))  # of the odds that the next comes from the other arm
        high, low = np.where(without[::-1], most + np.log(came) - np.log(came[::-1]), np.inf)
    p = np.where(without, 2 * (1 - came / came.sum(axis=0)) ** n, 1).min(axis=0)
    return _sequence(-low, high, p)


def mixture_variance(alpha: float) -> float:
    """tau² of the mixture, in planned variances, at which the interval is tightest where it is planned."""
    if not 0 < alpha < 1:
        raise SequentialError(f"alpha, the probability of an error, is in (0, 1); received {alpha}")
    return float(-lambertw(-(alpha**2) / np.e, -1).real - 1)


def critical_values(relative_variances: ArrayLike, alpha: float = ALPHA) -> Floats:
    """How many standard errors the interval reaches to each side, by variance / planned variance."""
    gain = mixture_variance(alpha) / np.asarray(relative_variances, np.float64)
    return np.asarray(np.sqrt((1 + 1 / gain) * (2 * np.log(1 / alpha) + np.log1p(gain))))


def _known(estimates: ArrayLike, variances: ArrayLike, planned_variance: float) -> tuple[Floats, Floats]:
    """Estimates and variances, nan where a look says nothing."""
    values, variance = np.asarray(estimates, np.float64), np.asarray(variances, np.float64)
    if values.shape != variance.shape or values.ndim == 0:
        raise SequentialError(
            f"Each look has an estimate and a variance; received shapes {values.shape} and {variance.shape}"
        )
    if not 0 < planned_variance < np.inf:
        raise SequentialError(f"The planned variance is a number above 0; received {planned_variance}")
    known = np.isfinite(values) & np.isfinite(variance) & (variance > 0)
    return np.where(known, values, np.nan), np.where(known, variance, np.nan)


def _sequence(low: Floats, high: Floats, p: Floats) -> ConfidenceSequence:
    return ConfidenceSequence(
        low=np.where(np.isnan(low), -np.inf, low),
        high=np.where(np.isnan(high), np.inf, high),
        p=np.minimum.accumulate(np.fmin(p, 1), axis=-1),  # fmin: 1 where nan
    )
