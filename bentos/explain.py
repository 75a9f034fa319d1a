"""Reasons: one sentence per recommended item, from the same numbers that ranked it."""

import numpy as np

from bentos.candidates import Candidates
from bentos.release import Release
from bentos.shopper import Shopper

# From this share of a shopper's purchases, a category is one "that you buy often".
OFTEN = 0.02
NEWCOMER = "New in the shop, of a kind that you buy"


def reason(release: Release, shopper: Shopper, candidates: Candidates, row: int) -> str:
    """Why candidate `row` is recommended, in words."""
    item = int(candidates.items[row])
    past = shopper.past
    place = int(np.searchsorted(past.items, item))
    if place < len(past.items) and past.items[place] == item:
        return bought_before(int(past.counts[place]), float(past.days_since[place]))
    catalogue = release.catalogue
    category = readable(str(catalogue.category_names[catalogue.categories[item]]))
    sources = candidates.sources_of(row)
    share = 0.0
    if past.items.size:
        alike = catalogue.categories[past.items] == catalogue.categories[item]
        share = float(past.decayed[alike].sum()) / max(float(past.decayed.sum()), 1e-9)
    if share >= OFTEN:
        return f"New to you, from {category}, which you buy often"
    if past.items.size and {"two_tower", "co_purchase", "neighbours"} & set(sources):
        return "Bought by shoppers with a taste like yours"
    if share > 0 and "affinity" in sources:
        return f"New to you, from {category}, which you buy"
    if "top_sellers" in sources:
        return "A top seller of the last four weeks"
    return "Goes with what you buy" if past.items.size else "Sells well now"


def bought_before(times: int, days: float) -> str:
    """The reason for something that the shopper buys."""
    often = "once" if times == 1 else f"{times} times"
    last = "today" if days < 1 else "yesterday" if days < 2 else f"{int(days)} days ago"
    return f"You bought it {often}, last {last}"


def readable(name: str) -> str:
    """A category's name as a sentence would have it."""
    return name.lower() if name.isupper() else name
