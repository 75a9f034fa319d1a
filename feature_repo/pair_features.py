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

from feature_repo.compiled import compiled

Floats = NDArray[np.float32]
Positions = NDArray[np.int32]
Codes = NDArray[np.unsignedinteger[Any]]

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
OF_ITEMS = PAIR_FEATURES.index(f"pair_{GROUPS[0]}_share")  # so many come first
TOLD = tuple(map(GROUPS.index, SINCE)), tuple(map(GROUPS.index, COUNTED))


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
    def joint(self) -> Codes:
        """Groups of every item, numbered as one: (n_items, n_kinds)."""
        columns = [getattr(self, kind) + start for kind, start in zip(GROUPS, self.starts, strict=False)]
        return compact(np.stack(columns, axis=1))


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


def pair_features(past: PastPurchases, groups: Groups, candidates: Positions, tenure_days: float) -> Floats:
    """One row per candidate, columns as in `PAIR_FEATURES`: (n_candidates, n_pair_features).

    `pair_dueness` is the time since the last purchase over the shopper's mean time between purchases
    of this item by all they know of the shop (`tenure_days` over the count), `pair_interval_dueness` over
    that from the first to the last purchase, NaN after the first: 1 means that it is due.
    """
    # Column by column: a row of this is a column of what is returned.
    found = np.empty((len(PAIR_FEATURES), len(candidates)), dtype=np.float32)
    of_items(
        found[:OF_ITEMS],
        candidates,
        past.items,
        past.counts,
        past.decayed,
        past.days_since,
        past.days_since_first,
        past.baskets_since,
        max(tenure_days, 1.0),
    )
    both = groups.joint.take(np.concatenate([past.items, candidates]), axis=0)
    names, numbered = few_groups(both, groups.starts[-1])
    own, asked = numbered[: len(past.items)], numbered[len(past.items) :]
    n_groups = groups.starts[-1] if names is None else len(names)
    total = max(float(past.decayed.sum()), 1e-9)
    of_groups(found[OF_ITEMS:], asked, own, past.decayed, past.days_since, n_groups, total, *TOLD)
    return found.T


@compiled
def of_items(
    found: Floats,
    candidates: Positions,
    items: Positions,
    counts: Floats,
    decayed: Floats,
    days_since: Floats,
    days_since_first: Floats,
    baskets_since: Floats,
    tenure_days: float,
) -> None:
    """What the past says of the candidates themselves, into `found` (OF_ITEMS, n_candidates)."""
    found[:2], found[2:] = 0.0, np.nan
    places = np.searchsorted(items, candidates)
    for row in range(len(candidates)):
        place = places[row]
        if place == len(items) or items[place] != candidates[row]:
            continue
        count, since, first = counts[place], days_since[place], days_since_first[place]
        found[0, row], found[1, row], found[2, row] = count, decayed[place], since
        found[3, row] = since / (tenure_days / max(count, 1.0))
        found[4, row] = first
        if count > 1:
            interval = (first - since) / (count - 1.0)
            found[5, row], found[6, row] = interval, since / max(interval, 1.0)
        found[7, row] = baskets_since[place]


@compiled
def of_groups(
    found: Floats,
    asked: NDArray[np.integer[Any]],
    own: NDArray[np.integer[Any]],
    decayed: Floats,
    days_since: Floats,
    n_groups: int,
    total: float,
    since: tuple[int, ...],
    counted: tuple[int, ...],
) -> None:
    """What the past says of the candidates' groups, into `found` (n_features, n_candidates).

    `asked` (n_candidates, n_kinds) and `own` (n_bought, n_kinds) are groups of candidates and purchases, of
    `n_groups`; `total` is what the purchases weigh together; `since` and `counted` are kinds, as SINCE and
    COUNTED name them.
    """
    held, slot_of = np.zeros(n_groups, np.uint8), np.empty(n_groups, np.int32)  # only of groups that are held
    size, n_kinds = 0, own.shape[1]
    sums, days = np.zeros(own.size), np.full(own.size, np.inf, np.float32)
    items = np.zeros(own.size, np.int32)
    for place in range(len(own)):
        for kind in range(n_kinds):
            group = own[place, kind]
            if not held[group]:
                held[group], slot_of[group] = 1, size
                size += 1
            slot = slot_of[group]
            sums[slot] += decayed[place]
            days[slot] = min(days[slot], days_since[place])
            items[slot] += 1
    for row in range(len(asked)):
        for kind in range(n_kinds):
            group = asked[row, kind]
            found[kind, row] = sums[slot_of[group]] / total if held[group] else 0.0
        for number in range(len(since)):
            group = asked[row, since[number]]
            found[n_kinds + number, row] = days[slot_of[group]] if held[group] else np.nan
        for number in range(len(counted)):
            group = asked[row, counted[number]]
            found[n_kinds + len(since) + number, row] = items[slot_of[group]] if held[group] else 0.0


def compact(codes: NDArray[np.integer[Any]]) -> Codes:
    """Codes from 0 on in as few bytes each as hold them: half to read where there are few."""
    return codes.astype(np.min_scalar_type(int(codes.max(initial=0))))


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
