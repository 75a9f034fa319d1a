"""Exact nearest items: the best inner products, or the best of any score, over the whole catalogue.

Brute force: right below about 300,000 items (0.13 ms at 20,000 items of 64 dimensions). What a request
looks at above is `bentos.shortlist`'s.
"""

import math

import numpy as np
from numpy.typing import NDArray

from feature_repo.pair_features import Floats, Positions

SAMPLED, MANY = 16, 4_096  # every so many scores are a sample, of at least so many


def best(scores: Floats, n: int, *, among: NDArray[np.bool_] | None = None) -> Positions:
    """Positions of the `n` highest scores, best first, ties by position; -inf and NaN never count.

    `among` (n_items,) restricts the search.
    """
    held = scores if among is None else np.where(among, scores, np.float32(-np.inf))
    if np.isnan(held).any():
        held = np.where(np.isnan(held), np.float32(-np.inf), held)
    if n <= 0:
        return np.empty(0, dtype=np.int32)
    pool = at_least(held, n)  # ties are cut by position and not by luck
    order = np.argsort(-held[pool], kind="stable")[:n]
    return pool[order].astype(np.int32)


def at_least(scores: Floats, n: int) -> NDArray[np.intp]:
    """Positions, in order, of all scores that are no lower than the `n`-th highest; -inf never counts.

    There is no NaN among `scores`.
    """
    if n >= len(scores):
        return np.flatnonzero(scores > -np.inf)
    held = probably(scores, n)
    some = scores if held is None else scores.take(held)
    least = np.partition(some, len(some) - n)[len(some) - n]
    if held is None or not least > -np.inf:
        return np.flatnonzero(scores >= least if least > -np.inf else scores > -np.inf)
    found: NDArray[np.intp] = held[some >= least]
    return found


def highest(scores: Floats, n: int) -> NDArray[np.intp]:
    """Positions, in order, of the `n` highest scores; of those that tie with the last the first.

    -inf and NaN never count.
    """
    if n <= 0:
        return np.empty(0, dtype=np.intp)
    if np.isnan(scores).any():
        scores = np.where(np.isnan(scores), np.float32(-np.inf), scores)
    found = at_least(scores, n)
    if len(found) <= n:
        return found
    held = scores[found]
    kept: NDArray[np.intp] = np.delete(found, np.flatnonzero(held == held.min())[n - len(found) :])
    return kept


def probably(scores: Floats, n: int) -> NDArray[np.intp] | None:
    """Positions, in order, of the `n` highest scores and few others, so that little is left to partition.

    A sample guesses the `n`-th highest, on the low side; None where that was not low enough, or scores few.
    """
    if len(scores) < MANY:
        return None
    sample = scores[::SAMPLED]
    rank = n // SAMPLED + 4 * math.isqrt(n // SAMPLED) + 1  # four deviations
    if rank < len(sample):
        found = np.flatnonzero(scores >= np.partition(sample, len(sample) - rank)[len(sample) - rank])
        if len(found) >= n:
            return found
    return None
