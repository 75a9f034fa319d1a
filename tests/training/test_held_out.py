"""The held-out truth: whose purchases count in which task."""

import numpy as np
import pandas as pd
import pytest

from training.held_out import held_out

ITEMS = np.array(["i1", "i3", "i5"])
BOUGHT = pd.DataFrame(
    [
        ("b", "i3", 2.0, 1),
        ("b", "i4", 5.0, 2),
        ("a", "i5", -1.0, 1),
        ("a", "i1", 3.0, 3),
        ("new", "i1", 1.0, 1),
    ],
    columns=["user_id", "item_id", "revenue", "trips"],
)
BEFORE = pd.DataFrame([("a", "i1"), ("b", "i3"), ("b", "i4")], columns=["user_id", "item_id"])
TRIPS = pd.DataFrame([("a", 4), ("b", 2), ("new", 1)], columns=["user_id", "trips"])


def held_of(task):
    """What shoppers a and b are held to; i1 has one buyer of two, i3 one, i5 none."""
    return held_out(BOUGHT, BEFORE, TRIPS, known=["a", "b"], item_ids=ITEMS, task=task)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("all", {"a": {(2, -1.0), (0, 3.0)}, "b": {(1, 2.0), (-1, 5.0)}}),
        ("discover", {"a": {(2, -1.0)}}),
    ],
)
def test_purchases_of_known_shoppers_count(task, expected):
    """Items outside the catalogue are -1; discover drops what was bought before, and who has nothing left."""
    held = held_of(task)
    found = {
        user: set(zip(items.tolist(), worth.tolist(), strict=True))
        for user, items, worth in zip(held.user_ids, held.bought, held.revenue, strict=True)
    }
    assert found == expected
    assert held.user_ids == sorted(expected)


def test_truth_counts_money_paid_only():
    """The truth has every shopper's items, and what was paid back weighs nothing."""
    truth = held_of("all").truth
    assert truth.sizes.tolist() == [2, 2]
    assert truth.total_weights.tolist() == [3.0, 7.0]


def test_trips_of_all_kinds_count_beside_those_of_each_item():
    """Each item has the trips that had it; a shopper's trips are all of the window's, in both tasks."""
    held = held_of("all")
    assert [items.tolist() for items in held.bought] == [[2, 0], [1, -1]]
    assert [trips.tolist() for trips in held.trips_with] == [[1, 3], [1, 2]]
    assert held.n_trips.tolist() == [4, 2]
    assert held_of("discover").n_trips.tolist() == [4]


def test_what_was_bought_before_is_known_item_by_item():
    """Repeats are marked, also of items outside the catalogue; the past has everything ever bought."""
    held = held_of("all")
    assert [again.tolist() for again in held.repeat] == [[False, True], [True, True]]
    assert [sorted(past.tolist()) for past in held.past] == [[0], [-1, 1]]
    assert not np.concatenate(held_of("discover").repeat).any()


def test_items_that_fewer_bought_carry_more_information():
    """An item of one buyer in two is worth one bit, and so is one without a buyer."""
    assert held_of("discover").information.tolist() == [1.0, 1.0, 1.0]
    both = pd.concat([BEFORE, pd.DataFrame([("b", "i1")], columns=["user_id", "item_id"])])
    held = held_out(BOUGHT, both, TRIPS, known=["a", "b"], item_ids=ITEMS, task="all")
    assert held.information.tolist() == [0.0, 1.0, 1.0]
