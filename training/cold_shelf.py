"""The shelf: some items as of an instant, and what speaks for each of them to one shopper.

Facts come from the tables and from text, so that also items that were never sold have them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from bentos.affinity import joined, lifts, raised, shop_share
from feature_repo.pair_features import GROUPS, Floats, Groups, PastPurchases, Positions
from feature_repo.positions import positions_of
from training.fit import Sources
from training.purchases import world_groups
from training.split import Window
from training.text_affinity import TextAffinity, text_codes
from training.world import World, world_before

MONTH, QUARTER = 4, 13  # weeks
# Rows of `Shelf.inputs`.
INPUTS = (
    *(f"lift_{name}" for name in GROUPS),
    *(f"demand_{name}" for name in GROUPS),
    *(f"size_{name}" for name in GROUPS),
    "text",
)


@dataclass(frozen=True)
class Shop:
    """Where the items' facts come from: tables, and every item sold up to the end of the test."""

    sources: Sources
    world: World
    text_codes: Positions  # (n_world,)

    @classmethod
    def until(cls, sources: Sources, end: datetime) -> "Shop":
        """The items sold before an instant."""
        world = world_before(sources.warehouse, sources.store, end)
        return cls(sources, world, text_codes(world.text_vectors))


@dataclass(frozen=True)
class Shelf:
    """One set of cold items as of an instant, and what is known of them."""

    items: Positions  # (n_cold,) in the world, sorted
    groups: Groups  # of the whole world
    shop: Floats  # (n_groups,) shares of all kinds of groups as one
    appeal: Floats  # (2 * n_kinds, n_cold) the same for everybody: demand, then size, of each group
    text: TextAffinity

    def inputs(self, past: PastPurchases) -> Floats:
        """What speaks for each item to one shopper: (n_inputs, n_cold), rows as INPUTS."""
        lifted = lifts(past, raised(past, self.groups.joint, self.shop), len(self.shop))
        own = lifted[self.groups.joint[self.items]].T
        return np.concatenate([own, self.appeal, self.text.lifts(past)[None]], dtype=np.float32)


def shelf_of(shop: Shop, window: Window, ids: Sequence[str]) -> Shelf:
    """The shelf of some items as of a window's instant."""
    world = shop.world
    items = np.searchsorted(world.item_ids, np.asarray(ids, dtype=np.str_)).astype(np.int32)
    month, quarter = (world_baskets(shop, window, weeks) for weeks in (MONTH, QUARTER))
    groups = world_groups(world)
    codes = [getattr(groups, name) for name in GROUPS]
    demand = [np.bincount(code, weights=month)[code[items]] for code in codes]
    size = [np.bincount(code, weights=quarter > 0)[code[items]] for code in codes]
    return Shelf(
        items=items,
        groups=groups,
        shop=joined({name: shop_share(code, quarter) for name, code in zip(GROUPS, codes, strict=True)}),
        appeal=np.log1p(np.stack([*demand, *size])).astype(np.float32),
        text=TextAffinity.of(world.text_vectors, shop.text_codes, quarter, items),
    )


def world_baskets(shop: Shop, window: Window, weeks: int) -> Floats:
    """Baskets that held each item of the world in the last weeks before a window: (n_world,)."""
    sources, world = shop.sources, shop.world
    since = sources.calendar.start(window.first - weeks)
    found = sources.warehouse.basket_counts(since, window.instant)
    items = positions_of(world.item_ids, found["item_id"].to_numpy(dtype=np.str_))
    return np.bincount(items, weights=found["baskets"], minlength=len(world)).astype(np.float32)
