"""Implicit ALS: factors of users and items, by confidence in each purchase (Hu, Koren, Volinsky, ICDM 2008).

The loss is sum c_ui (p_ui - x_u y_i)^2 + lambda (|x|^2 + |y|^2) with p = 1 where the item was bought, else 0,
and c = alpha r_ui there, else 1: as the `implicit` library has it, which solves this; the paper adds 1.
Here r is log(1 + decayed count), times the item's popularity to a power. To the inner product comes a prior:
what sells now, since factors of a whole year know no season.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from bentos.blas import use_one_blas_thread
from training.peers.purchases import Floats, Purchases, Rows

SEED = 0


@dataclass(frozen=True)
class AlsOptions:
    """Size and weights of the factorisation."""

    factors: int
    regularisation: float  # lambda
    alpha: float
    half_life_weeks: float
    popularity_power: float = 0.0  # r_ui is multiplied by (buyers of i / mean) to this power
    recent_popularity: float = 0.0  # weight of log(1 + baskets of four weeks) beside the inner product
    iterations: int = 15


# The best of a grid at cut 43 (EXPERIMENTS, 2026-11-24): more factors remember, fewer generalise.
OPTIONS: Mapping[str, AlsOptions] = MappingProxyType(
    {
        "all": AlsOptions(factors=256, regularisation=30, alpha=8, half_life_weeks=13, popularity_power=-0.5),
        "discover": AlsOptions(
            factors=128,
            regularisation=50,
            alpha=8,
            half_life_weeks=26,
            popularity_power=-0.25,
            recent_popularity=0.04,
        ),
    }
)


@dataclass(frozen=True)
class Als:
    """Fitted factors; a score is their inner product, plus the item's prior."""

    users: Floats  # (n_users, n_factors)
    items: Floats  # (n_items, n_factors)
    prior: Floats  # (n_items,)

    def scores(self, rows: Rows) -> Floats:
        """Inner products of some users with every item: (n, n_items)."""
        return np.asarray(self.users[rows] @ self.items.T + self.prior, dtype=np.float32)


def fit(purchases: Purchases, options: AlsOptions) -> Als:
    """Factorise on one thread, so that equal purchases give equal factors."""
    # Only a BLAS that is loaded can be limited, and SciPy brings one of its own: imports come first.
    from implicit.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix

    counts = purchases.log_counts(options.half_life_weeks)
    buyers = np.bincount(counts.indices, minlength=counts.shape[1])
    weights = (buyers / max(buyers.mean(), 1.0)).clip(1e-6) ** options.popularity_power
    counts.data *= weights[counts.indices].astype(np.float32)
    with use_one_blas_thread():  # of more implicit warns: its own threads and BLAS's wait for each other
        model = AlternatingLeastSquares(
            factors=options.factors,
            regularization=options.regularisation,
            alpha=options.alpha,
            iterations=options.iterations,
            num_threads=1,
            random_state=SEED,
        )
        model.fit(csr_matrix(counts), show_progress=False)
    prior = options.recent_popularity * np.log1p(purchases.popularity(weeks=4))
    return Als(np.asarray(model.user_factors), np.asarray(model.item_factors), prior.astype(np.float32))
