"""The path of a request: user row, candidates, item rows, ranker, rules, reasons.

Training draws its pairs and evaluation its rankings through `ranked`, the service its answers
through `recommend`: a quality figure is a figure of the served path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos import rules
from bentos.candidates import SOURCES, TASKS, Candidates, draw
from bentos.explain import NEWCOMER, reason
from bentos.exploration import Exploration, Explore, Explored, explored, recorded
from bentos.ladder import (
    BUDGET_MS,
    FeaturesUnavailableError,
    Lost,
    Reader,
    Stopwatch,
    item_rows,
    without_ranker,
)
from bentos.newcomers import newcomers
from bentos.placement import Page, placed
from bentos.release import Release
from bentos.scoring import margins, matrix, matrix_columns
from bentos.session import Session, interested, positions
from bentos.shopper import Shopper, shopper
from bentos.slots import Contribution, Slot, legacy_slots
from feature_repo.pair_features import Floats, Positions

CONTRIBUTIONS = 5  # of the features of each item


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
class Ranking:
    """Scored candidates of one shopper, best first, after the rules: rows of `candidates`."""

    candidates: Candidates
    order: NDArray[np.intp]
    scores: Floats
    turned_away: Mapping[str, int]
    placed_by: Mapping[int, str] = field(default_factory=dict)  # rows, as in `Placed`
    gave_way: Mapping[int, str] = field(default_factory=dict)
    newcomers: rules.Mask | None = None  # (n_candidates,) those of which one may stand in the last slot
    rows: Floats | None = None  # (n_candidates, n_columns) what the ranker read
    explored: Explored | None = None  # where the last slots were drawn

    @property
    def items(self) -> Positions:
        """Catalogue positions, best first."""
        return self.candidates.items[self.order]


def ranked(
    release: Release,
    who: Shopper,
    candidates: Candidates,
    item_features: Floats,
    *,
    k: int,
    task: str,
    basket: Positions | None = None,
) -> Ranking:
    """Score the candidates, order them, apply the rules for `k` slots."""
    rows = matrix(release, who, candidates, item_features)
    scores = margins(release.rankers[task], rows)
    found = ordered(release, candidates, scores, item_features, k=k, task=task, basket=basket)
    return replace(found, rows=rows)


def ordered(
    release: Release,
    candidates: Candidates,
    scores: Floats,
    item_features: Floats | None,
    *,
    k: int,
    task: str,
    basket: Positions | None = None,
) -> Ranking:
    """Order scored candidates, best first, and apply the rules for `k` slots.

    Without item features all candidates count as available.
    """
    new = newcomers(release, candidates, task)
    found = placed(release, candidates.items, scores, item_features, k=k, basket=basket, newcomers=new)
    return Ranking(candidates, scores=scores, newcomers=new, **vars(found))


def slots_of(release: Release, who: Shopper, ranking: Ranking, k: int) -> tuple[Slot, ...]:
    """The first `k` of a ranking, with titles and reasons."""
    catalogue, candidates, new = release.catalogue, ranking.candidates, ranking.newcomers
    page = ranking.order[:k]
    bought = np.isin(candidates.items[page], who.past.items)
    return tuple(
        Slot(
            item_id=str(catalogue.item_ids[candidates.items[row]]),
            title=str(catalogue.titles[candidates.items[row]]),
            score=float(ranking.scores[row]),
            rank=rank,
            sources=candidates.sources_of(int(row)),
            reason=NEWCOMER
            if rank == k and new is not None and new[row]
            else reason(release, who, candidates, int(row)),
            placed_by=ranking.placed_by.get(int(row)),
            bought_before=bool(before),
        )
        for rank, (row, before) in enumerate(zip(page, bought, strict=True), start=1)
    )


def explained(release: Release, rows: Floats, slots: Sequence[Slot], task: str) -> tuple[Slot, ...]:
    """The slots with their largest contributions: SHAP values of the trees (Lundberg et al., 2020).

    `rows` (n_slots, n_columns) are what the ranker read of them.
    """
    import xgboost

    features = release.manifest["features"]
    columns = matrix_columns(features["user"], features["item"])
    effects = release.rankers[task].predict(xgboost.DMatrix(rows, nthread=1), pred_contribs=True)
    told = []
    for slot, row, effect in zip(slots, rows, effects, strict=True):
        largest = np.argsort(-np.abs(effect[:-1]), kind="stable")[:CONTRIBUTIONS]  # the last one is the bias
        most = [
            Contribution(columns[n], None if np.isnan(row[n]) else float(row[n]), float(effect[n]))
            for n in largest
        ]
        told.append(replace(slot, contributions=tuple(most)))
    return tuple(told)


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
        return exploring(release, found, asked), item_features
    lost.add(str(reason), "ordered by the pool")
    scores = candidates.scores[:, SOURCES.index("pool")]
    return ordered(release, candidates, scores, item_features, **wanted), item_features


def exploring(release: Release, ranking: Ranking, asked: Asked) -> Ranking:
    """The ranking with the last slots of its page drawn, where that is asked for."""
    if asked.explore is None or asked.rng is None:
        return ranking
    found = explored(
        ranking.order,
        ranking.scores,
        ranking.candidates.items,
        release.catalogue,
        asked.k,
        release.rules,
        asked.explore,
        asked.rng,
    )
    page = Page(ranking.order, asked.k, dict(ranking.placed_by), dict(ranking.gave_way))
    page.exchange("exploration", found.order)
    return replace(
        ranking, order=page.order, placed_by=page.placed_by, gave_way=page.gave_way, explored=found
    )


def with_propensities(slots: tuple[Slot, ...], found: Explored) -> tuple[Slot, ...]:
    """The slots of an explored page, those that were drawn marked."""
    kept = found.kept
    drawn = zip(slots[kept:], found.propensities[kept:].tolist(), strict=True)
    return slots[:kept] + tuple(replace(slot, propensity=chance, explored=True) for slot, chance in drawn)


def personal(
    release: Release, features: Reader, who: Shopper, asked: Asked, watch: Stopwatch, lost: Lost
) -> tuple[tuple[Slot, ...], Ranking]:
    """Slots for one shopper, and the ranking that they are the first of."""
    ranking, _ = ranking_of(release, features, who, asked, watch, lost)
    slots = slots_of(release, who, ranking, asked.k)
    if ranking.explored is not None:
        slots = with_propensities(slots, ranking.explored)
    watch.lap("rank")
    if asked.explain and ranking.rows is not None:
        slots = explained(release, ranking.rows[ranking.order[: asked.k]], slots, asked.task)
        watch.lap("explain")
    return slots, ranking


def by_rule(release: Release, who: Shopper, name: str, asked: Asked) -> tuple[Slot, ...]:
    """Slots by one of the legacy rules."""
    return legacy_slots(release, who, name, asked.k, asked.task, positions(release, asked.session.basket))


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
    found = Recommendation(user_id, task, release.tag, slots=(), rules=release.rules_from)
    row, strange = None, "unknown user"
    try:
        row = features.read_user(user_id)
    except FeaturesUnavailableError as error:
        strange = str(error)
    watch.lap("user")
    who = interested(shopper(row, release, now), release, asked.session)
    newest = row.get("event_timestamp") if row else None
    if legacy is not None and row is not None:
        found = replace(found, slots=by_rule(release, who, legacy, asked), feature_time=newest)
        watch.lap("legacy")
        strange = "no item passed the rules"
    elif legacy is None and (row is not None or who.interest is not None):
        if features.late() is not None:
            lost.add("features are out of date (run `endcap materialize`)", "as of the newest")
        if row is None and strange != "unknown user":
            lost.add(strange, "by this visit alone")
        slots, ranking = personal(release, features, who, asked, watch, lost)
        found = replace(found, slots=slots, turned_away=ranking.turned_away, feature_time=newest)
        if ranking.explored is not None:
            record = recorded(ranking.explored, ranking.candidates.items, release.catalogue.item_ids)
            found = replace(found, exploration=record)
        strange = "no item passed the rules"
    if not found.slots:
        lost.add(strange, "top sellers")
        found = replace(found, slots=by_rule(release, who, "top_sellers", asked))
        watch.lap("fallback")
    return replace(found, degraded=tuple(lost.reasons), stages_ms=watch.stages_ms)
