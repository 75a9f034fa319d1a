"""Cold items: how well those can be ranked, among themselves, of which no sale or few tell anything.

Two sets at each cut: `cold`, first sold in the test window, and `few_sales`, sold within half a year before
it but in fewer than FEW baskets ever. Each is ranked for the shoppers who bought something of it that they
had never bought. Models: ids alone, structured columns (lifts of the item's groups, and how those sell),
BERT's text affinity, and both; weights are fitted on the last of the ranker's windows, on what was first
sold in them.

Which items will be first sold in a window is known only after it: the figures compare models, and say
nothing of how good a list of a shop's novelties would be.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bentos.candidates import opinions
from bentos.index import best
from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import Floats, PastPurchases, Positions
from feature_repo.positions import positions_of
from training.cold_shelf import INPUTS, Shelf, Shop, shelf_of
from training.fit import Instant, Sources
from training.held_out import HeldOut, held_out
from training.per_shopper import DEPTH, summary, values_of
from training.point_in_time import entity_frame, user_rows
from training.pool import PoolRows, fitted_weights
from training.rankings import shoppers_of
from training.shoppers import shopper_at
from training.split import CATALOGUE_WEEKS, Split, Window

FEW = 5
DRAWN = 60  # items not bought, for each shopper, that the weights are fitted against
SHOPPERS = 400  # of each window, to fit on
WINDOWS = 2  # of the ranker's, the last, to fit on
TASKS = ("cold", "few_sales")
STRUCTURED = len(INPUTS) - 1
MODELS: Mapping[str, NDArray[np.intp]] = MappingProxyType(
    {
        "structured": np.arange(STRUCTURED),
        "bert": np.array([STRUCTURED]),
        "structured_and_bert": np.arange(len(INPUTS)),
    }
)
Report = Callable[[str], None]


def cold_ids(sources: Sources, window: Window, task: str) -> list[str]:
    """Ids of the cold items of a window, sorted: its novelties, or what was little sold before it."""
    if task == "cold":
        return sources.warehouse.first_sold(window.instant, window.end)
    since = sources.calendar.start(window.first - CATALOGUE_WEEKS)
    return sources.warehouse.rarely_sold(since, window.instant, fewer_than=FEW)


def buyers_of(sources: Sources, window: Window, ids: Sequence[str]) -> HeldOut:
    """Shoppers who bought cold items for the first time; what they bought, as positions in sorted `ids`."""
    warehouse, purchases = sources.warehouse, sources.warehouse.purchases(window)
    bought, before = purchases[purchases["item_id"].isin(ids)], warehouse.ever_bought(window.instant)
    return held_out(
        bought,
        before[before["user_id"].isin(bought["user_id"]) | before["item_id"].isin(ids)],
        warehouse.trip_counts(window),
        known=warehouse.user_ids(window.instant),
        item_ids=np.asarray(ids, dtype=np.str_),
        task="discover",
    )


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


def window_rows(shop: Shop, window: Window) -> list[PoolRows]:
    """Rows of one window to fit the weights on."""
    ids = cold_ids(shop.sources, window, "cold")
    held = buyers_of(shop.sources, window, ids)
    if not len(held):
        return []
    rng = np.random.default_rng(window.first)
    chosen = np.sort(rng.permutation(len(held))[:SHOPPERS])
    shelf = shelf_of(shop, window, ids)
    entities = entity_frame("user_id", [held.user_ids[number] for number in chosen], [window.instant])
    users = user_rows(shop.sources.store, entities, shop.world.item_ids.tolist())
    return [
        drawn_rows(shelf, shopper_at(users, row, window.instant).past, held.bought[number], rng)
        for row, number in enumerate(chosen)
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
    shelf: Shelf, shoppers: Sequence[Shopper], catalogue: Positions, weights: Mapping[str, Floats]
) -> dict[str, NDArray[np.int32]]:
    """Each model's lists over the shelf, (n_shoppers, DEPTH), -1 where shorter; nothing bought before.

    `catalogue` (n_catalogue,) are the positions in the world of what the shoppers' past points to.
    """
    matrix = np.stack(list(weights.values()))
    lists = {model: np.full((len(shoppers), DEPTH), -1, dtype=np.int32) for model in weights}
    for row, who in enumerate(shoppers):
        past = replace(who.past, items=catalogue[who.past.items])
        allowed = ~np.isin(shelf.items, past.items)
        for model, scores in zip(weights, matrix @ shelf.inputs(past), strict=True):
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
    release: Release, ids: Sequence[str], shoppers: Sequence[Shopper]
) -> dict[str, NDArray[np.int32]]:
    """Lists of the release's own sources over little sold items: positions in `ids`, as `lists_of`.

    `ids_only` is what co-purchase says, which knows items by number alone. The shoppers' past are positions
    in the release's catalogue.
    """
    place = positions_of(release.catalogue.item_ids, np.asarray(ids, dtype=np.str_))
    lists = {name: np.full((len(shoppers), DEPTH), -1, dtype=np.int32) for name in ("ids_only", "two_tower")}
    for row, who in enumerate(shoppers):
        thought = opinions(release, who)
        allowed = (place >= 0) & ~np.isin(place, who.past.items)
        for name, source in (("ids_only", "co_purchase"), ("two_tower", "two_tower")):
            items = best(thought.scores[source][place], DEPTH, among=allowed)
            lists[name][row, : len(items)] = items
    return lists


def measured(
    sources: Sources, split: Split, instant: Instant, release: Release, report: Report
) -> pd.DataFrame:
    """Values per shopper of every model on both sets of cold items; empty where nobody bought any."""
    shop = Shop.until(sources, split.test.end)
    rows = [row for one in split.ranker[-WINDOWS:] for row in window_rows(shop, one)]
    weights = model_weights(rows) if rows else {}
    found = [pd.DataFrame()]
    for task in TASKS:
        ids = cold_ids(sources, split.test, task)
        held = buyers_of(sources, split.test, ids)
        if not weights or not len(held):
            report(f"{task:<8} nobody bought any; not measured")
            continue
        shoppers = shoppers_of(instant, held.user_ids, split.test.instant)
        if task == "cold":
            lists = {"ids_only": random_lists(len(held), len(ids))}
        else:
            lists = source_lists(release, ids, shoppers)
        catalogue = positions_of(shop.world.item_ids, release.catalogue.item_ids)
        lists |= lists_of(shelf_of(shop, split.test, ids), shoppers, catalogue, weights)
        for model, ranked in lists.items():
            values = values_of(model, task, held, ranked, len(ids))
            report(summary(values))
            found.append(values)
    return pd.concat(found, ignore_index=True)
