"""EASE: the best linear model from all other items to one, in closed form (Steck, WWW 2019).

With X (n_users, n_items), G = X'X + lambda I and P = G^-1, the weights are B = I - P diag(1 / diag P): zero
on the diagonal, so no item explains itself. P is (n_items, n_items), too large for a whole catalogue; where
users are far fewer than items, the same scores come from the users' side. With M = (XX' + lambda I)^-1:

    X P     = M X
    diag P  = (1 - diag(X' M X)) / lambda
    X B     = X - M X diag(1 / diag P)

X is log(1 + decayed count). To the scores comes a prior: what sells now, since counts of a year
know no season.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from training.peers.purchases import Floats, Purchases, Rows, Sparse

BLOCK = 256  # users whose dense rows are held at a time


@dataclass(frozen=True)
class EaseOptions:
    """How purchases are weighed, and how strongly the weights are held back."""

    half_life_weeks: float
    regularisation: float  # lambda
    recent_popularity: float = 0.0  # weight of log(1 + baskets of four weeks) beside X B


# The best of a grid at cut 43 (EXPERIMENTS, 2026-11-24).
OPTIONS: Mapping[str, EaseOptions] = MappingProxyType(
    {
        "all": EaseOptions(half_life_weeks=13, regularisation=20, recent_popularity=0.01),
        "discover": EaseOptions(half_life_weeks=26, regularisation=500, recent_popularity=0.01),
    }
)


@dataclass(frozen=True)
class Ease:
    """A fitted model of all users that it was fitted on."""

    counts: Sparse  # (n_users, n_items) X
    users: Floats  # (n_users, n_users) M
    diagonal: Floats  # (n_items,) diag P
    prior: Floats  # (n_items,)

    def scores(self, rows: Rows) -> Floats:
        """X B and the prior, of some users: (n, n_items)."""
        explained = (self.users[rows] @ self.counts) / self.diagonal
        return np.asarray(self.counts[rows] - explained + self.prior, dtype=np.float32)


def fit(purchases: Purchases, options: EaseOptions) -> Ease:
    """Solve for all users at once: O(n_users^3), a second for 2,500 of them."""
    counts = purchases.log_counts(options.half_life_weeks)
    gram = (counts @ counts.T).toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += options.regularisation
    users = np.linalg.inv(gram).astype(np.float32)
    own = np.zeros(counts.shape[1])  # diag(X' M X)
    for start in range(0, counts.shape[0], BLOCK):
        rows = slice(start, start + BLOCK)
        own += counts[rows].multiply(users[rows] @ counts).sum(axis=0)
    diagonal = (1 - own) / options.regularisation
    prior = options.recent_popularity * np.log1p(purchases.popularity(weeks=4))
    return Ease(counts, users, diagonal.astype(np.float32), prior.astype(np.float32))
