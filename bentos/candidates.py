"""Candidates: the few hundred items worth ranking, out of the whole catalogue.

Sources score the whole catalogue for one shopper. The shopper's own repurchases and the best of the pool, a
learned sum of the other sources, are the candidates; each keeps every source's score, so that the ranker sees
all opinions and the answer can say which sources would have brought it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bentos.affinity import item_groups, lifts, shop_shares
from bentos.factors import shopper_factors
from bentos.index import best
from bentos.neighbours import neighbours
from bentos.pool import pool_scores
from bentos.release import Release
from bentos.shopper import Shopper
from bentos.towers import query_vector
from feature_repo.pair_features import GROUPS, Floats, Positions

TASKS = ("all", "discover")
SOURCES = ("buy_again", "two_tower", "co_purchase", "neighbours", "affinity", "top_sellers", "pool")
# Candidates of a request. Reading their features costs 0.12 ms each through Feast; 700 would bring 2 % more
# recall@100 to discover at cut 43, and nothing to the first twenty of either task.
SIZE = 400
REPURCHASES = 0.75  # share of them, at most, that the shopper bought before
BROUGHT = 100  # a source is said to have brought the candidates that it holds for its best 100


@dataclass(frozen=True)
class Candidates:
    """Items to rank, in catalogue order, with each source's score."""

    items: Positions  # (n,)
    scores: Floats  # (n, n_sources), columns in the order of SOURCES; NaN where a source has no opinion
    lifts: Floats  # (n, n_kinds of groups), in the order of GROUPS

    @cached_property
    def ranks(self) -> Floats:
        """Place of each candidate in each source's order, 0 first, NaN without an opinion: as `scores`."""
        return ranks(self.scores)

    def sources_of(self, row: int) -> tuple[str, ...]:
        """Names of the sources that hold one candidate for one of their best, the surest first."""
        places = self.ranks[row]
        order = np.argsort(places, kind="stable")
        return tuple(
            SOURCES[place] for place in order if places[place] < BROUGHT and SOURCES[place] != "pool"
        )


@dataclass(frozen=True)
class Opinions:
    """What every source thinks of the whole catalogue, whatever the task."""

    scores: Mapping[str, Floats]  # (n_items,) by source, -inf where it has no opinion
    lifts: Mapping[str, Floats]  # (n_items,) by kind of group


def buy_again(release: Release, shopper: Shopper) -> Floats:
    """Decayed count of the shopper's own purchases; -inf for what was never bought."""
    scores = np.full(len(release.catalogue.item_ids), -np.inf, dtype=np.float32)
    scores[shopper.past.items] = shopper.past.decayed
    return scores


def opinions(release: Release, shopper: Shopper) -> Opinions:
    """Score the whole catalogue by every source."""
    arrays, groups = release.arrays, item_groups(release)
    factors = shopper_factors(release, shopper.past)
    lifted = {
        name: values[getattr(groups, name)]
        for name, values in lifts(shopper.past, groups, shop_shares(release)).items()
    }
    alike = neighbours(release, factors)
    scores: dict[str, Floats] = {
        "buy_again": buy_again(release, shopper),
        "two_tower": np.asarray(
            arrays["item_vectors"] @ query_vector(shopper, release, factors), dtype=np.float32
        ),
        "co_purchase": np.asarray(arrays["factor_items"] @ factors, dtype=np.float32),
        "neighbours": np.where(alike > 0, alike, -np.inf).astype(np.float32),
        "affinity": np.asarray(sum(lifted.values()), dtype=np.float32),
        "top_sellers": np.asarray(arrays["popularity"], dtype=np.float32),
    }
    if not shopper.past.items.size:  # nothing of their own to go by
        scores |= {name: np.full_like(scores[name], -np.inf) for name in ("co_purchase", "affinity")}
    return Opinions({**scores, "pool": pool_scores(release, lifted, scores)}, lifted)


def draw(
    release: Release, shopper: Shopper, task: str, thought: Opinions | None = None, *, size: int = SIZE
) -> Candidates:
    """The shopper's repurchases and the best of the pool, `size` together, scored by all sources.

    `discover` draws nothing that was bought before. `thought` are the shopper's `opinions`, where several
    draws are made from the same.
    """
    thought = thought or opinions(release, shopper)
    new = np.ones(len(release.catalogue.item_ids), dtype=bool)
    new[shopper.past.items] = False
    own = np.empty(0, dtype=np.int32)
    if task == "all":
        own = best(thought.scores["buy_again"], round(REPURCHASES * size))
    items = np.sort(np.concatenate([own, best(thought.scores["pool"], size - len(own), among=new)]))
    scores = np.stack([thought.scores[name][items] for name in SOURCES], axis=1)
    return Candidates(
        items=items.astype(np.int32),
        scores=np.where(np.isinf(scores), np.float32(np.nan), scores),
        lifts=np.stack([thought.lifts[name][items] for name in GROUPS], axis=1),
    )


def ranks(scores: Floats) -> Floats:
    """Place of each row in each column's descending order, 0 first: as `scores`, NaN for NaN."""
    order = np.argsort(-scores, axis=0, kind="stable")  # NaN comes last
    places = np.empty_like(scores)
    np.put_along_axis(places, order, np.arange(len(scores), dtype=np.float32)[:, None], axis=0)
    return np.where(np.isnan(scores), np.float32(np.nan), places)
