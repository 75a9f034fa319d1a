"""Cold items: which they are, and that what is known of them is what raw lines say."""

import numpy as np
import pytest

from bentos.affinity import PRIOR
from feature_repo.pair_features import PastPurchases
from training import cold_items
from training.cold_items import INPUTS, Shop, cold_ids, model_weights, random_lists
from training.pool import PoolRows
from training.split import temporal_split
from training.text_affinity import LEAST, RARE, SHARPNESS, TextAffinity, text_codes


@pytest.fixture(scope="module")
def test_window(sources):
    """Weeks 50 and 51."""
    return temporal_split(sources.calendar, 49).test


def test_cold_items_were_never_sold_before_the_window_and_are_sold_in_it(sources, test_window):
    """Recounted line by line."""
    lines = sources.warehouse.frame(
        "SELECT item_id, event_timestamp AS at FROM transactions WHERE quantity > 0", []
    )
    before = set(lines["item_id"][lines["at"] <= test_window.instant])
    within = set(lines["item_id"][(lines["at"] > test_window.instant) & (lines["at"] <= test_window.end)])
    assert cold_ids(sources, test_window, "cold") == sorted(within - before)
    assert within - before


def test_few_sales_are_fewer_than_five_baskets_ever(sources, test_window):
    """Each item's baskets, counted one by one."""
    lines = sources.warehouse.frame(
        "SELECT item_id, user_id, basket_id FROM transactions WHERE quantity > 0 AND event_timestamp < ?",
        [test_window.instant],
    )
    baskets = {
        item: len(set(zip(rows["user_id"], rows["basket_id"], strict=True)))
        for item, rows in lines.groupby("item_id")
    }
    found = cold_ids(sources, test_window, "few_sales")
    assert found
    assert max(baskets[item] for item in found) < cold_items.FEW


def test_text_affinity_is_the_likeness_weighted_share_over_the_shops():
    """Against one item after another; two items share a text."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(6, 4)).astype(np.float32)
    vectors[4] = vectors[1]
    baskets = np.array([5, 1, 0, 2, 3, 0], np.float32)
    past = PastPurchases(
        items=np.array([0, 4], np.int32),
        counts=np.ones(2, np.float32),
        decayed=np.array([0.5, 2.0], np.float32),
        days_since=np.ones(2, np.float32),
    )
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


def test_the_inputs_of_a_shelf_know_nothing_of_the_window(sources, test_window):
    """Demand of each item's type, from raw lines before the window alone."""
    shop = Shop.until(sources, test_window.end)
    ids = cold_ids(sources, test_window, "cold")
    shelf = cold_items.shelf_of(shop, test_window, ids)
    types = sources.warehouse.items()["category_3"]
    since = sources.calendar.start(test_window.first - 4)
    lines = sources.warehouse.frame(
        "SELECT DISTINCT user_id, basket_id, item_id FROM transactions"
        " WHERE quantity > 0 AND event_timestamp >= ? AND event_timestamp < ?",
        [since, test_window.instant],
    )
    of_type = lines["item_id"].map(types).value_counts()
    demand = shelf.appeal[INPUTS.index("demand_types") - 6]
    expected = [np.log1p(of_type.get(types[item], 0)) for item in ids]
    np.testing.assert_allclose(demand, expected, rtol=1e-5)
