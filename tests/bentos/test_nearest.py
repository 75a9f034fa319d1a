"""The index of the two towers' item side, against inner products with every item."""

from dataclasses import replace

import numpy as np
import pytest
from large_release import N_FACTORS, N_TASTE, large_release, shopper_of

from bentos.candidates import opinions
from bentos.nearest import STEP, maps, moment, nearest
from bentos.towers import item_side, query_side

N_ITEMS = 20_000


@pytest.fixture(scope="module")
def planted():
    """A release of 20,000 items, as an index of 100 lists would have it."""
    return large_release(N_ITEMS)


@pytest.fixture
def lists(planted, monkeypatch):
    """About 100 lists, of which a query reads ten."""
    pytest.importorskip("faiss", reason="needs faiss: pip install 'endcap[large]'")
    monkeypatch.setattr("bentos.nearest.LIST", 200)
    monkeypatch.setattr("bentos.nearest.PROBES", 10)
    return nearest(planted)


def side(release, seed):
    """One shopper's side of the inner product."""
    thought = opinions(release, shopper_of(release, seed))
    return query_side(release, thought.factors, thought.query)


def test_an_inner_product_of_both_sides_is_the_two_towers_score(planted):
    """Factors, tastes and sales in one."""
    thought = opinions(planted, shopper_of(planted, 1))
    items = item_side(planted, np.arange(N_ITEMS, dtype=np.int32))
    assert items.shape == (N_ITEMS, N_FACTORS + N_TASTE + 1)
    np.testing.assert_allclose(items @ side(planted, 1), thought.scores["two_tower"], rtol=1e-4, atol=1e-4)


def test_a_tenth_of_the_lists_holds_most_of_the_nearest(planted, lists):
    """Of the 200 items of the greatest inner product; found were 93 %."""
    items = item_side(planted, np.arange(N_ITEMS, dtype=np.int32))
    held = []
    for seed in range(12):
        query = side(planted, seed)
        nearest_200 = np.argsort(-(items @ query), kind="stable")[:200]
        found = lists.items(query, 200)
        assert len(found) == len(set(found.tolist())) == 200
        held.append(np.isin(nearest_200, found).mean())
    assert np.mean(held) >= 0.9


def test_all_lists_hold_all_items(planted, lists):
    """Nothing is lost in a list that no query reads."""
    lists.lists.nprobe = lists.lists.nlist
    assert sorted(lists.items(side(planted, 0), N_ITEMS).tolist()) == list(range(N_ITEMS))


def test_probed_lists_that_are_too_short_give_what_they_hold(planted, lists):
    """No position below zero, as faiss fills up with."""
    lists.lists.nprobe = 1
    found = lists.items(side(planted, 0), N_ITEMS)
    assert 0 < len(found) < N_ITEMS
    assert found.min() >= 0


def test_maps_keep_inner_products_and_measure_differences_of_scores():
    """A squared distance is the mean square of what the scores of two items differ by."""
    rng = np.random.default_rng(3)
    queries, items = rng.normal(size=(400, 5)) * [3, 2, 1, 0.5, 0.1], rng.normal(size=(30, 5))
    to_items, of_query = maps(queries.T @ queries / len(queries))
    assert to_items.shape == of_query.shape == (5, STEP)
    mapped = items @ to_items
    np.testing.assert_allclose((queries @ of_query) @ mapped.T, queries @ items.T, rtol=1e-4, atol=1e-4)
    apart = np.mean(np.square(queries @ (items[1:] - items[:-1]).T), axis=0)
    np.testing.assert_allclose(np.square(np.diff(mapped, axis=0)).sum(axis=1), apart, rtol=0.05)


@pytest.mark.parametrize("panel", ["none", "one"])
def test_a_panel_of_few_leaves_no_direction_out(planted, panel):
    """Directions that no shopper of the panel has are kept, too: inner products stay what they are."""
    vectors = np.eye(N_FACTORS, dtype=np.float32)[: 1 if panel == "one" else 0]
    few = replace(planted, arrays={**planted.arrays, "panel_vectors": vectors})
    to_items, of_query = maps(moment(few))
    np.testing.assert_allclose(to_items @ of_query.T, np.eye(len(to_items)), atol=1e-5)
