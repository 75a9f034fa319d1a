"""Co-purchase factors of the items as of one instant: implicit ALS over everybody's history.

In: user rows, point-in-time. Out: the items' side, which `bentos.factors` folds shoppers into; the users'
side is thrown away. Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets" (ICDM
2008), solved by the `implicit` library.
"""

from datetime import datetime
from typing import Any

import numpy as np

from bentos.blas import use_one_blas_thread
from bentos.factors import ALPHA, REGULARISATION
from bentos.shopper import SECONDS_PER_DAY, decay_since
from feature_repo.pair_features import Floats, Positions
from training.point_in_time import UserRows

FACTORS = 64
SWEEPS = 15
SEED = 0


def history_matrix(users: UserRows, place: Positions, n_items: int, now: datetime) -> Any:
    """(n_users, n_items) log(1 + decayed count as of `now`) of what each user bought, a sparse CSR matrix.

    `place` maps the world's positions to the catalogue's, -1 where it does not hold the item.
    """
    from scipy.sparse import csr_matrix

    rows = np.repeat(np.arange(len(users)), np.diff(users.offsets))
    columns = np.where(users.positions >= 0, place[users.positions], -1)
    held = columns >= 0
    seconds = np.maximum(now.timestamp() - users.last_times[held].astype(np.float64), 0.0)
    weights = np.log1p(users.decayed[held] * decay_since((seconds / SECONDS_PER_DAY).astype(np.float32)))
    return csr_matrix((weights, (rows[held], columns[held])), shape=(len(users), n_items))


def item_factors(history: Any, *, threads: int) -> Floats:
    """Factors of every item, (n_items, FACTORS); `history` is (n_users, n_items)."""
    from implicit.als import AlternatingLeastSquares

    use_one_blas_thread()  # the import brought a BLAS of its own; the solver has threads itself
    model = AlternatingLeastSquares(
        factors=FACTORS,
        regularization=REGULARISATION,
        alpha=ALPHA,
        iterations=SWEEPS,
        random_state=SEED,
        num_threads=threads,
    )
    model.fit(history, show_progress=False)
    return np.asarray(model.item_factors, dtype=np.float32)
