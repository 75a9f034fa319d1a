"""Cold items: how well those can be ranked, among themselves, of which no sale or few tell anything.

Two sets at each cut: `cold`, first sold in the test window, and `few_sales`, sold within half a year before
it but in fewer than FEW baskets ever. Each is ranked for the shoppers who bought something of it that they
had never bought. Models: ids alone, structured columns (lifts of the item's groups, and how those sell),
BERT's text affinity, and both; weights are fitted on the ranker's windows, where other items were cold.

Which items will be first sold in a window is known only after it: the figures compare models, and say
nothing of how good a list of a shop's novelties would be.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bentos.affinity import lifts, shop_share
from bentos.candidates import opinions
from bentos.index import best
from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import GROUPS, Floats, Groups, PastPurchases, Positions
from feature_repo.positions import positions_of
from training.fit import Instant, Sources
from training.held_out import HeldOut, held_out
from training.per_shopper import DEPTH, summary, values_of
from training.point_in_time import entity_frame, user_rows
from training.pool import PoolRows, fitted_weights
from training.shoppers import shopper_at
from training.split import CATALOGUE_WEEKS, Split, Window
from training.text_affinity import TextAffinity, text_codes
from training.world import World, world_before

FEW = 5
DRAWN = 60  # items not bought, for each shopper, that the weights are fitted against
SHOPPERS = 400  # of each window, to fit on
TASKS = MappingProxyType({"cold": 4, "few_sales": 1})  # and of how many windows the weights are fitted
# Rows of `Shelf.inputs`.
INPUTS = (
    *(f"lift_{name}" for name in GROUPS),
    *(f"demand_{name}" for name in GROUPS),
    *(f"size_{name}" for name in GROUPS),
    "text",
)
STRUCTURED = len(INPUTS) - 1
MODELS: Mapping[str, NDArray[np.intp]] = MappingProxyType(
    {
        "structured": np.arange(STRUCTURED),
        "bert": np.array([STRUCTURED]),
        "structured_and_bert": np.arange(len(INPUTS)),
    }
)
Report = Callable[[str], None]


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


def world_groups(world: World) -> Groups:
    """Groups of every item of the world."""
    return Groups(
        departments=world.departments.codes,
        categories=world.categories.codes,
        types=world.types.codes,
        manufacturers=world.manufacturers.codes,
        lines=world.lines,
        variants=world.variants,
    )


@dataclass(frozen=True)
class Shelf:
    """One set of cold items as of an instant, and what is known of them."""

    items: Positions  # (n_cold,) in the world, sorted
    groups: Groups  # of the whole world
    shop: Mapping[str, Floats]  # shares by kind of group
    appeal: Floats  # (2 * n_kinds, n_cold) the same for everybody: demand, then size, of each group
    text: TextAffinity

    def inputs(self, past: PastPurchases) -> Floats:
        """What speaks for each item to one shopper: (n_inputs, n_cold), rows as INPUTS."""
        lifted = lifts(past, self.groups, self.shop)
        own = [lifted[name][getattr(self.groups, name)[self.items]] for name in GROUPS]
        return np.concatenate([np.stack(own), self.appeal, self.text.lifts(past)[None]], dtype=np.float32)


def cold_ids(sources: Sources, window: Window, task: str) -> list[str]:
    """Ids of the cold items of a window, sorted: its novelties, or what was little sold before it."""
    if task == "cold":
        return sources.warehouse.first_sold(window.instant, window.end)
    since = sources.calendar.start(window.first - CATALOGUE_WEEKS)
    return sources.warehouse.rarely_sold(since, window.instant, fewer_than=FEW)


def shelf_of(shop: Shop, window: Window, ids: Sequence[str]) -> Shelf:
    """The shelf of some items as of a window's instant."""
    world = shop.world
    items = np.searchsorted(world.item_ids, np.asarray(ids, dtype=np.str_)).astype(np.int32)
    month, quarter = (world_baskets(shop, window, weeks) for weeks in (4, 13))
    groups = world_groups(world)
    codes = [getattr(groups, name) for name in GROUPS]
    demand = [np.bincount(code, weights=month)[code[items]] for code in codes]
    size = [np.bincount(code, weights=quarter > 0)[code[items]] for code in codes]
    return Shelf(
        items=items,
        groups=groups,
        shop={name: shop_share(code, quarter) for name, code in zip(GROUPS, codes, strict=True)},
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


def buyers_of(sources: Sources, window: Window, ids: Sequence[str]) -> HeldOut:
    """Shoppers who bought cold items for the first time; what they bought, as positions in sorted `ids`."""
    warehouse, purchases = sources.warehouse, sources.warehouse.purchases(window)
    return held_out(
        purchases[purchases["item_id"].isin(set(ids))],
        warehouse.ever_bought(window.instant),
        warehouse.trip_counts(window),
        known=warehouse.user_ids(window.instant),
        item_ids=np.asarray(ids, dtype=np.str_),
        task="discover",
    )


def shoppers_at(shop: Shop, window: Window, user_ids: Sequence[str]) -> list[Shopper]:
    """Shoppers as of a window's instant, their past as positions in the world."""
    entities = entity_frame("user_id", user_ids, [window.instant])
    users = user_rows(shop.sources.store, entities, shop.world.item_ids.tolist())
    return [shopper_at(users, row, window.instant) for row in range(len(users))]


def drawn_rows(shelf: Shelf, past: PastPurchases, bought: Positions, rng: np.random.Generator) -> PoolRows:
    """What one shopper bought of the shelf, and evenly drawn others that weigh as many as they stand for."""
    left = np.setdiff1d(np.arange(len(shelf.items)), bought)
    others = rng.choice(left, size=min(DRAWN, len(left)), replace=False)
    asked = np.concatenate([bought, others])
    return PoolRows(
        inputs=shelf.inputs(past)[:, asked].T,
        bought=np.arange(len(asked)) < len(bought),
        weights=np.concatenate([np.ones(len(bought)), np.full(len(others), len(left) / max(len(others), 1))]),
    )


def window_rows(shop: Shop, window: Window, task: str) -> list[PoolRows]:
    """Rows of one window to fit the weights on."""
    ids = cold_ids(shop.sources, window, task)
    held = buyers_of(shop.sources, window, ids)
    if not len(held):
        return []
    rng = np.random.default_rng(window.first)
    chosen = np.sort(rng.permutation(len(held))[:SHOPPERS])
    shelf = shelf_of(shop, window, ids)
    shoppers = shoppers_at(shop, window, [held.user_ids[number] for number in chosen])
    return [
        drawn_rows(shelf, who.past, held.bought[number], rng)
        for number, who in zip(chosen, shoppers, strict=True)
    ]


def model_weights(rows: Sequence[PoolRows]) -> dict[str, Floats]:
    """Weights of each model over INPUTS, zero for what it does not read."""
    found = {}
    for model, columns in MODELS.items():
        weights = np.zeros(len(INPUTS), dtype=np.float32)
        kept = [PoolRows(one.inputs[:, columns], one.bought, one.weights) for one in rows]
        weights[columns] = fitted_weights(kept) if len(columns) > 1 else 1.0
        found[model] = weights
    return found


def lists_of(
    shelf: Shelf, shoppers: Sequence[Shopper], weights: Mapping[str, Floats]
) -> dict[str, NDArray[np.int32]]:
    """Each model's lists over the shelf, (n_shoppers, DEPTH), -1 where shorter; nothing bought before."""
    matrix = np.stack(list(weights.values()))
    lists = {model: np.full((len(shoppers), DEPTH), -1, dtype=np.int32) for model in weights}
    for row, who in enumerate(shoppers):
        allowed = ~np.isin(shelf.items, who.past.items)
        for model, scores in zip(weights, matrix @ shelf.inputs(who.past), strict=True):
            items = best(scores, DEPTH, among=allowed)
            lists[model][row, : len(items)] = items
    return lists


def random_lists(n_shoppers: int, n_items: int, *, seed: int = 0) -> NDArray[np.int32]:
    """What ids alone can say of items that were never sold: a new random order for each shopper."""
    rng = np.random.default_rng(seed)
    lists = np.full((n_shoppers, DEPTH), -1, dtype=np.int32)
    for row in lists:
        row[: min(DEPTH, n_items)] = rng.permutation(n_items)[:DEPTH]
    return lists


def source_lists(
    instant: Instant, release: Release, ids: Sequence[str], user_ids: Sequence[str]
) -> dict[str, NDArray[np.int32]]:
    """Lists of the release's own sources over little sold items: positions in `ids`, as `lists_of`.

    `ids_only` is what co-purchase says, which knows items by number alone.
    """
    place = positions_of(release.catalogue.item_ids, np.asarray(ids, dtype=np.str_))
    row_of = {user: row for row, user in enumerate(instant.users.user_ids.tolist())}
    now = datetime.fromisoformat(release.manifest["as_of"])
    lists = {name: np.full((len(user_ids), DEPTH), -1, dtype=np.int32) for name in ("ids_only", "two_tower")}
    for row, user_id in enumerate(user_ids):
        who = shopper_at(instant.users, row_of[user_id], now, instant.place)
        thought = opinions(release, who).scores
        allowed = (place >= 0) & ~np.isin(place, who.past.items)
        for name, source in (("ids_only", "co_purchase"), ("two_tower", "two_tower")):
            items = best(thought[source][place], DEPTH, among=allowed)
            lists[name][row, : len(items)] = items
    return lists


def measured(
    sources: Sources, split: Split, instant: Instant, release: Release, report: Report
) -> pd.DataFrame:
    """Values per shopper of every model on both sets of cold items; empty where nobody bought any."""
    shop = Shop.until(sources, split.test.end)
    found = [pd.DataFrame()]
    for task, windows in TASKS.items():
        rows = [row for one in split.ranker[-windows:] for row in window_rows(shop, one, task)]
        ids = cold_ids(sources, split.test, task)
        held = buyers_of(sources, split.test, ids)
        if not rows or not len(held):
            report(f"{task:<8} nobody bought any; not measured")
            continue
        shelf = shelf_of(shop, split.test, ids)
        if task == "cold":
            lists = {"ids_only": random_lists(len(held), len(ids))}
        else:
            lists = source_lists(instant, release, ids, held.user_ids)
        shoppers = shoppers_at(shop, split.test, held.user_ids)
        lists |= lists_of(shelf, shoppers, model_weights(rows))
        for model, ranked in lists.items():
            values = values_of(model, task, held, ranked, len(ids))
            report(summary(values))
            found.append(values)
    return pd.concat(found, ignore_index=True)
