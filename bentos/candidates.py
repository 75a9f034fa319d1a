"""Candidates: the few hundred items worth scoring, drawn from several sources that each keep their name.

Sources are functions of (release, shopper) that score the whole catalogue; the union of their best
is scored by all of them, so that the ranker sees every source's opinion on every candidate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bentos.index import best
from bentos.release import Release
from bentos.shopper import Shopper
from bentos.towers import query_vector
from feature_repo.pair_features import Floats, Positions

TASKS = ("all", "discover")

# How many each source may bring. Their union, about 400 items, is what a request pays for.
QUOTAS = MappingProxyType({"buy_again": 150, "two_tower": 150, "category_affinity": 100, "top_sellers": 50})
# Discover never draws what was bought before, so the others may bring more.
DISCOVER_QUOTAS = MappingProxyType({"two_tower": 200, "category_affinity": 150, "top_sellers": 50})


@dataclass(frozen=True)
class Candidates:
    """Items to score, in catalogue order, with each source's score and whether it brought the item."""

    items: Positions  # (n,)
    scores: Floats  # (n, n_sources), columns in the order of SOURCES
    drawn: NDArray[np.bool_]  # (n, n_sources)

    def sources_of(self, row: int) -> tuple[str, ...]:
        """Names of the sources that brought one candidate."""
        return tuple(name for name, drew in zip(SOURCES, self.drawn[row], strict=True) if drew)


def buy_again(release: Release, shopper: Shopper) -> Floats:
    """Decayed count of the shopper's own purchases; -inf for what was never bought."""
    scores = np.full(len(release.catalogue.item_ids), -np.inf, dtype=np.float32)
    scores[shopper.past.items] = shopper.past.decayed
    return scores


def two_tower(release: Release, shopper: Shopper) -> Floats:
    """Inner product of the query with every item vector."""
    product = release.arrays["item_vectors"] @ query_vector(shopper, release)
    return np.asarray(product, dtype=np.float32)


def category_affinity(release: Release, shopper: Shopper) -> Floats:
    """Recent popularity times the shopper's share of the item's category, smoothed by the shop's own."""
    past, categories = shopper.past, release.catalogue.categories
    own = np.bincount(
        categories[past.items], weights=past.decayed, minlength=len(release.catalogue.category_names)
    )
    # A shopper's first 10 purchases weigh as much as the shop's average.
    shares = (own + 10.0 * release.arrays["category_shares"]) / (own.sum() + 10.0)
    lift = shares / np.maximum(release.arrays["category_shares"], 1e-6)
    return np.asarray(release.arrays["popularity"] * lift[categories], dtype=np.float32)


def top_sellers(release: Release, shopper: Shopper) -> Floats:  # noqa: ARG001 - the same for everybody
    """Baskets of the last four weeks."""
    return np.asarray(release.arrays["popularity"], dtype=np.float32)


SOURCES = MappingProxyType(
    {
        "buy_again": buy_again,
        "two_tower": two_tower,
        "category_affinity": category_affinity,
        "top_sellers": top_sellers,
    }
)


def opinions(release: Release, shopper: Shopper) -> dict[str, Floats]:
    """What every source thinks of the whole catalogue: (n_items,) scores by source, whatever the task."""
    return {name: source(release, shopper) for name, source in SOURCES.items()}


def draw(
    release: Release, shopper: Shopper, task: str, scores: Mapping[str, Floats] | None = None
) -> Candidates:
    """The union of every source's best, scored by all of them.

    `scores` are the shopper's `opinions`, where several tasks are drawn from the same.
    """
    unseen = np.ones(len(release.catalogue.item_ids), dtype=bool)
    if task == "discover":
        unseen[shopper.past.items] = False
    quotas = DISCOVER_QUOTAS if task == "discover" else QUOTAS
    scores = scores or opinions(release, shopper)
    picks = {name: best(scores[name], quotas.get(name, 0), among=unseen) for name in SOURCES}
    items = np.unique(np.concatenate(list(picks.values()))).astype(np.int32)
    drawn = np.zeros((len(items), len(SOURCES)), dtype=bool)
    for place, picked in enumerate(picks.values()):
        drawn[np.searchsorted(items, picked), place] = True
    scored = np.stack([scores[name][items] for name in SOURCES], axis=1)
    return Candidates(items=items, scores=scored, drawn=drawn)
