"""The slots of an answer, and how the legacy rules fill them."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from bentos import rules
from bentos.index import best
from bentos.legacy_rules import LEGACY_RULES
from bentos.placement import diverse
from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import Floats, Positions

REASONS = MappingProxyType(
    {
        "segment": "A top seller of the last four weeks in your segment",
        "top_sellers": "A top seller of the last four weeks",
        "buy_again": "Bought by you before, or a top seller",
        "category_affinity": "A top seller in a category that you buy",
    }
)
ReadItems = Callable[[Positions], Floats | None]  # features of items; None where they are not known


def unread(items: Positions) -> None:
    """Nothing, as where no store may be asked."""


@dataclass(frozen=True)
class Contribution:
    """What one feature adds to an item's score, as log odds."""

    feature: str
    value: float | None  # of the feature, None where missing
    effect: float


@dataclass(frozen=True)
class Slot:
    """One recommended item; `rank` counts from 1."""

    item_id: str
    title: str
    score: float
    rank: int
    sources: tuple[str, ...]
    reason: str
    placed_by: str | None = None  # the rule thanks to which it is shown, where its score alone would not do
    bought_before: bool = False  # by this shopper
    propensity: float = 1.0  # probability of this item in this slot, given the slots above
    explored: bool = False  # whether the slot was drawn
    contributions: tuple[Contribution, ...] = ()  # the largest, where they were asked for


def legacy_slots(
    release: Release,
    who: Shopper,
    name: str,
    k: int,
    task: str,
    basket: Positions,
    read_items: ReadItems = unread,
) -> tuple[Slot, ...]:
    """What one of the legacy rules shows, under the rules that keep items out: it needs no ranker.

    The control arm of experiments and, as top sellers, the last fallback, which reads no items and takes all
    for available. Without scores in log odds nothing is boosted, and no newcomer is tried.
    """
    scores, catalogue, marked = LEGACY_RULES[name](release, who), release.catalogue, rules.marks(release)
    allowed = np.ones(len(scores), dtype=bool)
    for may in (marked.wanted, marked.earning):
        if may is not None:
            allowed &= may
    if task == "discover":
        allowed[who.past.items] = False
    items = best(scores, 5 * k + len(basket), among=allowed)
    features = read_items(items)
    sold: rules.Mask = np.ones(len(items), dtype=bool)
    if features is not None:
        sold = np.asarray(~np.isnan(features).all(axis=1))
    kept, _ = rules.apply(items, sold, catalogue, k, release.rules, basket, marked)
    order = diverse(kept, items, catalogue, k, release.rules)[:k]
    shown = items[order]
    bought = np.isin(shown, who.past.items)
    return tuple(
        Slot(
            item_id=str(catalogue.item_ids[item]),
            title=str(catalogue.titles[item]),
            score=float(scores[item]),
            rank=rank,
            sources=(name,),
            reason=REASONS[name],
            placed_by=None if row in kept[:k] else "diversity",
            bought_before=bool(before),
        )
        for rank, (row, item, before) in enumerate(zip(order, shown, bought, strict=True), start=1)
    )
