"""Candidates: the few hundred items worth ranking, out of the whole catalogue.

Sources score the catalogue for one shopper, or what a request can look at of a large one
(`bentos.shortlist`). The shopper's own repurchases and the best of the pool, a learned sum of the other
sources, are the candidates; each keeps every source's score, so that the ranker sees all opinions and the
answer can say which sources would have brought it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.affinity import item_groups, lifts, raised, shop_shares
from bentos.factors import shopper_factors
from bentos.index import at_least, highest
from bentos.neighbours import neighbours, newly_bought
from bentos.pool import cheap_part, cheap_part_of, dear_part, pooled_sales
from bentos.release import Release
from bentos.shopper import Shopper
from bentos.shortlist import view
from bentos.towers import query_of, two_tower
from feature_repo.compiled import compiled
from feature_repo.pair_features import GROUPS, Codes, Floats, PastPurchases, Positions

TASKS = ("all", "discover")
SOURCES = ("buy_again", "two_tower", "co_purchase", "neighbours", "affinity", "top_sellers", "pool")
# Candidates of a request. A page of ten needs a hundred, a list of a hundred these; 700 brought nothing more
# to either task at cut 43.
SIZE = 500
REPURCHASES = 0.75  # share of them, at most, that the shopper bought before
# Inner products are for the best of what the pool knows without them, this many or so many times those that
# are to be drawn from it: of what all inner products would draw, 6 times hold 99.94 %, 5 times 99.87 % (150
# shoppers of cut 49, both tasks).
SHORTLIST, SHORTLIST_TIMES = 500, 6
Rows = NDArray[np.integer[Any]]
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

    def sources_of(self, rows: Sequence[int]) -> list[tuple[str, ...]]:
        """Names of the sources that hold some candidates for one of their best, the surest first."""
        found = []
        for places in self.ranks[rows].tolist():
            held = sorted((place, n) for n, place in enumerate(places) if place < BROUGHT)
            found.append(tuple(SOURCES[n] for _, n in held if SOURCES[n] != "pool"))
        return found


@dataclass(frozen=True)
class Shortlist:
    """The items that could be drawn, with what takes an inner product each."""

    items: Positions  # (n,) in catalogue order
    co_purchase: Floats  # (n,)
    two_tower: Floats  # (n,)
    pool: Floats  # (n,)

    def at(self, items: Positions) -> "Shortlist":
        """The same for some of its items."""
        place = np.searchsorted(self.items, items)
        return Shortlist(items, self.co_purchase[place], self.two_tower[place], self.pool[place])


@dataclass(frozen=True)
class Opinions:
    """What every source thinks of the catalogue, whatever the task.

    A request needs it of a shortlist only; `scores` and `lifts` tell all, for those who train or measure.
    """

    release: Release
    past: PastPurchases
    knows: bool  # whether there is a past or an interest to go by
    group_lifts: Floats  # (n_groups,) of all kinds of groups as one
    near: Floats  # (n_newly_bought + 1,) neighbours' shares
    factors: Floats  # (n_factors,) the shopper's
    query: Floats  # (n_taste,) the shopper's side of the two towers

    @cached_property
    def cheap(self) -> Floats:
        """The pool's score of every item without the inner products, but with the towers' part of sales."""
        return cheap_part(self.release, self.group_lifts, self.near)

    def cheap_of(self, items: Positions) -> Floats:
        """The same of some items: (n,)."""
        return cheap_part_of(self.release, items, self.lifts_of(items), self.near_of(items))

    def lifts_of(self, items: Positions) -> Floats:
        """Lifts of some items' groups: (n, n_kinds of groups)."""
        return lifts_at(self.group_lifts, item_groups(self.release).joint, items).T

    def near_of(self, items: Positions) -> Floats:
        """The neighbours' shares of some items: (n,)."""
        return self.near.take(newly_bought(self.release).place_of.take(items))

    @cached_property
    def seen(self) -> tuple[Positions | None, Floats]:
        """The items that are looked at, None for all of them, and the cheap part of each."""
        items = view(self.release).items(self.factors, self.query, self.near, self.past.items)
        return items, self.cheap if items is None else self.cheap_of(items)

    def shortlist(self, n: int, own: Positions) -> Shortlist:
        """Of what is seen the best `n` of the cheap part, never bought, and `own` items that were bought."""
        items, cheap = self.seen
        if items is None:
            rows = chosen(cheap, n, bought=self.past.items, own=own)
            return self._shortlist(rows, cheap[rows])
        bought = np.searchsorted(items, self.past.items)
        rows = chosen(cheap, n, bought=bought, own=np.searchsorted(items, own))
        return self._shortlist(items[rows], cheap[rows])

    def _shortlist(self, items: Positions, cheap: Floats) -> Shortlist:
        arrays = self.release.arrays
        co_purchase = arrays["factor_items"].take(items, axis=0) @ self.factors
        tasted = arrays["item_bodies"].take(items, axis=0) @ self.query
        towers = two_tower(self.release, tasted, co_purchase, items)
        pool = cheap - pooled_sales(self.release).take(items)
        pool += dear_part(self.release, co_purchase, towers)
        return Shortlist(items, co_purchase, towers, pool)

    def of(self, short: Shortlist) -> tuple[Floats, Floats]:
        """Scores (n, n_sources) and lifts (n, n_kinds of groups) of some items; NaN for no opinion."""
        items, knows = short.items, self.knows
        lifted = self.lifts_of(items)
        nothing = np.full(len(items), np.nan, dtype=np.float32)
        scores = {
            "buy_again": looked_up(items, self.past.items, self.past.decayed),
            "two_tower": short.two_tower,
            "co_purchase": short.co_purchase if knows else nothing,
            "neighbours": positive(self.near_of(items)),
            "affinity": lifted.sum(axis=1) if knows else nothing,
            "top_sellers": self.release.arrays["popularity"].take(items),
            "pool": short.pool,
        }
        found = np.empty((len(SOURCES), len(items)), dtype=np.float32)  # a column beside itself
        for row, name in enumerate(SOURCES):
            found[row] = scores[name]
        return found.T, lifted

    @cached_property
    def _whole(self) -> tuple[Floats, Floats]:
        return self.of(self._shortlist(np.arange(len(self.cheap), dtype=np.int32), self.cheap))

    @property
    def scores(self) -> dict[str, Floats]:
        """(n_items,) by source, -inf where it has no opinion."""
        known = np.where(np.isnan(self._whole[0]), np.float32(-np.inf), self._whole[0])
        return dict(zip(SOURCES, known.T, strict=True))

    @property
    def lifts(self) -> dict[str, Floats]:
        """(n_items,) by kind of group."""
        return dict(zip(GROUPS, self._whole[1].T, strict=True))


def chosen(scores: Floats, n: int, *, bought: Rows, own: Rows) -> Positions:
    """Rows, in order, of the `n` highest scores that are not among `bought`, and `own` ones of these."""
    new = scores.copy()
    new[bought] = -np.inf
    return np.sort(np.concatenate([at_least(new, n), own])).astype(np.int32)


def positive(values: Floats) -> Floats:
    """Values above zero, NaN for others."""
    return np.where(values > 0, values, np.float32(np.nan))


@compiled
def looked_up(items: Positions, known: Positions, values: Floats) -> Floats:
    """Values of items where they are above zero, NaN for those that are not known: (n_items,).

    Both `items` and `known` are in increasing order.
    """
    found, place = np.full(len(items), np.nan, np.float32), 0
    for row in range(len(items)):
        while place < len(known) and known[place] < items[row]:
            place += 1
        if place < len(known) and known[place] == items[row] and values[place] > 0.0:
            found[row] = values[place]
    return found


@compiled
def lifts_at(group_lifts: Floats, groups: Codes, items: Positions) -> Floats:
    """Lifts of some items' groups: (n_kinds of groups, n). `groups` (n_items, n_kinds) are all items'."""
    found = np.empty((groups.shape[1], len(items)), np.float32)
    for row in range(len(items)):
        for kind in range(groups.shape[1]):
            group = groups[items[row], kind]
            if not 0 <= group < len(group_lifts):
                raise IndexError("a group that the shop has no share of")
            found[kind, row] = group_lifts[group]
    return found


def opinions(release: Release, shopper: Shopper) -> Opinions:
    """Ask every source; each hears of the shopper's interest, but for their own purchases."""
    heard, shop = shopper.heard, shop_shares(release)
    own = raised(heard.past, item_groups(release).joint, shop)
    factors = shopper_factors(release, heard.past)
    return Opinions(
        release=release,
        past=shopper.past,
        knows=bool(heard.past.items.size),
        group_lifts=lifts(heard.past, own, len(shop)),
        near=neighbours(release, factors),
        factors=factors,
        query=query_of(release, heard, own),
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
        own = past.items[highest(past.decayed, round(REPURCHASES * size))]
    short = thought.shortlist(max(SHORTLIST, SHORTLIST_TIMES * (size - len(own))), own)
    new = short.pool.copy()
    new[np.searchsorted(short.items, own)] = -np.inf
    drawn = short.items[highest(new, size - len(own))]
    items = np.sort(np.concatenate([own, drawn])).astype(np.int32)
    scores, lifted = thought.of(short.at(items))
    return Candidates(items=items, scores=scores, lifts=lifted)


def ranks(scores: Floats) -> Floats:
    """Place of each row in each column's descending order, 0 first: as `scores`, NaN for NaN."""
    return places(np.ascontiguousarray(scores.T)).T


@compiled
def places(columns: Floats) -> Floats:
    """Place of each number in its row's descending order, ties in the order of columns: as `columns`.

    A radix sort, byte by byte from the lowest, of integers that grow as the numbers fall.
    """
    n_columns, n = columns.shape
    found = np.full((n_columns, n), np.nan, np.float32)
    keys, start = np.empty(n, np.uint32), np.empty(256, np.int32)
    order, other = np.empty(n, np.int32), np.empty(n, np.int32)
    for column in range(n_columns):
        numbers, known = columns[column] + np.float32(0.0), 0  # -0.0 is 0.0
        bits = numbers.view(np.uint32)
        for row in range(n):
            below_zero = bits[row] >> np.uint32(31)
            keys[row] = bits[row] if below_zero else np.uint32(0x7FFFFFFF) - bits[row]
            if numbers[row] == numbers[row]:
                order[known] = row
                known += 1
        for shift in (0, 8, 16, 24):
            start[:], total = 0, 0
            for place in range(known):
                start[(keys[order[place]] >> np.uint32(shift)) & np.uint32(255)] += 1
            for digit in range(256):
                start[digit], total = total, total + start[digit]
            for place in range(known):
                digit = (keys[order[place]] >> np.uint32(shift)) & np.uint32(255)
                other[start[digit]] = order[place]
                start[digit] += 1
            order, other = other, order
        for place in range(known):
            found[column, order[place]] = place
    return found
