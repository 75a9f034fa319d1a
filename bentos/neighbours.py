"""Neighbours: what shoppers with a similar past have lately bought for the first time.

A release holds a panel: shoppers' factors as of four weeks before it, and what each bought within those
weeks that was new to them. A request weighs them by likeness. The panel is at most PANEL shoppers, so that
the cost of a request does not grow with the shop.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bentos.factors import unit
from bentos.release import Release
from feature_repo.compiled import compiled
from feature_repo.pair_features import Floats, Positions

TINY = 1e-30  # likeness of all the panel together below which nobody is alike
PANEL = 4_096
PANEL_WEEKS = 4
SHARPNESS = 4  # likeness is the cosine to this power; cut 43: recall@100 of the pool .0951, with 8 .0938


@dataclass(frozen=True)
class NewlyBought:
    """The items that somebody of the panel newly bought: a bounded number."""

    items: Positions  # (n_newly_bought,) in increasing order
    purchases: Positions  # (n_purchases,) the place among them of each of the panel's, shopper by shopper
    starts: Positions  # (n_panel + 1,) of each shopper's purchases, and where they end
    place_of: Positions  # (n_items,) of each item, n_newly_bought for those that nobody bought


def newly_bought(release: Release) -> NewlyBought:
    """What a release's panel newly bought."""
    return release.once("newly_bought", _newly_bought)


def _newly_bought(release: Release) -> NewlyBought:
    shoppers = release.arrays["panel_shoppers"]
    by_shopper = np.argsort(shoppers, kind="stable")
    each = np.arange(len(release.arrays["panel_vectors"]) + 1)
    starts = np.searchsorted(shoppers[by_shopper], each).astype(np.int32)
    items, purchases = np.unique(release.arrays["panel_items"][by_shopper], return_inverse=True)
    place_of = np.full(len(release.catalogue.item_ids), len(items), dtype=np.int32)
    place_of[items] = np.arange(len(items))
    return NewlyBought(items.astype(np.int32), purchases.astype(np.int32), starts, place_of)


def neighbours(release: Release, factors: Floats) -> Floats:
    """Share of the likeness-weighted panel that newly bought each item, zero without a past.

    Shape (n_newly_bought + 1,): a zero at the end for all other items, so that `place_of` any item finds its
    share. `factors` (n_factors,) are the shopper's.
    """
    squares = np.square(np.maximum(release.arrays["panel_vectors"] @ unit(factors), 0.0))
    likeness = squares * squares  # to the power of SHARPNESS
    total = max(float(likeness.sum()), TINY)
    bought = newly_bought(release)
    weights = likeness.astype(np.float64) / total
    return added(weights, bought.starts, bought.purchases, len(bought.items) + 1).astype(np.float32)


@compiled
def added(
    weights: NDArray[np.float64], starts: Positions, purchases: Positions, n: int
) -> NDArray[np.float64]:
    """Weights of the shoppers who bought each of `n` things, together: (n,).

    Many shoppers of a panel are unlike, and of no weight.
    """
    found = np.zeros(n)
    for shopper in range(len(weights)):
        if weights[shopper] > 0.0:
            for purchase in range(starts[shopper], starts[shopper + 1]):
                found[purchases[purchase]] += weights[shopper]
    return found
