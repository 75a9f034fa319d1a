"""Why an item is not among a shopper's recommendations: not drawn, turned away by a rule, or outranked.

The answer follows the served path, stage by stage: it says the first at which the item was lost, and how
close it came there.
"""

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from bentos import rules
from bentos.candidates import SOURCES, draw, opinions
from bentos.ladder import Reader
from bentos.recommend import Ranking, ranked
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
    candidates, places = draw(release, who, task), places_of(release, who, item)
    row = np.flatnonzero(candidates.items == item)
    if not row.size:
        reason = f"No source puts it high enough: the pool has it at place {places.get('pool', 0):,}"
        if task == "discover" and item in who.past.items:
            reason = "The shopper has bought it, and asked for what is new to them"
        return WhyNot(user_id, item_id, NOT_DRAWN, reason, sources=places)
    item_features = features.read_items(candidates.items)
    basket = positions(release, session.basket)
    ranking = ranked(release, who, candidates, item_features, k=k, task=task, basket=basket)
    rule = lost_by(release, item, item_features[row[0]], session)
    verdict = WhyNot(user_id, item_id, RULE, f"The rule {rule} turns it away", sources=places)
    return verdict if rule else placed(verdict, ranking, int(row[0]), k)


def placed(verdict: WhyNot, ranking: Ranking, row: int, k: int) -> WhyNot:
    """The verdict on an item that was ranked and is kept out by no rule for good: by its place."""
    score, least = float(ranking.scores[row]), float(ranking.scores[ranking.order[:k][-1]])
    rank = int(np.flatnonzero(ranking.order == row)[0]) + 1
    told = replace(verdict, rank=rank, score=score, least_score=least)
    if rank <= k:
        return replace(told, verdict=RECOMMENDED, reason=f"It stands at place {rank}")
    if score >= least:
        return replace(told, reason=f"Its category has as many of the {k} places as category_cap allows")
    behind = f"its score is {least - score:.3f} below that of the last one shown"
    return replace(told, verdict=OUTRANKED, reason=f"Ranked {rank:,} of {len(ranking.order):,}; {behind}")


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
