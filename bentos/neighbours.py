"""Neighbours: what shoppers with a similar past have lately bought for the first time.

A release holds a panel: shoppers' factors as of four weeks before it, and what each bought within those
weeks that was new to them. A request weighs them by likeness. The panel is at most PANEL shoppers, so that
the cost of a request does not grow with the shop.
"""

import numpy as np

from bentos.factors import unit
from bentos.release import Release
from feature_repo.pair_features import Floats

PANEL = 4_096
PANEL_WEEKS = 4
SHARPNESS = 4  # likeness is the cosine to this power; cut 43: recall@100 of the pool .0951, with 8 .0938


def neighbours(release: Release, factors: Floats) -> Floats:
    """Share of the likeness-weighted panel that newly bought each item, (n_items,); 0 without a past.

    `factors` (n_factors,) are the shopper's.
    """
    arrays = release.arrays
    likeness = np.maximum(arrays["panel_vectors"] @ unit(factors), 0.0) ** SHARPNESS
    total = float(likeness.sum())
    n_items = len(release.catalogue.item_ids)
    if total <= 0.0:
        return np.zeros(n_items, dtype=np.float32)
    weights = (likeness / np.float32(total))[arrays["panel_shoppers"]]
    return np.bincount(arrays["panel_items"], weights=weights, minlength=n_items).astype(np.float32)
