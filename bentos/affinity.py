"""Affinity: how much more often than the shop a shopper buys from each group of items.

Groups are departments, categories, types, manufacturers, lines (a manufacturer's items of one type) and
variants (items of one text and manufacturer, as flavours of one yogurt are). What somebody buys of a line
says most about what they have not yet bought of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.release import Release
from feature_repo.compiled import compiled
from feature_repo.pair_features import (
    GROUPS,
    Codes,
    Floats,
    Groups,
    PastPurchases,
    Positions,
    compact,
    few_groups,
)

PRIOR = 10.0  # a shopper's first 10 decayed purchases weigh as much as the shop's average


def item_groups(release: Release) -> Groups:
    """The groups of every item in the catalogue."""
    return release.once("item_groups", _item_groups)


def _item_groups(release: Release) -> Groups:
    catalogue = release.catalogue
    return Groups(
        departments=catalogue.departments,
        categories=catalogue.categories,
        types=catalogue.types,
        manufacturers=release.arrays["manufacturers"],
        lines=release.arrays["lines"],
        variants=release.arrays["variants"],
    )


@dataclass(frozen=True)
class Combinations:
    """The distinct combinations of groups: few beside the items, so that sums over groups are short.

    Those of all kinds but the narrowest, which are fewer still, are summed first.
    """

    wide: Codes  # (n_wide, n_kinds - 1) groups, all kinds numbered as one
    wide_of: Codes  # (n_combinations,)
    narrow: Codes  # (n_combinations,) groups of the last kind
    of_item: Codes  # (n_items,) each item's combination

    def sums(self, values: Floats) -> Floats:
        """Sums of values (n_groups,) over the groups of each combination: (n_combinations,)."""
        return summed(values, self.wide, self.wide_of, self.narrow)


@compiled
def summed(values: Floats, wide: Codes, wide_of: Codes, narrow: Codes) -> Floats:
    """As `Combinations.sums`, kind by kind in their order."""
    sums = np.empty(len(wide), np.float32)
    for place in range(len(wide)):
        total = values[wide[place, 0]]
        for kind in range(1, wide.shape[1]):
            total += values[wide[place, kind]]
        sums[place] = total
    found = np.empty(len(narrow), np.float32)
    for place in range(len(narrow)):
        found[place] = sums[wide_of[place]] + values[narrow[place]]
    return found


def combinations(release: Release) -> Combinations:
    """The combinations of a release's groups."""
    return release.once("combinations", _combinations)


def _combinations(release: Release) -> Combinations:
    distinct, of_item = np.unique(item_groups(release).joint, axis=0, return_inverse=True)
    wide, wide_of = np.unique(distinct[:, :-1], axis=0, return_inverse=True)
    return Combinations(
        wide=compact(wide),
        wide_of=compact(wide_of.ravel()),
        narrow=compact(distinct[:, -1]),
        of_item=compact(of_item.ravel()),
    )


def shop_share(codes: Positions, baskets: Floats) -> Floats:
    """Share of the shop's baskets that falls to each group, (n_groups,); no group has none."""
    size = int(codes.max()) + 1 if codes.size else 0
    counts = np.bincount(codes, weights=np.nan_to_num(baskets), minlength=size) + 0.5
    return np.asarray(counts / counts.sum(), dtype=np.float32)


def shop_shares(release: Release) -> Floats:
    """The shop's shares of all groups, numbered as one: (n_groups,)."""
    return release.once("shop_shares", _shop_shares)


def _shop_shares(release: Release) -> Floats:
    return joined({name: release.arrays[f"shop_share_{name}"] for name in GROUPS})


def joined(by_kind: Mapping[str, Floats]) -> Floats:
    """Values of the groups of each kind, as one."""
    return np.concatenate([by_kind[name] for name in GROUPS])


Raised = tuple[NDArray[np.intp], Floats]  # groups bought from, increasing, and how far each is raised


def lifts(past: PastPurchases, own: Raised, n_groups: int) -> Floats:
    """Logarithm of the shopper's share over the shop's, (n_groups,) of all kinds as one; 0 without a past.

    `own` are the shopper's `raised` groups: all others have the lift of a group that was never bought.
    """
    never = np.float32(np.log(PRIOR / (float(past.decayed.sum()) + PRIOR)))
    bought, lift = own
    found = np.full(n_groups, never)
    found[bought] = never + lift
    return found


def raised(past: PastPurchases, codes: NDArray[np.integer[Any]], share: Floats) -> Raised:
    """Groups that the shopper bought from, and how far each lift is above one of a group never bought.

    `codes` are the items' groups, (n_items,) of one kind or (n_items, n_kinds) numbered as one, `share`
    (n_groups,) the shop's. Unlike `lifts` it is zero, and left out, where nothing was bought, so that a sum
    over a shopper's groups is short.
    """
    own = codes.take(past.items, axis=0)
    own = own if own.ndim > 1 else own[:, None]
    names, own = few_groups(own, len(share))
    places, counts = counted(own, past.decayed, len(share) if names is None else len(names))
    bought = places if names is None else names[places]
    lift = np.log1p(counts.astype(np.float32) / (np.float32(PRIOR) * share[bought]))
    return bought, lift.astype(np.float32, copy=False)


@compiled
def counted(
    groups: NDArray[np.integer[Any]], weights: Floats, n_groups: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Groups that things are of, in increasing order, and the things' weights together, of those above zero.

    `groups` (n_things, n_kinds) of `n_groups`, `weights` (n_things,).
    """
    counts = np.zeros(n_groups)
    for thing in range(len(groups)):
        for kind in range(groups.shape[1]):
            if not 0 <= groups[thing, kind] < n_groups:
                raise IndexError("a group that the shop has no share of")
            counts[groups[thing, kind]] += weights[thing]
    found, n = np.empty(n_groups + 1, np.intp), 0
    for group in range(n_groups):  # without a branch, which nobody could foresee
        found[n] = group
        n += counts[group] != 0.0
    return found[:n], counts[found[:n]]
