"""The held-out truth: whose purchases count in which task."""

import numpy as np
import pandas as pd
import pytest

from training.held_out import held_out

ITEMS = np.array(["i1", "i3", "i5"])
BOUGHT = pd.DataFrame(
    [("b", "i3", 2.0), ("b", "i4", 5.0), ("a", "i5", -1.0), ("a", "i1", 3.0), ("new", "i1", 1.0)],
    columns=["user_id", "item_id", "revenue"],
)
BEFORE = pd.DataFrame([("a", "i1"), ("b", "i3"), ("b", "i4")], columns=["user_id", "item_id"])


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("all", {"a": {(2, -1.0), (0, 3.0)}, "b": {(1, 2.0), (-1, 5.0)}}),
        ("discover", {"a": {(2, -1.0)}}),
    ],
)
def test_purchases_of_known_shoppers_count(task, expected):
    """Items outside the catalogue are -1; discover drops what was bought before, and who has nothing left."""
    held = held_out(BOUGHT, BEFORE, known=["a", "b"], item_ids=ITEMS, task=task)
    found = {
        user: set(zip(items.tolist(), worth.tolist(), strict=True))
        for user, items, worth in zip(held.user_ids, held.bought, held.revenue, strict=True)
    }
    assert found == expected
    assert held.user_ids == sorted(expected)


def test_truth_counts_money_paid_only():
    """The truth has every shopper's items, and what was paid back weighs nothing."""
    truth = held_out(BOUGHT, BEFORE, known=["a", "b"], item_ids=ITEMS, task="all").truth
    assert truth.sizes.tolist() == [2, 2]
    assert truth.total_weights.tolist() == [3.0, 7.0]
