"""Why an item is not among a shopper's recommendations: not drawn, turned away by a rule, or outranked.

The answer follows the served path, stage by stage: it says the first at which the item was lost, and how
close it came there.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from math import inf

import numpy as np

from bentos import rules
from bentos.candidates import SOURCES, opinions
from bentos.ladder import Lost, Reader, Stopwatch
from bentos.ranking import Ranking
from bentos.recommend import Asked, ranking_of
from bentos.release import Release
from bentos.rule_parameters import reason_of
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
    watch, lost = Stopwatch(inf), Lost()
    ranking, item_features = ranking_of(release, features, who, Asked(k, task, session), watch, lost)
    places = places_of(release, who, item)
    row = np.flatnonzero(ranking.candidates.items == item)
    if not row.size:
        reason = f"No source puts it high enough: the pool has it at place {places.get('pool', 0):,}"
        if task == "discover" and item in who.past.items:
            reason = "The shopper has bought it, and asked for what is new to them"
        return WhyNot(user_id, item_id, NOT_DRAWN, reason, sources=places)
    verdict = WhyNot(user_id, item_id, RULE, "", sources=places)
    rule = lost_by(release, item, None if item_features is None else item_features[row[0]], session)
    if rule:
        verdict = replace(verdict, reason=f"The rule {rule} turns it away: {reason_of(rule, release.rules)}")
    else:
        verdict = placed(verdict, ranking, int(row[0]), k, release)
    return replace(verdict, reason="; ".join([verdict.reason, *lost.reasons]))


def placed(verdict: WhyNot, ranking: Ranking, row: int, k: int, release: Release) -> WhyNot:
    """The verdict on an item that was ranked and is kept out by no rule for good: by its place.

    The least score is that of the last item that is shown for its score, and not thanks to a rule.
    """
    page = ranking.order[:k]
    by_score = [each for each in page if each not in ranking.placed_by] or page
    score, least = float(ranking.scores[row]), float(ranking.scores[by_score].min())
    rank = int(np.flatnonzero(ranking.order == row)[0]) + 1
    told = replace(verdict, rank=rank, score=score, least_score=least)
    rule = ranking.placed_by.get(row) or ranking.gave_way.get(row)
    if rank <= k:
        thanks = f", thanks to the rule {rule}: {reason_of(rule, release.rules)}" if rule else ""
        return replace(told, verdict=RECOMMENDED, reason=f"It stands at place {rank}{thanks}")
    if rule is None and score >= least and category_is_full(ranking, row, k, release):
        rule = "category_cap"
    if rule:
        reason = f"The rule {rule} keeps it out of the {k} places: {reason_of(rule, release.rules)}"
        return replace(told, reason=reason)
    behind = f"its score is {least - score:.3f} below that of the last one shown for its score"
    return replace(told, verdict=OUTRANKED, reason=f"Ranked {rank:,} of {len(ranking.order):,}; {behind}")


def category_is_full(ranking: Ranking, row: int, k: int, release: Release) -> bool:
    """Whether the candidate's category has as many of the k places as it may have."""
    categories = release.catalogue.categories[ranking.candidates.items]
    held = int((categories[ranking.order[:k]] == categories[row]).sum())
    return held >= rules.category_cap(k, release.rules)


def places_of(release: Release, who: Shopper, item: int) -> dict[str, int]:
    """The item's place, from 1, in the order of each source that has an opinion of it."""
    scores = opinions(release, who).scores
    return {
        name: int((scores[name] > scores[name][item]).sum()) + 1
        for name in SOURCES
        if scores[name][item] > -np.inf
    }


def lost_by(release: Release, item: int, item_features: Floats | None, session: Session) -> str | None:
    """Name of the rule that keeps the item out for good, if one does."""
    items = np.array([item], dtype=np.int32)
    has = np.array([item_features is None or not np.isnan(item_features).all()])
    if not rules.available(has, release.rules)[0]:
        return "available"
    if not rules.not_blocked(items, release.catalogue, release.rules)[0]:
        return "blocked"
    if not rules.not_in_basket(items, positions(release, session.basket), release.rules)[0]:
        return "in_basket"
    return None if rules.enough_margin(items, release.catalogue, release.rules)[0] else "minimum_margin"
