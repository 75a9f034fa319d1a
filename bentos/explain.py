"""Reasons: one sentence per recommended item, from the same numbers that ranked it."""

from collections.abc import Sequence

import numpy as np

from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import PastPurchases, Positions

# From this share of a shopper's purchases, a category is one "that you buy often".
OFTEN = 0.02
NEWCOMER = "New in the shop, of a kind that you buy"


def reasons(
    release: Release,
    shopper: Shopper,
    items: Positions,
    places: Sequence[int | None],
    sources: Sequence[Sequence[str]],
) -> list[str]:
    """Why some items are recommended, in words; `places` are theirs in the past, `sources` brought them."""
    past, catalogue = shopper.past, release.catalogue
    of_past, all_bought = catalogue.categories.take(past.items), max(float(past.decayed.sum()), 1e-9)
    found = []
    for place, category, names in zip(places, catalogue.categories[items].tolist(), sources, strict=True):
        if place is not None:
            found.append(bought_before(int(past.counts[place]), float(past.days_since[place])))
            continue
        share = float(past.decayed[of_past == category].sum()) / all_bought
        kind = readable(str(catalogue.category_names[category]))
        found.append(new_to_you(kind, share, names, known=bool(past.items.size)))
    return found


def places_of(past: PastPurchases, items: Positions) -> list[int | None]:
    """Where items stand in a past, None for those that were never bought."""
    begins = np.searchsorted(past.items, items, side="left").tolist()
    ends = np.searchsorted(past.items, items, side="right").tolist()
    return [begin if begin < end else None for begin, end in zip(begins, ends, strict=True)]


def new_to_you(category: str, share: float, sources: Sequence[str], *, known: bool) -> str:
    """The reason for something that the shopper never bought: `share` of what they buy is of its category."""
    if share >= OFTEN:
        return f"New to you, from {category}, which you buy often"
    if known and {"two_tower", "co_purchase", "neighbours"} & set(sources):
        return "Bought by shoppers with a taste like yours"
    if share > 0 and "affinity" in sources:
        return f"New to you, from {category}, which you buy"
    if "top_sellers" in sources:
        return "A top seller of the last four weeks"
    return "Goes with what you buy" if known else "Sells well now"


def bought_before(times: int, days: float) -> str:
    """The reason for something that the shopper buys."""
    often = "once" if times == 1 else f"{times} times"
    last = "today" if days < 1 else "yesterday" if days < 2 else f"{int(days)} days ago"
    return f"You bought it {often}, last {last}"


def readable(name: str) -> str:
    """A category's name as a sentence would have it."""
    return name.lower() if name.isupper() else name
