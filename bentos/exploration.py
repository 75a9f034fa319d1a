"""Exploration: the last slots of a page drawn by chance, each with the exact probability of what was drawn.

In: the order of candidates after all rules. Out: the same with its last slots drawn one after the other from
those that stand next, by softmax without replacement (Plackett-Luce: Luce 1959, Plackett 1975). What another
policy would have earned can be estimated from the log of it: `jobs/experiments/off_policy.py`.

    >>> chances(np.array([1.0, 0.0, 5.0]), np.array([True, True, False]), temperature=1.0).round(3)
    array([0.731, 0.269, 0.   ])
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bentos.placement import Rows, departments_of, departments_wanted
from bentos.release import Catalogue
from bentos.rule_parameters import Rules, is_number
from bentos.rules import Mask, category_cap
from feature_repo.pair_features import Floats, Positions

LEAST_POOL, MOST_POOL = 2, 100
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Explore:
    """How an arm explores; ValueError for numbers that cannot be meant.

    The last `slots` of a page are drawn, each from the `pool` rows that stand next behind those that are
    kept. At `temperature` t, in log odds, one that scores t less is drawn e times as seldom.
    """

    slots: int
    temperature: float
    pool: int = 20

    def __post_init__(self) -> None:
        if not isinstance(self.slots, int) or isinstance(self.slots, bool) or self.slots < 1:
            raise ValueError(f"slots is {self.slots!r}; use a whole number from 1")
        if not is_number(self.temperature) or self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature!r}; use a finite number above 0")
        whole = isinstance(self.pool, int) and not isinstance(self.pool, bool)
        if not whole or not max(LEAST_POOL, self.slots) <= self.pool <= MOST_POOL:
            wanted = f"a whole number from {LEAST_POOL} to {MOST_POOL} that is not below slots, {self.slots}"
            raise ValueError(f"pool is {self.pool!r}; use {wanted}")


@dataclass(frozen=True)
class Explored:
    """An order whose page ends in drawn rows, and what it takes to reckon with the draws.

    With n_page slots on the page, n_draws of them drawn, and n_pool rows in the pool.
    """

    order: Rows  # (n_rows,) the slots kept, those drawn, and the others as they stood
    propensities: Doubles  # (n_page,) of each slot's row given the slots above; 1 where nothing was drawn
    pool: Rows  # (n_pool,) rows in their order before the draws
    scores: Doubles  # (n_pool,) log odds
    eligible: Mask  # (n_draws, n_pool) who could be drawn; one row alone was drawn for certain

    @property
    def kept(self) -> int:
        """How many slots of the page were not drawn."""
        return len(self.propensities) - len(self.eligible)


@dataclass(frozen=True)
class Exploration:
    """The draws of one answer as the log keeps them; the propensities are with the slots."""

    pool: tuple[str, ...]  # item ids
    scores: tuple[float, ...]  # of each, log odds
    eligible: tuple[tuple[bool, ...], ...]  # of each draw: who in the pool could be drawn


def rng_of(request_id: str) -> np.random.Generator:
    """The generator of one request's draws: the same id draws the same from the same pool, on any machine."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=16, person=b"exploration").digest()
    return np.random.default_rng(int.from_bytes(digest, "big"))


def chances(scores: Doubles, eligible: Mask, temperature: float) -> Doubles:
    """Probability of each row to be drawn: softmax of score / temperature among the eligible, (..., n_pool).

    A score that is not finite is not drawn, unless no eligible row has one that is: then all of them may be,
    evenly. `eligible` (..., n_pool) holds one at least on its last axis.
    """
    finite = eligible & np.isfinite(scores)
    able = np.where(finite.any(axis=-1, keepdims=True), finite, eligible)
    worth = np.where(finite, scores, 0.0)
    top = np.max(worth, axis=-1, keepdims=True, where=able, initial=-math.inf)
    with np.errstate(over="ignore"):  # a gap of many temperatures: -inf, which weighs nothing
        weights = np.exp((worth - top) / temperature, out=np.zeros(able.shape), where=able)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def explored(
    order: Rows,
    scores: Floats,
    items: Positions,
    catalogue: Catalogue,
    k: int,
    rules: Rules,
    explore: Explore,
    rng: np.random.Generator,
) -> Explored:
    """The order with the last slots of its page of `k` drawn.

    `order` are rows of candidates as the rules left them, `scores` (n_candidates,) log odds and `items`
    (n_candidates,) catalogue positions. Each draw takes the place of one that would stand there otherwise: no
    category gets more than its cap, or than it had where that was more, and the page keeps the departments
    that `diversity` wants, as far as it had them. Who stood on the page for a boost or as a newcomer is drawn
    by its own score. Where nobody who may be drawn has a finite score, the next in the order is taken, the
    only one eligible.
    """
    kept = max(0, k - explore.slots)
    seen = items[order[: kept + explore.pool]]
    wanted = departments_wanted(k, rules)
    least = min(wanted, departments_of(order[:k], items, catalogue)) if wanted > 1 else 1
    kinds = Kinds(catalogue.categories[seen], catalogue.departments[seen], category_cap(k, rules), least)
    pool = order[kept : kept + explore.pool]
    own = scores[pool].astype(np.float64)
    page = np.arange(min(k, len(seen)))  # places in the order: drawn so far, then who would stand there
    eligible = np.zeros((max(0, len(page) - kept), len(pool)), dtype=bool)
    propensities = np.ones(len(page))
    for draw, slot in enumerate(range(kept, len(page))):
        givers = kinds.givers(page, slot)
        eligible[draw] = may_be_drawn(givers[kept:] >= 0, own)
        chance = chances(own, eligible[draw], explore.temperature)
        drawn = one_of(chance, rng)
        propensities[slot] = chance[drawn]
        giver = givers[kept + drawn]
        page[slot + 1 : giver + 1] = page[slot:giver]
        page[slot] = kept + drawn
    behind = np.ones(len(order), dtype=bool)
    behind[page] = False
    return Explored(np.concatenate([order[page], order[behind]]), propensities, pool, own, eligible)


def may_be_drawn(fitting: Mask, scores: Doubles) -> Mask:
    """Those that fit and have a finite score or, where there is none, the first that fits."""
    able = fitting & np.isfinite(scores)
    return able if able.any() else np.arange(len(fitting)) == np.argmax(fitting)


def one_of(chance: Doubles, rng: np.random.Generator) -> int:
    """A place drawn by its chance: never one of chance 0."""
    bounds = chance.cumsum()
    return int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))


@dataclass(frozen=True)
class Kinds:
    """Categories and departments (n_seen,) of the order's first places, and what the rules want of a page."""

    categories: NDArray[np.integer]
    departments: NDArray[np.integer]
    cap: int  # of one category
    least: int  # departments

    def givers(self, page: Rows, slot: int) -> Rows:
        """For each place (n_seen,): the slot from `slot` on whose holder may give way to it, -1 for none.

        `page` are the places that hold the slots. A holder gives way to itself; of several the last does.
        """
        held, shown = self.categories[page], self.departments[page]
        like_held, like_shown = self.categories[:, None] == held, self.departments[:, None] == shown
        room = like_held.sum(axis=1) < self.cap
        fits = room[:, None] | like_held[:, slot:]  # within one category none has more
        if self.least > 1:
            alone = like_shown[page[slot:]].sum(axis=1) == 1
            lost = alone & ~like_shown[:, slot:]
            gained = ~like_shown.any(axis=1)
            fits &= len(set(shown.tolist())) - lost + gained[:, None] >= self.least
        last = len(page) - 1 - np.argmax(fits[:, ::-1], axis=1)
        found = np.where(fits.any(axis=1), last, -1)
        found[page[:slot]] = -1
        found[page[slot:]] = np.arange(slot, len(page))
        return found


def recorded(found: Explored, items: Positions, item_ids: Sequence[str] | NDArray[np.str_]) -> Exploration:
    """The draws by item id; `items` (n_candidates,) are positions in `item_ids`."""
    return Exploration(
        pool=tuple(str(item_ids[item]) for item in items[found.pool]),
        scores=tuple(found.scores.tolist()),
        eligible=tuple(tuple(draw) for draw in found.eligible.tolist()),
    )
