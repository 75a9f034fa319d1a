"""The taste space: few dimensions in which a shopper's lifts over groups and the items' groups meet.

What a shopper's lifts say of an item is a weighted sum over the item's groups: one inner product, but of as
many dimensions as there are groups. A truncated singular value decomposition (Halko, Martinsson, Tropp 2011,
"Finding structure with randomness") of shoppers x items keeps the few that tell most, items weighed by sales.
Both towers start there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bentos.towers import KINDS
from feature_repo.pair_features import Floats, Positions

# Weight of a lift in the sum, about as the pool has it; cut 43, discover recall@100 of the sum alone .089.
WEIGHTS: Mapping[str, float] = {
    "categories": 0.15,
    "types": 0.12,
    "manufacturers": 0.09,
    "lines": 0.09,
    "variants": 0.03,
}
SALES_CAP = 9.0  # baskets of 13 weeks beyond which an item weighs no more
OVERSAMPLING, SWEEPS = 16, 4


@dataclass(frozen=True)
class TasteSpace:
    """Places of all groups by kind, (n_groups, n_taste): of a shopper's history, and of items."""

    queries: Mapping[str, Floats]
    items: Mapping[str, Floats]

    def places(self, groups: Mapping[str, Positions]) -> Floats:
        """The items' places, (n_items, n_taste); `groups` are their codes by kind, (n_items,) each."""
        return np.asarray(sum(self.items[kind][groups[kind]] for kind in KINDS), dtype=np.float32)


def taste_space(
    lifted: Mapping[str, Any],
    groups: Mapping[str, Positions],
    baskets: Floats,
    dimensions: int,
    seed: int = 0,
) -> TasteSpace:
    """The space that keeps most of the weighted sum of lifts.

    `lifted` are CSR matrices (n_shoppers, n_groups) of `bentos.affinity.raised` by kind, `groups` the items'
    codes, `baskets` (n_items,) of 13 weeks. Fewer dimensions than asked for come with zeros.
    """
    from scipy.sparse import csr_matrix

    weight = np.sqrt(np.minimum(np.nan_to_num(baskets) + 0.1, SALES_CAP))[:, None].astype(np.float32)
    n = len(weight)
    of = {
        kind: csr_matrix(
            (np.full(n, WEIGHTS[kind], np.float32), (np.arange(n), groups[kind])),
            shape=(n, lifted[kind].shape[1]),
        )
        for kind in KINDS
    }

    def shoppers_of(items: Floats) -> Floats:
        return np.asarray(sum(lifted[kind] @ (of[kind].T @ (weight * items)) for kind in KINDS))

    def items_of(shoppers: Floats) -> Floats:
        return np.asarray(weight * sum(of[kind] @ (lifted[kind].T @ shoppers) for kind in KINDS))

    start = np.random.default_rng(seed).normal(size=(n, dimensions + OVERSAMPLING)).astype(np.float32)
    basis = np.linalg.qr(shoppers_of(start))[0]
    for _ in range(SWEEPS):
        basis = np.linalg.qr(shoppers_of(np.linalg.qr(items_of(basis))[0]))[0]
    right, values, left = np.linalg.svd(items_of(basis), full_matrices=False)
    kept = min(dimensions, int((values > values[0] * 1e-5).sum()))
    right, shoppers = right[:, :kept], (basis @ left.T[:, :kept]) / values[:kept]
    queries = {kind: of[kind].T @ (weight * right) for kind in KINDS}
    items = {kind: np.float32(WEIGHTS[kind]) * (lifted[kind].T @ shoppers) for kind in KINDS}
    size = float(np.asarray(sum(items[kind][groups[kind]] for kind in KINDS)).std()) or 1.0
    padded = ((0, 0), (0, dimensions - kept))
    return TasteSpace(
        {kind: np.pad(each * np.float32(size), padded).astype(np.float32) for kind, each in queries.items()},
        {kind: np.pad(each / np.float32(size), padded).astype(np.float32) for kind, each in items.items()},
    )
