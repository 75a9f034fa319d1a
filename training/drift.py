"""How far a column has moved from what it was: PSI, Kolmogorov-Smirnov, chi-squared, share of nulls.

In: two samples of one feature, (n,) and (m,); nan (or None among names) is a missing value. Out: numbers.
Missing values count in `null_rate` alone: the other figures compare what is known. Pure functions.

    >>> before = np.arange(1_000.0)
    >>> psi(before, before)
    0.0
    >>> round(psi(before, before + 500), 2)   # half of what is there was hardly ever seen
    3.53
    >>> round(ks(before, before + 500)[0], 2)
    0.5
    >>> null_rate([1.0, None, np.nan, 4.0])
    0.5
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import kolmogorov
from scipy.stats import chi2_contingency

BINS = 10
# Rules of thumb for PSI: Siddiqi, "Credit Risk Scorecards" (2006), below .1 no change, above .25 a shift.
# Two samples of one population differ by about (bins - 1) * (1 / n + 1 / m): Yurdakul, Naranjo (2020).
SHIFTED = 0.25
HALF = 0.5  # added to every count, so that an empty bin has a logarithm (Jeffreys)

Floats = NDArray[np.float64]


def known(values: ArrayLike) -> Floats:
    """The values that are there, as float64: without nan and None. Infinite ones stay."""
    found = np.asarray(values, np.float64)
    return found[~np.isnan(found)]


def null_rate(values: ArrayLike) -> float:
    """Share of values that are missing (None, nan); nan of nothing."""
    found = np.asarray(values, object)
    missing = np.array([value is None or value != value for value in found.ravel()])
    return float(missing.mean()) if missing.size else float("nan")


def edges_of(expected: Floats, bins: int) -> tuple[Floats, Floats]:
    """Quantiles that divide `expected` into `bins`, and those of them that hold a bin's share by themselves.

    The second are values such as the 0 of a count: they get a bin of their own.
    """
    quantiles = np.quantile(expected, np.linspace(0, 1, bins + 1), method="inverted_cdf")
    edges, times = np.unique(quantiles, return_counts=True)
    return edges, edges[times > 1]


def codes_of(values: Floats, edges: Floats, alone: Floats) -> NDArray[np.int64]:
    """Bin of each value: (edge, next edge] in order, both ends open; then one for each of `alone`."""
    inner = edges[1:-1]
    places = np.searchsorted(inner, values, side="left")
    found = np.searchsorted(alone, values)
    by_itself = np.isin(values, alone)
    return np.where(by_itself, len(inner) + 1 + found, places)


def psi(expected: ArrayLike, actual: ArrayLike, bins: int = BINS) -> float:
    """Population stability index: Σ (a - e) ln(a / e) over the bins, with e, a the shares of both samples.

    The bins are quantiles of `expected`, so their number of rows is alike; a value that is a tenth of them by
    itself has its own. Each share gets HALF a row of the smaller sample. nan where either has no known value;
    ValueError for fewer than 2 bins.
    """
    if bins < 2:
        raise ValueError(f"bins is {bins}; use 2 or more")
    left, right = known(expected), known(actual)
    if not len(left) or not len(right):
        return float("nan")
    edges, alone = edges_of(left, bins)
    n = len(edges) + len(alone) + 1
    counts = [np.bincount(codes_of(sample, edges, alone), minlength=n) for sample in (left, right)]
    return psi_of_counts(*counts)


def psi_of_counts(expected: ArrayLike, actual: ArrayLike) -> float:
    """PSI of counts by bin or by name, (n,) each; bins that both lack count as nothing."""
    before, after = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    seen = (before + after) > 0
    before, after = before[seen], after[seen]
    half = HALF / min(before.sum(), after.sum())  # the same share of both: equal samples give 0
    e, a = before / before.sum() + half, after / after.sum() + half
    e, a = e / e.sum(), a / a.sum()
    return float(((a - e) * np.log(a / e)).sum())


def ks(expected: ArrayLike, actual: ArrayLike) -> tuple[float, float]:
    """Two-sample Kolmogorov-Smirnov: the widest gap of the distribution functions, and its p-value.

    The p-value is the asymptotic one, too large where values are tied; (nan, nan) of nothing known.
    """
    left, right = known(expected), known(actual)
    if not len(left) or not len(right):
        return float("nan"), float("nan")
    at = np.concatenate([left, right])
    shares = [np.searchsorted(np.sort(sample), at, side="right") / len(sample) for sample in (left, right)]
    gap = float(np.abs(shares[0] - shares[1]).max())
    return gap, float(kolmogorov(gap * np.sqrt(len(left) * len(right) / len(at))))


def name_counts(
    expected: Sequence[Any], actual: Sequence[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How often each name stands in either sample, names in order; None is no name."""
    samples = [[str(name) for name in sample if name is not None] for sample in (expected, actual)]
    names = sorted({*samples[0], *samples[1]})
    place = {name: number for number, name in enumerate(names)}
    first, second = (
        np.bincount(np.array([place[name] for name in sample], np.int64), minlength=len(names))
        for sample in samples
    )
    return first, second


def chi2(expected: Sequence[Any], actual: Sequence[Any]) -> tuple[float, float]:
    """Pearson's chi-squared of the names in two samples, without a correction, and its p-value.

    (nan, nan) where a sample has no name; (0, 1) where both have the same one alone.
    """
    before, after = name_counts(expected, actual)
    if not before.sum() or not after.sum():
        return float("nan"), float("nan")
    if len(before) == 1:
        return 0.0, 1.0
    found = chi2_contingency(np.stack([before, after]), correction=False)
    return float(found.statistic), float(found.pvalue)


@dataclass(frozen=True)
class Drift:
    """How one numeric feature moved between two samples."""

    feature: str
    psi: float
    ks: float
    p: float
    null_before: float
    null_after: float

    @property
    def null_jump(self) -> float:
        """Change of the share of nulls."""
        return self.null_after - self.null_before


def drifts(expected: Mapping[str, ArrayLike], actual: Mapping[str, ArrayLike]) -> list[Drift]:
    """Drift of every feature that both samples have, largest PSI first, undefined ones last."""
    found = [
        Drift(
            name,
            psi(expected[name], actual[name]),
            *ks(expected[name], actual[name]),
            null_rate(expected[name]),
            null_rate(actual[name]),
        )
        for name in expected
        if name in actual
    ]
    return sorted(found, key=lambda each: (np.isnan(each.psi), -each.psi, each.feature))
