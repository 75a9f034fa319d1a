"""Co-purchase factors: items in a space where those that the same shoppers buy lie close.

Training factorises purchases (implicit ALS: Hu, Koren, Volinsky, ICDM 2008) and hands over the items'
side. The shopper's side is solved anew at each request from the history as it is, so that a basket moves it.
"""

import numpy as np
from scipy.linalg.lapack import sposv

from bentos.release import Release
from feature_repo.pair_features import Floats, PastPurchases

# Chosen on cut 43 by the pool's recall of new items at 100 / 700: .096 / .268; with 0.05 and 5, .095 / .263.
ALPHA = 4.0  # confidence of one unit of log(1 + decayed count)
REGULARISATION = 30.0


def gram(items: Floats) -> Floats:
    """What every shopper's equations share: (n_factors, n_factors)."""
    return np.asarray(items.T @ items + REGULARISATION * np.eye(items.shape[1]), dtype=np.float32)


def folded(past: PastPurchases, items: Floats, shared: Floats) -> Floats:
    """The shopper's factors, (n_factors,): one least-squares step of ALS; zero without a past.

    `items` (n_items, n_factors) and `shared`, their `gram`. Confidence is ALPHA times the weight for what was
    bought, 1 for everything else, as the `implicit` library has it. NaN where a weight is.
    """
    if not past.items.size:
        return np.zeros(items.shape[1], dtype=np.float32)
    own = items.take(past.items, axis=0)
    confidence = np.float32(ALPHA) * np.log1p(past.decayed)
    system = (own * (confidence - np.float32(1.0))[:, None]).T @ own
    system += shared
    # Symmetric and positive definite: half of the work of `numpy.linalg.solve`, and a third of its time.
    _, found, failed = sposv(system.T, confidence @ own, lower=1, overwrite_a=1, overwrite_b=1)
    return np.full(len(found), np.nan, np.float32) if failed else found


def shopper_factors(release: Release, past: PastPurchases) -> Floats:
    """The shopper's factors in a release's space."""
    return folded(past, release.arrays["factor_items"], release.arrays["factor_gram"])


def unit(vectors: Floats) -> Floats:
    """Vectors of length one along the last axis; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-6), dtype=np.float32)
