"""TIFU-KNN: temporal item frequencies of a user and of their neighbours (Hu et al., SIGIR 2020).

A user's baskets, oldest first, are cut from the latest on into groups of `group_size`; the oldest group may
be smaller. Within a group of m baskets the j-th weighs r_b^(m - j), among k groups the g-th r_g^(k - g);
both levels are averaged. The prediction is alpha u + (1 - alpha) times the mean vector of the nearest users
by Euclidean distance, the user not among them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from training.peers.purchases import Floats, Purchases, Rows, Sparse


@dataclass(frozen=True)
class TifuOptions:
    """The paper's five parameters."""

    neighbours: int
    group_size: int  # m, in baskets
    within_decay: float  # r_b
    group_decay: float  # r_g
    own_weight: float  # alpha


# The best of a grid at cut 43 (EXPERIMENTS, 2026-11-24), begun at the authors' values for Ta-Feng: 300, 7,
# 0.9, 0.7, 0.7. The own weight does not matter where the own items are left out.
OPTIONS: Mapping[str, TifuOptions] = MappingProxyType(
    {
        "all": TifuOptions(neighbours=300, group_size=3, within_decay=0.9, group_decay=0.9, own_weight=0.9),
        "discover": TifuOptions(
            neighbours=300, group_size=3, within_decay=0.9, group_decay=0.7, own_weight=0.7
        ),
    }
)


@dataclass(frozen=True)
class TifuKnn:
    """Users' vectors, and who is near to whom."""

    vectors: Sparse  # (n_users, n_items)
    nearest: Rows  # (n_users, n_neighbours)
    own_weight: float

    def scores(self, rows: Rows) -> Floats:
        """Own frequencies and the neighbours', mixed: (n, n_items)."""
        from scipy.sparse import csr_array

        near = self.nearest[rows]
        indptr = np.arange(len(rows) + 1) * near.shape[1]
        share = np.full(near.size, (1 - self.own_weight) / max(near.shape[1], 1), np.float32)
        mean = csr_array((share, near.ravel(), indptr), shape=(len(rows), self.vectors.shape[0]))
        mixed = self.own_weight * self.vectors[rows] + mean @ self.vectors
        return np.asarray(mixed.toarray(), dtype=np.float32)


def fit(purchases: Purchases, options: TifuOptions) -> TifuKnn:
    """Vectors of all users and their nearest others."""
    vectors = purchases.matrix(basket_weights(purchases, options))
    products = (vectors @ vectors.T).toarray()
    squares = np.diag(products)
    distances = squares[:, None] + squares[None, :] - 2 * products
    np.fill_diagonal(distances, np.inf)
    kept = min(options.neighbours, len(squares) - 1)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :kept]
    return TifuKnn(vectors, nearest.astype(np.int32), options.own_weight)


def basket_weights(purchases: Purchases, options: TifuOptions) -> Floats:
    """Weight of each entry's basket in its user's vector: (n,)."""
    baskets = np.zeros(purchases.shape[0], np.int64)  # of each user, as far as the catalogue shows
    np.maximum.at(baskets, purchases.users, purchases.baskets_since + 1)
    since, mine = purchases.baskets_since, baskets[purchases.users]
    group = since // options.group_size  # 0 is the latest
    groups = -(-mine // options.group_size)
    size = np.minimum(mine - group * options.group_size, options.group_size)
    within = options.within_decay ** (since % options.group_size)
    weights = within * options.group_decay**group / (size * groups)
    return np.asarray(weights, dtype=np.float32)
