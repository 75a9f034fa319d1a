"""Candidates in their order: scored by the ranker, under all rules, the last slots drawn where asked for.

Training draws its pairs and evaluation its rankings through `ranked`, the service its answers: a quality
figure is a figure of the served path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bentos import rules
from bentos.candidates import Candidates
from bentos.explain import NEWCOMER, places_of, reasons
from bentos.exploration import Explore, Explored, explored
from bentos.forest import forest
from bentos.newcomers import newcomers
from bentos.placement import Page, placed
from bentos.release import Release
from bentos.scoring import margins, matrix, matrix_columns
from bentos.shopper import Shopper
from bentos.slots import Contribution, Slot
from feature_repo.pair_features import Floats, Positions

CONTRIBUTIONS = 5  # of the features of each item


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
    trees = forest(release, task)
    scores = margins(release.rankers[task], rows) if trees is None else trees.margins(rows)
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
    items, rows = candidates.items[page], page.tolist()
    places, sources = places_of(who.past, items), candidates.sources_of(rows)
    columns = zip(
        rows,
        catalogue.item_ids[items].tolist(),
        catalogue.titles[items].tolist(),
        ranking.scores[page].tolist(),
        sources,
        reasons(release, who, items, places, sources),
        places,
        strict=True,
    )
    return tuple(
        Slot(
            item_id=item_id,
            title=title,
            score=score,
            rank=rank,
            sources=brought_by,
            reason=NEWCOMER if rank == k and new is not None and new[row] else reason,
            placed_by=ranking.placed_by.get(row),
            bought_before=place is not None,
        )
        for rank, (row, item_id, title, score, brought_by, reason, place) in enumerate(columns, start=1)
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


def exploring(
    release: Release, ranking: Ranking, k: int, explore: Explore | None, rng: np.random.Generator | None
) -> Ranking:
    """The ranking with the last slots of its page of `k` drawn, where that is asked for."""
    if explore is None or rng is None:
        return ranking
    found = explored(
        ranking.order,
        ranking.scores,
        ranking.candidates.items,
        release.catalogue,
        k,
        release.rules,
        explore,
        rng,
    )
    page = Page(ranking.order, k, dict(ranking.placed_by), dict(ranking.gave_way))
    page.exchange("exploration", found.order)
    return replace(
        ranking, order=page.order, placed_by=page.placed_by, gave_way=page.gave_way, explored=found
    )


def with_propensities(slots: tuple[Slot, ...], found: Explored) -> tuple[Slot, ...]:
    """The slots of an explored page, those that were drawn marked."""
    kept = found.kept
    drawn = zip(slots[kept:], found.propensities[kept:].tolist(), strict=True)
    return slots[:kept] + tuple(replace(slot, propensity=chance, explored=True) for slot, chance in drawn)
