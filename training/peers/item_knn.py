"""Item k-NN: an item scores by its similarity to what the user bought (Deshpande, Karypis, TOIS 2004).

Similarity of items i and j is the cosine of their columns, shrunk where few bought both:
sim(i, j) = x_i . x_j / (|x_i| |x_j| + shrinkage). Of each item the `neighbours` most similar others are kept;
a user's score of i is the sum of sim(i, j) over what they bought, weighted by their log-decayed count of j.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from training.peers.purchases import Floats, Purchases, Rows, Sparse

BLOCK = 512  # items whose similarities to all others are held at a time


@dataclass(frozen=True)
class ItemKnnOptions:
    """How purchases are weighed and how many neighbours an item has."""

    half_life_weeks: float
    neighbours: int
    shrinkage: float


# The best of a grid at cut 43 (EXPERIMENTS, 2026-11-24).
OPTIONS: Mapping[str, ItemKnnOptions] = MappingProxyType(
    {
        "all": ItemKnnOptions(half_life_weeks=13, neighbours=500, shrinkage=3),
        "discover": ItemKnnOptions(half_life_weeks=np.inf, neighbours=200, shrinkage=3),
    }
)


@dataclass(frozen=True)
class ItemKnn:
    """Users' counts and items' neighbours."""

    counts: Sparse  # (n_users, n_items)
    similarities: Sparse  # (n_items, n_items): row j holds what j says for others

    def scores(self, rows: Rows) -> Floats:
        """Summed similarities to what some users bought: (n, n_items)."""
        return np.asarray((self.counts[rows] @ self.similarities).toarray(), dtype=np.float32)


def fit(purchases: Purchases, options: ItemKnnOptions) -> ItemKnn:
    """Compare every item with every other that shares a buyer, in blocks of items."""
    from scipy.sparse import vstack

    counts = purchases.log_counts(options.half_life_weeks)
    columns = counts.T.tocsr()
    norms = np.sqrt(columns.multiply(columns).sum(axis=1)).astype(np.float32)
    blocks = [
        _nearest(columns[start : start + BLOCK] @ counts, norms, start, options)
        for start in range(0, len(norms), BLOCK)
    ]
    nearest = vstack(blocks, format="csr")
    blocks.clear()  # 200 MB of 500 neighbours; the turned matrix takes as much again
    return ItemKnn(counts, nearest.T.tocsr())


def _nearest(dots: Sparse, norms: Floats, start: int, options: ItemKnnOptions) -> Sparse:
    """Similarities of a block's items, from inner products with all items, to their nearest others."""
    from scipy.sparse import csr_array

    rows = np.repeat(np.arange(dots.shape[0]), np.diff(dots.indptr)) + start
    similar = dots.data / (norms[rows] * norms[dots.indices] + options.shrinkage)
    similar[dots.indices == rows] = 0.0
    kept = [
        low + _largest(similar[low:high], options.neighbours) for low, high in pairwise(dots.indptr.tolist())
    ]
    places = np.concatenate(kept)
    indptr = np.cumsum([0, *map(len, kept)])
    return csr_array((similar[places], dots.indices[places], indptr), shape=dots.shape)


def _largest(values: Floats, n: int) -> NDArray[np.intp]:
    """Places of the `n` largest values, in any order."""
    if len(values) <= n:
        return np.arange(len(values))
    return np.argpartition(-values, n - 1)[:n]
