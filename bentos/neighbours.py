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
from feature_repo.pair_features import Codes, Floats, Positions, compact

TINY = 1e-30  # likeness of all the panel together below which nobody is alike
PANEL = 4_096
PANEL_WEEKS = 4
SHARPNESS = 4  # likeness is the cosine to this power; cut 43: recall@100 of the pool .0951, with 8 .0938


@dataclass(frozen=True)
class NewlyBought:
    """The items that somebody of the panel newly bought: a bounded number.

    A sparse matrix in jagged diagonals (Saad, "Iterative Methods for Sparse Linear Systems", 2003, section
    3.4): the first buyer of every item, then the second of those that have two, and so on, so that what is
    added up next to each other is added at once.
    """

    items: Positions  # (n_newly_bought,) those of most buyers first
    buyers: Codes  # (n_purchases,) of the panel
    starts: Positions  # (most_buyers + 1,) of the first buyers, of the second, ..., and where all end
    place_of: Codes  # (n_items,) of each item, n_newly_bought for those that nobody bought


def newly_bought(release: Release) -> NewlyBought:
    """What a release's panel newly bought; IndexError for a purchase of somebody who is not of the panel."""
    return release.once("newly_bought", _newly_bought)


def _newly_bought(release: Release) -> NewlyBought:
    shoppers, bought = release.arrays["panel_shoppers"], release.arrays["panel_items"]
    if shoppers.size and not 0 <= shoppers.min() <= shoppers.max() < len(release.arrays["panel_vectors"]):
        raise IndexError("a purchase of a shopper whom the panel lacks")
    items, n_buyers = np.unique(bought, return_counts=True)
    most_first = np.argsort(-n_buyers, kind="stable")
    items, n_buyers = items[most_first].astype(np.int32), n_buyers[most_first]
    place_of = np.full(len(release.catalogue.item_ids), len(items), dtype=np.int32)
    place_of[items] = np.arange(len(items))
    by_item = np.lexsort((shoppers, place_of[bought]))
    ends = np.cumsum(n_buyers)
    nth = np.arange(len(bought)) - np.repeat(ends - n_buyers, n_buyers)  # buyer of the item
    buyers = compact(shoppers[by_item][np.argsort(nth, kind="stable")])
    starts = np.concatenate([[0], np.cumsum(np.bincount(nth))]).astype(np.int32)
    return NewlyBought(items, buyers, starts, compact(place_of))


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
    return added(weights, bought.starts, bought.buyers, len(bought.items) + 1).astype(np.float32)


@compiled
def added(weights: NDArray[np.float64], starts: Positions, buyers: Codes, n: int) -> NDArray[np.float64]:
    """Weights of the buyers of each of `n` things, together: (n,)."""
    found = np.zeros(n)
    for place in range(len(starts) - 1):
        nth = buyers[starts[place] : starts[place + 1]]
        for thing in range(len(nth)):
            found[thing] += weights[nth[thing]]
    return found
