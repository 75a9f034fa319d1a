"""Cold items: which they are, and that what is known of them is what raw lines say."""

from collections import defaultdict
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from table_files import first_part

from bentos.affinity import PRIOR
from feature_repo.pair_features import GROUPS, PastPurchases
from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from training import cold_items
from training.cold_items import buyers_of, cold_ids, lists_of, model_weights, random_lists
from training.cold_shelf import INPUTS, Shop, shelf_of
from training.fit import Sources
from training.pool import PoolRows
from training.purchases import world_groups
from training.split import temporal_split
from training.text_affinity import LEAST, RARE, SHARPNESS, TextAffinity, text_codes
from training.warehouse import Warehouse
from training.world import Grouping, World

CALENDAR = ShopCalendar("America/New_York", date(2016, 12, 26))
N_ITEMS = 300


@pytest.fixture(scope="module")
def lines():
    """Random lines of 50 weeks; an item's first sale comes late for some, and many are rarely sold."""
    rng = np.random.default_rng(1)
    n = 6000
    week = rng.integers(1, 52, n)
    items = np.minimum((rng.pareto(0.7, n) * 3).astype(int), N_ITEMS - 1)
    late = items % 5 == 0
    week[late] = rng.integers(49, 52, late.sum())
    at = [
        CALENDAR.start(int(w)) + timedelta(hours=float(h))
        for w, h in zip(week, rng.uniform(0, 167, n), strict=True)
    ]
    return pd.DataFrame(
        {
            "user_id": [f"u{user}" for user in rng.integers(0, 40, n)],
            "item_id": [f"i{item:03d}" for item in items],
            "basket_id": [f"b{basket}" for basket in rng.integers(0, 900, n)],
            "quantity": rng.integers(0, 3, n),
            "price_paid": 1.0,
            "event_timestamp": pd.DatetimeIndex(at).as_unit("us"),
        }
    )


@pytest.fixture(scope="module")
def sources(lines, tmp_path_factory):
    """The lines as tables of an installation without features."""
    folder = tmp_path_factory.mktemp("cold")
    settings = Settings(state=folder, reports=folder, threads=1)
    lines.to_parquet(first_part(settings, "transactions"))
    pd.DataFrame({"item_id": ["i000"]}).to_parquet(first_part(settings, "items"))
    return Sources(Warehouse.of(settings), store=None, calendar=CALENDAR, department_slots=[])


@pytest.fixture(scope="module")
def test_window():
    """Weeks 50 and 51."""
    return temporal_split(CALENDAR, 49).test


@pytest.fixture(scope="module")
def shop(sources):
    """All items, in random groups, with random texts."""
    rng = np.random.default_rng(2)

    def codes(n):
        return rng.integers(0, n, N_ITEMS).astype(np.int32)

    vectors = rng.normal(size=(60, 8)).astype(np.float32)[codes(60)]
    world = World(
        item_ids=np.array([f"i{item:03d}" for item in range(N_ITEMS)]),
        titles=np.full(N_ITEMS, "title"),
        **{
            name: Grouping(codes(n), np.array([str(code) for code in range(n)]))
            for name, n in (("departments", 3), ("categories", 8), ("types", 20), ("manufacturers", 9))
        },
        lines=codes(60),
        variants=codes(120),
        text_vectors=vectors,
    )
    return Shop(sources, world, text_codes(vectors))


def past_of(items, decayed):
    """A past of some items, a day ago."""
    ones = np.ones(len(items), np.float32)
    return PastPurchases(items, ones, decayed, ones, ones, ones)


def between(lines, start, end):
    """Lines with something sold, from one instant up to before another."""
    return lines[(lines.quantity > 0) & (lines.event_timestamp >= start) & (lines.event_timestamp < end)]


def test_cold_items_were_never_sold_before_the_window_and_are_sold_in_it(lines, sources, test_window):
    """Recounted line by line."""
    before = set(between(lines, CALENDAR.start(1), test_window.instant).item_id)
    within = set(between(lines, test_window.instant, test_window.end).item_id)
    assert cold_ids(sources, test_window, "cold") == sorted(within - before)
    assert within - before


def test_few_sales_are_fewer_than_five_baskets_ever_and_one_within_half_a_year(lines, sources, test_window):
    """Each item's baskets, counted one by one."""
    baskets, latest = defaultdict(set), {}
    for row in between(lines, CALENDAR.start(1), test_window.instant).itertuples():
        baskets[row.item_id].add((row.user_id, row.basket_id))
        latest[row.item_id] = max(latest.get(row.item_id, row.event_timestamp), row.event_timestamp)
    since = CALENDAR.start(50 - 26)
    expected = {item for item in baskets if len(baskets[item]) < cold_items.FEW and latest[item] >= since}
    assert cold_ids(sources, test_window, "few_sales") == sorted(expected)
    assert 0 < len(expected) < len(baskets)


@pytest.mark.parametrize("task", cold_items.TASKS)
def test_buyers_are_those_who_never_had_what_they_bought_of_the_set(lines, sources, test_window, task):
    """By a loop over the lines; what is new to a shopper alone is to be found."""
    ids = cold_ids(sources, test_window, task)
    before = between(lines, CALENDAR.start(1), test_window.instant)
    had, known = set(zip(before.user_id, before.item_id, strict=True)), set(before.user_id)
    expected = defaultdict(set)
    for row in between(lines, test_window.instant, test_window.end).itertuples():
        if row.item_id in ids and row.user_id in known and (row.user_id, row.item_id) not in had:
            expected[row.user_id].add(row.item_id)
    held = buyers_of(sources, test_window, ids)
    found = {
        user: {ids[item] for item in mine} for user, mine in zip(held.user_ids, held.bought, strict=True)
    }
    assert found == expected
    buyers = before[before.item_id.isin(ids)].groupby("item_id").user_id.nunique().reindex(ids).fillna(0)
    np.testing.assert_allclose(held.information, np.log2(len(known) / np.maximum(buyers, 1)))


def test_text_affinity_is_the_likeness_weighted_share_over_the_shops():
    """Against one item after another; two items share a text."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(6, 4)).astype(np.float32)
    vectors[4] = vectors[1]
    baskets = np.array([5, 1, 0, 2, 3, 0], np.float32)
    past = past_of(np.array([0, 4], np.int32), np.array([0.5, 2.0], np.float32))
    asked = np.array([2, 4, 5], np.int32)
    found = TextAffinity.of(vectors, text_codes(vectors), baskets, asked).lifts(past)
    centred = vectors - vectors[baskets > 0].mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    for item, value in zip(asked, found, strict=True):
        like = [np.exp(SHARPNESS * (float(centred[item] @ other) - 1)) for other in centred]
        shop = sum(w * k for w, k in zip(baskets, like, strict=True)) / baskets.sum()
        own = 0.5 * like[0] + 2.0 * like[4]
        expected = np.log((own + PRIOR * shop + LEAST) / ((2.5 + PRIOR) * (shop + RARE)))
        assert value == pytest.approx(expected, abs=1e-4)


def test_a_model_reads_its_own_columns_only():
    """Purchases that follow the text alone move BERT's models and leave the structured one's text at zero."""
    rng = np.random.default_rng(5)
    rows = []
    for _ in range(50):
        inputs = rng.normal(size=(60, len(INPUTS))).astype(np.float32)
        bought = rng.random(60) < 1 / (1 + np.exp(2.0 - 1.5 * inputs[:, -1]))
        rows.append(PoolRows(inputs, bought, np.ones(60)))
    weights = model_weights(rows)
    assert weights["structured"][-1] == 0
    assert np.abs(weights["structured"]).max() < 0.2
    assert np.flatnonzero(weights["bert"]).tolist() == [len(INPUTS) - 1]
    assert weights["structured_and_bert"][-1] == pytest.approx(1.5, abs=0.2)


def test_random_orders_hold_each_item_once_and_differ_between_shoppers():
    """A permutation a shopper, the same at every call."""
    lists = random_lists(2, 40)
    assert sorted(lists[0][:40].tolist()) == list(range(40))
    assert lists[0].tolist() != lists[1].tolist()
    assert (lists[:, 40:] == -1).all()
    np.testing.assert_array_equal(lists, random_lists(2, 40))


@pytest.mark.parametrize("kind", GROUPS)
def test_the_inputs_of_a_shelf_know_nothing_of_the_window(lines, shop, test_window, kind):
    """Demand, size and lift of each item's group, from raw lines before the window alone."""
    ids = cold_ids(shop.sources, test_window, "cold")
    shelf = shelf_of(shop, test_window, ids)
    of_group = getattr(world_groups(shop.world), kind)
    past = past_of(np.array([7, 41], np.int32), np.array([1.5, 3.0], np.float32))
    baskets = {}
    for weeks in (4, 13):
        rows = between(lines, CALENDAR.start(50 - weeks), test_window.instant)
        baskets[weeks] = rows.drop_duplicates(["user_id", "basket_id", "item_id"]).item_id.str[1:].astype(int)
    n_groups = of_group.max() + 1
    demand, sold = (np.zeros(n_groups) for _ in range(2))
    np.add.at(demand, of_group[baskets[4]], 1)
    np.add.at(sold, of_group[baskets[13]], 1)
    share = (sold + 0.5) / (sold + 0.5).sum()
    own = 1.5 * (of_group[7] == np.arange(n_groups)) + 3.0 * (of_group[41] == np.arange(n_groups))
    lift = np.log((own + PRIOR * share) / ((4.5 + PRIOR) * share))
    size = np.bincount(of_group[baskets[13].unique()], minlength=n_groups)
    expected = {"lift": lift, "demand": np.log1p(demand), "size": np.log1p(size)}
    found = shelf.inputs(past)
    groups = of_group[[int(item[1:]) for item in ids]]
    for name, values in expected.items():
        np.testing.assert_allclose(
            found[INPUTS.index(f"{name}_{kind}")], values[groups], rtol=1e-4, atol=1e-5
        )


def test_lists_hold_the_best_of_the_shelf_that_a_shopper_never_had(shop, test_window, user_rows_of):
    """Shoppers' pasts point into a catalogue that lacks some of the world's items."""
    ids = cold_ids(shop.sources, test_window, "few_sales")
    shelf = shelf_of(shop, test_window, ids)
    catalogue = np.arange(0, N_ITEMS, 2, dtype=np.int32)
    had = int(shelf.items[shelf.items % 2 == 0][0])
    who = cold_items.shopper_at(
        user_rows_of({"ann": {had // 2: (1, 1.0, 3)}}, test_window.instant), 0, test_window.instant
    )
    weights = np.random.default_rng(4).normal(size=len(INPUTS)).astype(np.float32)
    found = lists_of(shelf, [who], catalogue, {"any": weights})["any"][0]
    past = replace(who.past, items=np.array([had], np.int32))
    scores = {
        item: score for item, score in enumerate(weights @ shelf.inputs(past)) if shelf.items[item] != had
    }
    assert found[: len(scores)].tolist() == sorted(scores, key=lambda item: -scores[item])[: len(found)]
    assert len(scores) == len(ids) - 1
