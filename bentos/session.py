"""What a shopper is doing now: the basket they fill and what they have just looked at.

It comes with the request, from the log of events, or both. It moves what the sources hear of the shopper, not
what they are said to have bought: nothing here is a purchase yet.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from bentos.item_positions import positions_in
from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import Floats, PastPurchases, Positions

LASTS_S = 30 * 60.0  # without anything new a visit is over: the half hour of web analytics
LENGTH = 50  # events of a visit that still count
# Decayed baskets that an item stands for. A guess on the safe side, which no data here can check.
IN_BASKET, CLICKED = 1.0, 0.5


@dataclass(frozen=True)
class Session:
    """Item ids, each once."""

    basket: tuple[str, ...] = ()
    clicked: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.basket or self.clicked)


def session_of(
    events: Iterable[tuple[str, str]], basket: Iterable[str] = (), clicked: Iterable[str] = ()
) -> Session:
    """The session of (kind, item) events, the newest first, and of what the request says.

    What was bought since is in the basket no more.
    """
    bought, filled, seen = set(), list(basket), list(clicked)
    for kind, item in events:
        if kind == "purchase":
            bought.add(item)
        elif kind == "add_to_cart" and item not in bought:
            filled.append(item)
        elif kind == "click":
            seen.append(item)
    return Session(tuple(dict.fromkeys(filled)), tuple(dict.fromkeys(seen)))


def positions(release: Release, ids: Iterable[str]) -> Positions:
    """Catalogue positions of those ids that the catalogue has, in increasing order."""
    found = positions_in(release, list(ids))
    return np.unique(found[found >= 0]).astype(np.int32)


def interested(shopper: Shopper, release: Release, session: Session) -> Shopper:
    """The shopper with an interest in what the session is about, beside their past."""
    if not session:
        return shopper
    weights = np.zeros(len(release.catalogue.item_ids), dtype=np.float32)
    weights[positions(release, session.clicked)] += np.float32(CLICKED)
    weights[positions(release, session.basket)] += np.float32(IN_BASKET)
    held = np.flatnonzero(weights).astype(np.int32)
    if not held.size:
        return shopper
    return replace(shopper, interest=joined(shopper.past, held, weights[held]))


def joined(past: PastPurchases, items: Positions, weights: Floats) -> PastPurchases:
    """A past to which some items are added with weights, as of now."""
    every = np.union1d(past.items, items).astype(np.int32)
    place, added = np.searchsorted(every, past.items), np.searchsorted(every, items)

    def column(values: Floats, otherwise: float) -> Floats:
        full = np.full(len(every), otherwise, dtype=np.float32)
        full[place] = values
        return full

    decayed, days_since = column(past.decayed, 0.0), column(past.days_since, 0.0)
    decayed[added] += weights
    days_since[added] = 0.0
    return PastPurchases(
        items=every,
        counts=column(past.counts, 0.0),
        decayed=decayed,
        days_since=days_since,
        days_since_first=column(past.days_since_first, 0.0),
        baskets_since=column(past.baskets_since, 0.0),
    )
