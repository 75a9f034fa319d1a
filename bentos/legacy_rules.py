"""Legacy rules: what the shop had before. The system to beat, the control arm, and the last fallback.

Each rule scores the whole catalogue for one shopper: (n_items,), -inf for what it would never show.
"""

from types import MappingProxyType

import numpy as np

from bentos.affinity import item_groups, lifts, raised
from bentos.index import best
from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import Floats, Positions


def top_sellers(release: Release, shopper: Shopper) -> Floats:  # noqa: ARG001 - the same for everybody
    """Baskets of the last four weeks, everybody's."""
    return np.asarray(release.arrays["popularity"], dtype=np.float32)


def segment(release: Release, shopper: Shopper) -> Floats:
    """Baskets of the last four weeks within the shopper's segment: those with the same top department.

    A user without a segment gets everybody's top sellers.
    """
    place = np.flatnonzero(release.arrays["segment_names"] == shopper.top_department)
    if not place.size or not shopper.top_department:
        return top_sellers(release, shopper)
    return np.asarray(release.arrays["segment_popularity"][place[0]], dtype=np.float32)


def buy_again(release: Release, shopper: Shopper) -> Floats:
    """The shopper's own purchases by decayed count, then top sellers."""
    filler = top_sellers(release, shopper)
    own = np.full(len(filler), -np.inf, dtype=np.float32)
    own[shopper.past.items] = shopper.past.decayed
    # Squeezed into [-1, 0), below any decayed count, so that it only fills what is left.
    filler = filler / (1.0 + float(filler.max(initial=0.0))) - 1.0
    return np.where(np.isinf(own), filler, own).astype(np.float32)


def category_affinity(release: Release, shopper: Shopper) -> Floats:
    """Recent popularity times the shopper's share of the item's category over the shop's own share."""
    groups, shares = item_groups(release), release.arrays["shop_share_categories"]
    own = raised(shopper.past, groups.categories, shares)
    lift = np.exp(lifts(shopper.past, own, len(shares)))
    return np.asarray(release.arrays["popularity"] * lift[groups.categories], dtype=np.float32)


LEGACY_RULES = MappingProxyType(
    {
        "segment": segment,
        "top_sellers": top_sellers,
        "buy_again": buy_again,
        "category_affinity": category_affinity,
    }
)


def recommended(name: str, release: Release, shopper: Shopper, n: int, task: str) -> Positions:
    """The `n` best items by one legacy rule, best first; `discover` leaves out what was bought."""
    allowed = np.ones(len(release.catalogue.item_ids), dtype=bool)
    if task == "discover":
        allowed[shopper.past.items] = False
    return best(LEGACY_RULES[name](release, shopper), n, among=allowed)
