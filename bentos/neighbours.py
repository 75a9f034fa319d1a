"""Neighbours: what shoppers with a similar past have lately bought for the first time.

A release holds a panel: shoppers' factors as of four weeks before it, and what each bought within those
weeks that was new to them. A request weighs them by likeness. The panel is at most PANEL shoppers, so that
the cost of a request does not grow with the shop.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from bentos.factors import unit
from bentos.release import Release
from feature_repo.pair_features import Floats, Positions

PANEL = 4_096
PANEL_WEEKS = 4
SHARPNESS = 4  # likeness is the cosine to this power; cut 43: recall@100 of the pool .0951, with 8 .0938


@dataclass(frozen=True)
class Panel:
    """What the panel bought, by item."""

    items: Positions  # (n_bought,) those that anybody bought, in the catalogue's order
    buyers: Any  # CSR (n_bought, n_panel): 1 where a shopper bought an item


def panel_by_item(release: Release) -> Panel:
    """The release's panel by item."""
    return release.once("panel", _panel_by_item)


def _panel_by_item(release: Release) -> Panel:
    from scipy.sparse import csr_array

    items, row = np.unique(release.arrays["panel_items"], return_inverse=True)
    shape = (len(items), len(release.arrays["panel_vectors"]))
    bought = np.ones(len(row), dtype=np.float32)
    return Panel(
        items.astype(np.int32),
        csr_array((bought, (row.ravel(), release.arrays["panel_shoppers"])), shape=shape),
    )


def neighbours(release: Release, factors: Floats) -> tuple[Positions, Floats]:
    """Share of the likeness-weighted panel that newly bought each item: (items, shares).

    All other items have none, as all have without a past. `factors` (n_factors,) are the shopper's.
    """
    squares = np.square(np.maximum(release.arrays["panel_vectors"] @ unit(factors), 0.0))
    likeness = squares * squares  # to the power of SHARPNESS
    total, panel = float(likeness.sum()), panel_by_item(release)
    if total <= 0.0 or not panel.items.size:
        return np.empty(0, np.int32), np.empty(0, np.float32)
    return panel.items, panel.buyers @ (likeness / np.float32(total))
