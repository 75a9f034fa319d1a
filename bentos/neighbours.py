"""Neighbours: what shoppers with a similar past have lately bought for the first time.

A release holds a panel: shoppers' factors as of four weeks before it, and what each bought within those
weeks that was new to them. A request weighs them by likeness. The panel is at most PANEL shoppers, so that
the cost of a request does not grow with the shop.
"""

import numpy as np

from bentos.factors import unit
from bentos.release import Release
from feature_repo.pair_features import Floats

TINY = 1e-30  # likeness of all the panel together below which nobody is alike
PANEL = 4_096
PANEL_WEEKS = 4
SHARPNESS = 4  # likeness is the cosine to this power; cut 43: recall@100 of the pool .0951, with 8 .0938


def neighbours(release: Release, factors: Floats) -> Floats:
    """Share of the likeness-weighted panel that newly bought each item: (n_items,), zero without a past.

    `factors` (n_factors,) are the shopper's.
    """
    squares = np.square(np.maximum(release.arrays["panel_vectors"] @ unit(factors), 0.0))
    likeness = squares * squares  # to the power of SHARPNESS
    total = max(float(likeness.sum()), TINY)
    weights = (likeness.astype(np.float64) / total).take(release.arrays["panel_shoppers"])
    n_items = len(release.catalogue.item_ids)
    return np.bincount(release.arrays["panel_items"], weights, minlength=n_items).astype(np.float32)
