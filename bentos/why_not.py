"""Why an item is not among a shopper's recommendations: not drawn, turned away by a rule, or outranked.

The answer follows the served path, stage by stage: it says the first at which the item was lost, and how
close it came there.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from bentos import rules
from bentos.candidates import SOURCES, draw, opinions
from bentos.recommend import Reader, ranked
from bentos.release import Release
from bentos.session import Session, interested, positions
from bentos.shopper import Shopper, shopper
from feature_repo.pair_features import Floats

RECOMMENDED, UNKNOWN, NOT_DRAWN, RULE, OUTRANKED = (
    "recommended",
    "unknown item",
    "not drawn",
    "turned away by a rule",
    "outranked",
)


@dataclass(frozen=True)
class WhyNot:
    """Where an item was lost, in words and in numbers."""

    user_id: str
    item_id: str
    verdict: str  # one of the five above
    reason: str
    rank: int | None = None  # among all that were ranked, from 1
    score: float | None = None
    least_score: float | None = None  # of the last item that was recommended
    sources: dict[str, int] | None = None  # the item's place in each source's order of the catalogue, from 1


def why_not(
    release: Release,
    features: Reader,
    user_id: str,
    item_id: str,
    *,
    k: int,
    task: str,
    now: datetime,
    session: Session | None = None,
) -> WhyNot:
    """What became of one item in one shopper's answer; FeaturesUnavailableError without a store."""
    session = session or Session()
    found = positions(release, [item_id])
    if not found.size:
        return WhyNot(user_id, item_id, UNKNOWN, "The release's catalogue has no such item")
    item, row_of_user = int(found[0]), features.read_user(user_id)
    who = interested(shopper(row_of_user, release, now), release, session)
    candidates = draw(release, who, task)
    row = np.flatnonzero(candidates.items == item)
    places = places_of(release, who, item)
    if not row.size:
        bought = task == "discover" and item in who.past.items
        reason = (
            "The shopper has bought it, and asked for what is new to them"
            if bought
            else f"No source puts it high enough: the pool has it at place {places.get('pool', 0):,}"
        )
        return WhyNot(user_id, item_id, NOT_DRAWN, reason, sources=places)
    item_features = features.read_items(release.catalogue.item_ids[candidates.items].tolist())
    basket = positions(release, session.basket)
    ranking = ranked(release, who, candidates, item_features, k=k, task=task, basket=basket)
    score, place = float(ranking.scores[row[0]]), np.flatnonzero(ranking.order == row[0])
    shown = ranking.order[:k]
    least = float(ranking.scores[shown[-1]]) if len(shown) else -np.inf
    told: dict[str, Any] = {"score": score, "sources": places}
    if len(shown):
        told["least_score"] = least
    rule = lost_by(release, item, item_features[row[0]], session)
    if rule or not place.size:
        return WhyNot(user_id, item_id, RULE, f"The rule {rule} turns it away", **told)
    rank = int(place[0]) + 1
    if rank <= k:
        return WhyNot(user_id, item_id, RECOMMENDED, f"It stands at place {rank}", rank=rank, **told)
    if score >= least:
        reason = f"Its category has as many of the {k} places as category_cap allows"
        return WhyNot(user_id, item_id, RULE, reason, rank=rank, **told)
    behind = f"its score is {least - score:.3f} below that of the last one shown"
    reason = f"Ranked {rank:,} of {len(ranking.order):,}; {behind}"
    return WhyNot(user_id, item_id, OUTRANKED, reason, rank=rank, **told)


def places_of(release: Release, who: Shopper, item: int) -> dict[str, int]:
    """The item's place, from 1, in the order of each source that has an opinion of it."""
    scores = opinions(release, who).scores
    return {
        name: int((scores[name] > scores[name][item]).sum()) + 1
        for name in SOURCES
        if scores[name][item] > -np.inf
    }


def lost_by(release: Release, item: int, item_features: Floats, session: Session) -> str | None:
    """Name of the rule that keeps the item out for good, if one does."""
    items, has = np.array([item], dtype=np.int32), np.array([not np.isnan(item_features).all()])
    if not rules.available(has, release.rules)[0]:
        return "available"
    if not rules.not_blocked(items, release.catalogue, release.rules)[0]:
        return "blocked"
    basket = positions(release, session.basket)
    return None if rules.not_in_basket(items, basket, release.rules)[0] else "in_basket"
