"""The pool: one learned score over the whole catalogue that decides which items are worth ranking.

A weighted sum of logarithms: what sells (the same for everybody), the shopper's affinity to each kind of
group, and what the learned sources say. The weights are fitted by `training.pool`; the sum is cheap enough
for every item of the catalogue at every request.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.affinity import combinations, item_groups
from bentos.neighbours import newly_bought
from bentos.release import Release
from bentos.towers import sales
from feature_repo.compiled import compiled
from feature_repo.pair_features import GROUPS, Codes, Floats, Positions

# Rows of `appeal_inputs`: what is the same for everybody. Item features, but for the newcomers of the panel.
# No promotions: what last week's are worth changes with the season (weights from -.2 to .9 within a year).
APPEAL = (
    "item_baskets_7d",
    "item_baskets_28d",
    "item_baskets_91d",
    "item_baskets_182d",
    "item_age_days",
    "newcomers",
)
# Sources whose scores enter, with what is added before the logarithm (None: the score is one already).
PERSONAL: Mapping[str, float | None] = MappingProxyType(
    {"co_purchase": 0.01, "neighbours": 1e-4, "two_tower": None}
)
INPUTS = (*APPEAL, *GROUPS, *PERSONAL)


def logarithm(scores: Floats, floor: float | None) -> Floats:
    """Log of what scores are above zero, plus `floor`; as they are where there is no floor."""
    if floor is None:
        return scores
    return np.log(np.maximum(scores, np.float32(0.0)) + np.float32(floor))


def inputs(release: Release, lifted: Mapping[str, Floats], scores: Mapping[str, Floats]) -> Floats:
    """What the pool weighs: (n_inputs, n_items), rows as INPUTS.

    `lifted` are the shopper's lifts per item by kind of group, `scores` those of the sources in PERSONAL.
    """
    rows = [*(lifted[name] for name in GROUPS)]
    rows += [logarithm(scores[name], floor) for name, floor in PERSONAL.items()]
    return np.concatenate([release.arrays["appeal_inputs"], np.stack(rows)], dtype=np.float32)


def appeal(release: Release) -> Floats:
    """What the pool makes of the inputs that are the same for everybody: (n_items,)."""
    return release.once("pool_appeal", lambda made: _appeal(made.arrays))


def _appeal(arrays: Mapping[str, NDArray[Any]]) -> Floats:
    return np.asarray(arrays["pool_weights"][: len(APPEAL)] @ arrays["appeal_inputs"], dtype=np.float32)


def group_weights(release: Release) -> Floats:
    """The pool's weight of each group's lift, (n_groups,) of all kinds as one."""
    return release.once("group_weights", _group_weights)


def _group_weights(release: Release) -> Floats:
    weights = release.arrays["pool_weights"][len(APPEAL) : len(APPEAL) + len(GROUPS)]
    return np.repeat(weights, list(item_groups(release).sizes.values())).astype(np.float32)


def pooled_sales(release: Release) -> Floats:
    """What the pool makes of the towers' part of sales: (n_items,)."""
    place = INPUTS.index("two_tower")
    return release.once("pooled_sales", lambda made: made.arrays["pool_weights"][place] * sales(made))


def everybodys(release: Release) -> Floats:
    """What is the same for everybody, the towers' part of sales included: (n_items,)."""
    return release.once("everybodys", lambda made: appeal(made) + pooled_sales(made))


def cheap_part(release: Release, group_lifts: Floats, near: Floats) -> Floats:
    """What the pool makes of all inputs but those that need an inner product with each item: (n_items,).

    `group_lifts` (n_groups,) are the shopper's lifts of all groups, `near` (n_newly_bought + 1,) what
    `neighbours` says. Sums over groups are made for each combination of groups. The towers' part of sales,
    the same for everybody, is in it.
    """
    groups, places = combinations(release), newly_bought(release).place_of
    sums = groups.sums(group_weights(release) * group_lifts)
    return of_all(weighed(release, near), places, sums, groups.of_item, everybodys(release))


@compiled
def of_all(near: Floats, place_of: Codes, sums: Floats, of_item: Codes, everybodys: Floats) -> Floats:
    """The parts of each item, looked up and added: (n_items,)."""
    if not len(place_of) == len(of_item) == len(everybodys):
        raise IndexError("parts of different numbers of items")
    found = np.empty(len(of_item), np.float32)
    for item in range(len(of_item)):
        found[item] = near[place_of[item]] + sums[of_item[item]] + everybodys[item]
    return found


def weighed(release: Release, near: Floats) -> Floats:
    """What the pool makes of the neighbours' shares: as `near`."""
    found = logarithm(near, PERSONAL["neighbours"])
    found *= release.arrays["pool_weights"][INPUTS.index("neighbours")]
    return found


def cheap_part_of(release: Release, items: Positions, lifted: Floats, near: Floats) -> Floats:
    """The same of some items, (n,), bit for bit.

    `lifted` (n, n_kinds of groups) are the lifts of their groups, `near` (n,) the neighbours' shares.
    """
    weights = release.arrays["pool_weights"]
    first, *others = lifted.T * weights[len(APPEAL) : len(APPEAL) + len(GROUPS), None]
    for lift in others:  # in the order of `Combinations.sums`
        first += lift
    found = weighed(release, near)
    found += first
    found += everybodys(release).take(items)
    return found


def dear_part(release: Release, co_purchase: Floats, two_tower: Floats) -> Floats:
    """What the pool makes of inner products, (n,) of the two sources' scores of as many items."""
    weights = dict(zip(INPUTS, release.arrays["pool_weights"], strict=True))
    found = weights["co_purchase"] * logarithm(co_purchase, PERSONAL["co_purchase"])
    found += weights["two_tower"] * logarithm(two_tower, PERSONAL["two_tower"])
    return np.asarray(found, dtype=np.float32)
