"""What a shopper's past says about an item: the one function that training and serving both call.

Arrays in, arrays out. The history arrives already aligned with the catalogue: positions of items,
baskets that held them, decayed counts as of the request, days since the last purchase.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Positions = NDArray[np.int32]

# Kinds of groups that an affinity is summed over, from the widest to the narrowest.
GROUPS: tuple[str, ...] = ("departments", "categories", "types", "manufacturers", "lines", "variants")
SINCE = ("categories", "types", "lines", "variants")  # groups whose last purchase is told
COUNTED = ("types", "lines", "variants")  # groups whose distinct bought items are counted
SPARSE = 64  # sorting a code takes as long as going through an array of so many groups

PAIR_FEATURES: tuple[str, ...] = (
    "pair_count",
    "pair_decayed_count",
    "pair_days_since_last",
    "pair_dueness",
    "pair_days_since_first",
    "pair_interval_days",
    "pair_interval_dueness",
    "pair_baskets_since_last",
    *(f"pair_{name}_share" for name in GROUPS),
    *(f"pair_{name}_days_since_last" for name in SINCE),
    *(f"pair_{name}_items" for name in COUNTED),
)


@dataclass(frozen=True)
class Groups:
    """Codes of every item in the catalogue, each (n_items,): the groups that an affinity is summed over."""

    departments: Positions
    categories: Positions
    types: Positions
    manufacturers: Positions
    lines: Positions  # a manufacturer's items of one type
    variants: Positions  # items of one text and manufacturer

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Number of groups of each kind."""
        kinds = {kind: getattr(self, kind) for kind in GROUPS}
        return {kind: int(codes.max()) + 1 if codes.size else 0 for kind, codes in kinds.items()}

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First number of each kind where all kinds are numbered as one, and the number of all groups."""
        return tuple(accumulate(self.sizes.values(), initial=0))

    @cached_property
    def joint(self) -> NDArray[np.intp]:
        """Groups of every item, numbered as one: (n_items, n_kinds)."""
        columns = [getattr(self, kind) + start for kind, start in zip(GROUPS, self.starts, strict=False)]
        return np.stack(columns, axis=1).astype(np.intp)


@dataclass(frozen=True)
class PastPurchases:
    """A shopper's past as of one instant, each (n_bought,): only items that the catalogue holds."""

    items: Positions
    counts: Floats
    decayed: Floats
    days_since: Floats
    days_since_first: Floats
    baskets_since: Floats  # baskets of the shopper after the last one with the item

    def __post_init__(self) -> None:
        if np.any(self.items[1:] <= self.items[:-1]):
            raise ValueError("PastPurchases.items must be strictly increasing positions")


def _own(past: PastPurchases, candidates: Positions) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Whether each candidate was bought before, and its place in the past (0 where it was not)."""
    if not past.items.size:
        return np.zeros(len(candidates), dtype=bool), np.zeros(len(candidates), dtype=np.intp)
    place = np.minimum(np.searchsorted(past.items, candidates), len(past.items) - 1)
    return past.items[place] == candidates, place


def pair_features(past: PastPurchases, groups: Groups, candidates: Positions, tenure_days: float) -> Floats:
    """One row per candidate, columns as in `PAIR_FEATURES`: (n_candidates, n_pair_features).

    `pair_dueness` is the time since the last purchase over the shopper's mean time between purchases
    of this item by all they know of the shop (`tenure_days` over the count), `pair_interval_dueness` over
    that from the first to the last purchase, NaN after the first: 1 means that it is due.
    """
    bought, place = _own(past, candidates)
    nothing = np.float32(np.nan)
    matrix = np.empty((len(candidates), len(PAIR_FEATURES)), dtype=np.float32)
    if past.items.size:
        counts = np.where(bought, past.counts[place], 0)
        matrix[:, 0] = counts
        matrix[:, 1] = np.where(bought, past.decayed[place], 0)
        matrix[:, 2] = np.where(bought, past.days_since[place], nothing)
        pace = max(tenure_days, 1.0) / np.maximum(counts, 1)
        matrix[:, 3] = matrix[:, 2] / pace
        matrix[:, 4] = np.where(bought, past.days_since_first[place], nothing)
        matrix[:, 5] = np.where(
            counts > 1, (matrix[:, 4] - matrix[:, 2]) / np.maximum(counts - 1, 1), nothing
        )
        matrix[:, 6] = matrix[:, 2] / np.maximum(matrix[:, 5], np.float32(1.0))
        matrix[:, 7] = np.where(bought, past.baskets_since[place], nothing)
    else:
        matrix[:, :2] = 0
        matrix[:, 2:8] = nothing
    matrix[:, 8:] = group_features(past, groups, candidates)
    return matrix


def few_groups(
    codes: NDArray[np.integer[Any]], n_groups: int
) -> tuple[NDArray[np.intp] | None, NDArray[np.integer[Any]]]:
    """Distinct groups among codes, increasing, and each code's place among them: a shorter numbering.

    None and the codes as they are where arrays of `n_groups` take less time than finding the distinct ones.
    """
    if n_groups <= SPARSE * codes.size:
        return None, codes
    names, places = np.unique(codes, return_inverse=True)
    return names.astype(np.intp), places.reshape(codes.shape)


def group_features(past: PastPurchases, groups: Groups, candidates: Positions) -> Floats:
    """What the past says of the candidates' groups: (n_candidates, n) as PAIR_FEATURES has them at its end.

    Sums over all kinds of groups are made at once: a request has many more calls than numbers.
    """
    both = groups.joint[np.concatenate([past.items, candidates])]
    names, numbered = few_groups(both, groups.starts[-1])
    size = groups.starts[-1] if names is None else len(names)
    own, asked = numbered[: len(past.items)], numbered[len(past.items) :]
    since, counted = list(map(GROUPS.index, SINCE)), list(map(GROUPS.index, COUNTED))
    found = np.empty((len(candidates), len(GROUPS) + len(since) + len(counted)), dtype=np.float32)
    sums = np.bincount(own.ravel(), weights=np.repeat(past.decayed, len(GROUPS)), minlength=size)
    found[:, : len(GROUPS)] = sums[asked] / max(float(past.decayed.sum()), 1e-9)
    days = np.full(size, np.inf, dtype=np.float32)
    np.minimum.at(days, own[:, since].ravel(), np.repeat(past.days_since, len(since)))
    latest = days[asked[:, since]]
    latest[np.isinf(latest)] = np.nan
    found[:, len(GROUPS) : -len(counted)] = latest
    found[:, -len(counted) :] = np.bincount(own[:, counted].ravel(), minlength=size)[asked[:, counted]]
    return found
