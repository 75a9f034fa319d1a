"""CTR proxy: what counting basket by basket gives."""

import doctest

import numpy as np
import pandas as pd
import pytest

from training import trips as module
from training.held_out import held_out, held_out_of
from training.metrics import OUTSIDE
from training.per_shopper import CTR_PROXY, values_of
from training.split import temporal_split
from training.trips import ctr_proxy


def by_basket(row, baskets, k):
    """One shopper's value: the mean over baskets of the share of the first k slots that each holds."""
    top = [item for item in row[:k] if item != OUTSIDE]
    return np.mean([len(set(top) & basket) / k for basket in baskets])


def test_examples_in_docstrings_hold():
    """Doctests of the module run."""
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("task", ["all", "discover"])
def test_values_are_those_of_single_baskets(task):
    """All trips count; discover clicks on new items only, on every trip that has them."""
    rng = np.random.default_rng(2)
    ids = np.array([f"i{n:02}" for n in range(30)])
    catalogue = ids[:24]  # the rest is sold, but cannot be recommended
    lines = pd.DataFrame(
        [
            (f"u{user}", f"b{user}-{trip}", item)
            for user in range(20)
            for trip in range(rng.integers(1, 6))
            for item in rng.choice(ids, rng.integers(1, 9), replace=False)
        ],
        columns=["user_id", "basket_id", "item_id"],
    )
    before = pd.DataFrame(
        [(f"u{user}", item) for user in range(20) for item in rng.choice(ids, 10, replace=False)],
        columns=["user_id", "item_id"],
    )
    purchases = lines.groupby(["user_id", "item_id"], as_index=False).agg(trips=("basket_id", "nunique"))
    held = held_out(
        purchases.assign(revenue=1.0),
        before,
        lines.groupby("user_id", as_index=False).agg(trips=("basket_id", "nunique")),
        known=sorted(lines["user_id"].unique()),
        item_ids=catalogue,
        task=task,
    )
    ranked = np.stack([rng.permutation(24)[:8] for _ in held.user_ids])
    ranked[0, 2:] = OUTSIDE
    known_pairs = set(before.itertuples(index=False, name=None))
    expected = []
    for user, row in zip(held.user_ids, ranked, strict=True):
        baskets = [
            {int(item[1:]) for item in basket["item_id"] if task == "all" or (user, item) not in known_pairs}
            for _, basket in lines[lines["user_id"] == user].groupby("basket_id")
        ]
        expected.append(by_basket(row, baskets, 5))
    np.testing.assert_allclose(ctr_proxy(ranked, 5, held.truth_by_trips, held.n_trips), expected)
    assert max(expected) > 0


@pytest.mark.parametrize("task", ["all", "discover"])
def test_values_of_recorded_trips_are_those_of_their_baskets(sources, installation, task):
    """On the recorded weeks, a shopper's value is that of their raw baskets."""
    test = temporal_split(sources.calendar, 49).test
    bought = pd.read_parquet(installation.table("transactions")).query("quantity > 0")
    earlier = bought[bought["event_timestamp"] <= test.instant]
    later = bought[(bought["event_timestamp"] > test.instant) & (bought["event_timestamp"] <= test.end)]
    catalogue = np.unique(earlier["item_id"].to_numpy(dtype=np.str_))
    held = held_out_of(sources.warehouse, test, catalogue, task)
    rng = np.random.default_rng(4)
    lists = np.stack([rng.choice(len(catalogue), 10, replace=False) for _ in held.user_ids]).astype(np.int32)
    for row, mine in zip(lists, held.bought, strict=True):  # up to half of each list was bought
        found = mine[mine >= 0][:5]
        row[:] = [*found, *np.setdiff1d(row, found)[: 10 - len(found)]]
    values = values_of("some", task, held, lists, len(catalogue)).set_index("user_id")[CTR_PROXY]
    place = {item: number for number, item in enumerate(catalogue.tolist())}
    for user, row in zip(held.user_ids, lists, strict=True):
        old = set(earlier.loc[earlier["user_id"] == user, "item_id"]) if task == "discover" else set()
        trips = later[later["user_id"] == user].groupby("basket_id")["item_id"].agg(set)
        baskets = [{place.get(item) for item in items - old} for items in trips]
        assert values[user] == pytest.approx(by_basket(row.tolist(), baskets, 10))
    assert values.mean() > 0.05
