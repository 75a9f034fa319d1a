"""Affinity: how much more often than the shop a shopper buys from each group of items.

Groups are departments, categories, types, manufacturers, lines (a manufacturer's items of one type) and
variants (items of one text and manufacturer, as flavours of one yogurt are). What somebody buys of a line
says most about what they have not yet bought of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bentos.release import Release
from feature_repo.pair_features import GROUPS, Floats, Groups, PastPurchases, Positions

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
    """The distinct combinations of groups: few beside the items, so that sums over groups are short."""

    codes: Mapping[str, NDArray[np.intp]]  # (n_combinations,) by kind of group
    of_item: NDArray[np.intp]  # (n_items,) each item's combination


def combinations(release: Release) -> Combinations:
    """The combinations of a release's groups."""
    return release.once("combinations", _combinations)


def _combinations(release: Release) -> Combinations:
    groups = item_groups(release)
    codes = np.stack([getattr(groups, name) for name in GROUPS])
    distinct, of_item = np.unique(codes, axis=1, return_inverse=True)
    rows = {name: row.astype(np.intp) for name, row in zip(GROUPS, distinct, strict=True)}
    return Combinations(rows, of_item.ravel().astype(np.intp))


def shop_share(codes: Positions, baskets: Floats) -> Floats:
    """Share of the shop's baskets that falls to each group, (n_groups,); no group has none."""
    size = int(codes.max()) + 1 if codes.size else 0
    counts = np.bincount(codes, weights=np.nan_to_num(baskets), minlength=size) + 0.5
    return np.asarray(counts / counts.sum(), dtype=np.float32)


def shop_shares(release: Release) -> dict[str, Floats]:
    """The shop's shares by kind of group."""
    return {name: release.arrays[f"shop_share_{name}"] for name in GROUPS}


Raised = Mapping[str, tuple[Positions, Floats]]  # by kind of group: those bought from, and how far raised


def raised_groups(past: PastPurchases, groups: Groups, shop: Mapping[str, Floats]) -> Raised:
    """What `raised` says of every kind of group."""
    return {name: raised(past, getattr(groups, name), shop[name]) for name in GROUPS}


def lifts(past: PastPurchases, own: Raised, shop: Mapping[str, Floats]) -> dict[str, Floats]:
    """Logarithm of the shopper's share over the shop's, (n_groups,) by kind of group; 0 without a past.

    `shop` are the shop's shares by kind of group, as `shop_share` makes them, `own` the shopper's
    `raised_groups`: all others have the lift of a group that was never bought.
    """
    found, nothing = {}, np.float32(np.log(PRIOR / (float(past.decayed.sum()) + PRIOR)))
    for name in GROUPS:
        bought, lift = own[name]
        found[name] = np.full(len(shop[name]), nothing, dtype=np.float32)
        found[name][bought] += lift
    return found


def raised(past: PastPurchases, codes: Positions, share: Floats) -> tuple[Positions, Floats]:
    """Groups of one kind that the shopper bought from, and how far each lift is above one never bought.

    `codes` (n_items,) are the items' groups, `share` (n_groups,) the shop's. Unlike `lifts` it is zero, and
    left out, where nothing was bought, so that a sum over a shopper's groups is short.
    """
    counts = np.bincount(codes[past.items], weights=past.decayed)
    own = np.flatnonzero(counts)
    return own.astype(np.int32), np.log1p(counts[own].astype(np.float32) / (np.float32(PRIOR) * share[own]))
