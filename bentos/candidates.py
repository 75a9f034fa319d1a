"""Candidates: the few hundred items worth ranking, out of the whole catalogue.

Sources score the whole catalogue for one shopper. The shopper's own repurchases and the best of the pool, a
learned sum of the other sources, are the candidates; each keeps every source's score, so that the ranker sees
all opinions and the answer can say which sources would have brought it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bentos.affinity import item_groups, lifts, raised_groups, shop_shares
from bentos.factors import shopper_factors
from bentos.index import best
from bentos.neighbours import neighbours
from bentos.pool import pool_scores
from bentos.release import Release
from bentos.shopper import Shopper
from bentos.towers import two_tower
from feature_repo.pair_features import GROUPS, Floats, PastPurchases, Positions

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
    """What every source thinks of the whole catalogue, whatever the task.

    A request needs the pool's scores of all items and the others' of a few: `of` gives these, and `scores`
    and `lifts` everything, for those who train or measure.
    """

    release: Release
    past: PastPurchases
    knows: bool  # whether there is a past or an interest to go by
    group_lifts: Mapping[str, Floats]  # (n_groups,) by kind of group
    near: tuple[Positions, Floats]  # items that neighbours bought, and their shares
    co_purchase: Floats  # (n_items,)
    two_tower: Floats  # (n_items,)

    @cached_property
    def pool(self) -> Floats:
        """The pool's score of every item: (n_items,)."""
        by_source = {"co_purchase": self.co_purchase, "two_tower": self.two_tower}
        return pool_scores(self.release, self.group_lifts, self.near, by_source)

    def of(self, items: Positions) -> tuple[Floats, Floats]:
        """Scores (n, n_sources) and lifts (n, n_kinds of groups) of some items; NaN for no opinion."""
        groups, knows = item_groups(self.release), self.knows
        lifted = [self.group_lifts[name][getattr(groups, name)[items]] for name in GROUPS]
        nothing = np.full(len(items), np.nan, dtype=np.float32)
        scores = {
            "buy_again": looked_up(items, self.past.items, self.past.decayed),
            "two_tower": self.two_tower[items],
            "co_purchase": self.co_purchase[items] if knows else nothing,
            "neighbours": looked_up(items, *self.near),
            "affinity": np.asarray(sum(lifted), dtype=np.float32) if knows else nothing,
            "top_sellers": self.release.arrays["popularity"][items],
            "pool": self.pool[items],
        }
        return np.stack([scores[name] for name in SOURCES], axis=1), np.stack(lifted, axis=1)

    @cached_property
    def _whole(self) -> tuple[Floats, Floats]:
        return self.of(np.arange(len(self.release.catalogue.item_ids), dtype=np.int32))

    @property
    def scores(self) -> dict[str, Floats]:
        """(n_items,) by source, -inf where it has no opinion."""
        known = np.where(np.isnan(self._whole[0]), np.float32(-np.inf), self._whole[0])
        return dict(zip(SOURCES, known.T, strict=True))

    @property
    def lifts(self) -> dict[str, Floats]:
        """(n_items,) by kind of group."""
        return dict(zip(GROUPS, self._whole[1].T, strict=True))


def looked_up(items: Positions, known: Positions, values: Floats) -> Floats:
    """Values of items where they are above zero, NaN for those that are not known: (n_items,).

    `known` are in increasing order.
    """
    if not known.size:
        return np.full(len(items), np.nan, dtype=np.float32)
    place = np.minimum(np.searchsorted(known, items), len(known) - 1)
    held = (known[place] == items) & (values[place] > 0)
    return np.where(held, values[place], np.float32(np.nan)).astype(np.float32)


def opinions(release: Release, shopper: Shopper) -> Opinions:
    """Ask every source; each hears of the shopper's interest, but for their own purchases."""
    heard, shop = shopper.heard, shop_shares(release)
    own = raised_groups(heard.past, item_groups(release), shop)
    factors = shopper_factors(release, heard.past)
    co_purchase = np.asarray(release.arrays["factor_items"] @ factors, dtype=np.float32)
    return Opinions(
        release=release,
        past=shopper.past,
        knows=bool(heard.past.items.size),
        group_lifts=lifts(heard.past, own, shop),
        near=neighbours(release, factors),
        co_purchase=co_purchase,
        two_tower=two_tower(release, heard, own, co_purchase),
    )


def draw(
    release: Release, shopper: Shopper, task: str, thought: Opinions | None = None, *, size: int = SIZE
) -> Candidates:
    """The shopper's repurchases and the best of the pool, `size` together, scored by all sources.

    `discover` draws nothing that was bought before. `thought` are the shopper's `opinions`, where several
    draws are made from the same.
    """
    thought = thought or opinions(release, shopper)
    past, own = shopper.past, np.empty(0, dtype=np.int32)
    if task == "all":
        own = past.items[best(past.decayed, round(REPURCHASES * size))]
    new = thought.pool.copy()
    new[past.items] = -np.inf
    items = np.sort(np.concatenate([own, best(new, size - len(own))])).astype(np.int32)
    scores, lifted = thought.of(items)
    return Candidates(items=items, scores=scores, lifts=lifted)


def ranks(scores: Floats) -> Floats:
    """Place of each row in each column's descending order, 0 first: as `scores`, NaN for NaN."""
    order = np.argsort(-scores, axis=0, kind="stable")  # NaN comes last
    places = np.empty_like(scores)
    np.put_along_axis(places, order, np.arange(len(scores), dtype=np.float32)[:, None], axis=0)
    return np.where(np.isnan(scores), np.float32(np.nan), places)
