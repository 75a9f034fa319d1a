"""The path of a request: user row, candidates, item rows, ranker, rules, reasons.

What fails or is late on it is done without, as `ladder.py` says. An experiment's arm may put a legacy rule in
the place of candidates and ranker, or draw the last slots.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from bentos.candidates import SOURCES, TASKS, draw
from bentos.exploration import Exploration, Explore, recorded
from bentos.ladder import (
    BUDGET_MS,
    FeaturesUnavailableError,
    Lost,
    Reader,
    Stopwatch,
    item_rows,
    without_ranker,
)
from bentos.ranking import Ranking, explained, exploring, ordered, ranked, slots_of, with_propensities
from bentos.release import Release
from bentos.session import Session, interested, positions
from bentos.shopper import Shopper, shopper
from bentos.slots import ReadItems, Slot, legacy_slots, unread
from feature_repo.pair_features import Floats

UNKNOWN = "unknown user"


@dataclass(frozen=True)
class Recommendation:
    """An answer: slots best first, what was degraded and why, and where the time went."""

    user_id: str
    task: str
    release: str
    slots: tuple[Slot, ...]
    degraded: tuple[str, ...] = ()
    feature_time: datetime | None = None
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    turned_away: Mapping[str, int] = field(default_factory=dict)
    rules: str = "release"  # whose rules: the release's, or the hash of an operator's
    exploration: Exploration | None = None  # of the slots that were drawn, where any were


@dataclass(frozen=True)
class Asked:
    """What a request wants."""

    k: int
    task: str
    session: Session
    explain: bool = False
    explore: Explore | None = None
    rng: np.random.Generator | None = None  # of the draws

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task is {self.task!r}; use {' or '.join(TASKS)}")
        if self.k < 1:
            raise ValueError(f"k is {self.k}; use a whole number from 1")
        if self.explore is not None and self.rng is None:
            raise ValueError("explore is given without rng; use rng_of(request_id)")


def ranking_of(
    release: Release, features: Reader, who: Shopper, asked: Asked, watch: Stopwatch, lost: Lost
) -> tuple[Ranking, Floats | None]:
    """Candidates in their order, by the ranker or, without it, by the pool; and their features, if known."""
    candidates = draw(release, who, asked.task)
    watch.lap("candidates")
    item_features = item_rows(features, candidates.items, watch, lost)
    watch.lap("items")
    basket = positions(release, asked.session.basket) if asked.session.basket else None
    wanted: Any = {"k": asked.k, "task": asked.task, "basket": basket}
    reason = without_ranker(release, asked.task, item_features, watch)
    if reason is None and item_features is not None:
        found = ranked(release, who, candidates, item_features, **wanted)
        return exploring(release, found, asked.k, asked.explore, asked.rng), item_features
    lost.add(str(reason), "ordered by the pool")
    scores = candidates.scores[:, SOURCES.index("pool")]
    return ordered(release, candidates, scores, item_features, **wanted), item_features


def personal(
    release: Release, features: Reader, who: Shopper, asked: Asked, watch: Stopwatch, lost: Lost
) -> dict[str, Any]:
    """Slots for one shopper, what the rules turned away, and the draws, if any: fields of the answer."""
    ranking, _ = ranking_of(release, features, who, asked, watch, lost)
    slots, drawn = slots_of(release, who, ranking, asked.k), None
    if ranking.explored is not None:
        slots = with_propensities(slots, ranking.explored)
        drawn = recorded(ranking.explored, ranking.candidates.items, release.catalogue.item_ids)
    watch.lap("rank")
    if asked.explain and ranking.rows is not None:
        slots = explained(release, ranking.rows[ranking.order[: asked.k]], slots, asked.task)
        watch.lap("explain")
    return {"slots": slots, "turned_away": ranking.turned_away, "exploration": drawn}


def by_rule(
    release: Release, who: Shopper, name: str, asked: Asked, read_items: ReadItems = unread
) -> tuple[Slot, ...]:
    """Slots by one of the legacy rules."""
    basket = positions(release, asked.session.basket)
    return legacy_slots(release, who, name, asked.k, asked.task, basket, read_items)


def recommend(
    release: Release,
    features: Reader,
    user_id: str,
    *,
    k: int,
    task: str,
    now: datetime,
    session: Session | None = None,
    explain: bool = False,
    budget_ms: float = BUDGET_MS,
    legacy: str | None = None,
    explore: Explore | None = None,
    rng: np.random.Generator | None = None,
) -> Recommendation:
    """Answer one request; with `explain` each item has the features that moved its score most.

    With `legacy`, the name of a legacy rule, that answers instead of candidates and ranker. With `explore`
    the last slots are drawn by `rng` (`rng_of` of the request's id) where the ranker could be asked; a
    degraded order is never explored.

    What cannot be had within `budget_ms` is done without, rung by rung, and `degraded` says what and why:
    item features as of the last read, then the pool's order instead of the ranker's, then top sellers, which
    are also for an unknown user who does nothing yet. Raises ValueError for a task other than "all" and
    "discover", for k below 1 and for `explore` without `rng`.
    """
    asked = Asked(k, task, session or Session(), explain, explore, rng)
    watch, lost = Stopwatch(budget_ms), Lost()
    row, strange = user_row(features, user_id)
    watch.lap("user")
    who = interested(shopper(row, release, now), release, asked.session)
    if (row is not None or who.interest is not None) and features.late() is not None:
        lost.add("features are out of date (run `endcap materialize`)", "as of the newest")
    found: dict[str, Any] = {}
    if legacy is not None and row is not None:
        slots = by_rule(release, who, legacy, asked, lambda items: item_rows(features, items, watch, lost))
        found = {"slots": slots}
        watch.lap("legacy")
    elif legacy is None and (row is not None or who.interest is not None):
        if row is None and strange != UNKNOWN:
            lost.add(strange, "by this visit alone")
        found = personal(release, features, who, asked, watch, lost)
    if found:
        found["feature_time"] = row.get("event_timestamp") if row else None
        strange = "no item passed the rules"
    if not found.get("slots"):
        lost.add(strange, "top sellers")
        found["slots"] = by_rule(release, who, "top_sellers", asked)
        watch.lap("fallback")
    return Recommendation(
        user_id,
        task,
        release.tag,
        rules=release.rules_from,
        degraded=tuple(lost.reasons),
        stages_ms=watch.stages_ms,
        **found,
    )


def user_row(features: Reader, user_id: str) -> tuple[Mapping[str, Any] | None, str]:
    """The user's row, or None and why there is none."""
    try:
        return features.read_user(user_id), UNKNOWN
    except FeaturesUnavailableError as error:
        return None, str(error)
