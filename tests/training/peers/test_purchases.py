"""Matrices of purchases: what was known at the cut, counted by loops over lines."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from table_files import first_part

from feature_repo.settings import Settings
from training.peers.purchases import purchases_before
from training.warehouse import Warehouse

NOW = datetime(2024, 3, 4, tzinfo=UTC)
LINES = [  # user, item, basket, weeks before the cut, quantity
    ("b", "i1", "1", 4, 1),
    ("b", "i2", "1", 4, 1),
    ("b", "i1", "2", 2, 1),
    ("b", "i1", "2", 2, 3),  # the same item twice in one basket
    ("b", "i9", "3", 1, 1),  # outside the catalogue, yet a basket
    ("b", "i2", "4", 0, 1),  # at the very instant
    ("b", "i3", "5", -1, 1),  # not known yet
    ("a", "i3", "6", 3, 1),
    ("a", "i1", "7", 3, -1),  # brought back
    ("c", "i3", "8", -1, 1),  # nobody knows them yet
]


@pytest.fixture
def known(tmp_path):
    """What is known at the cut of a shop with these lines."""
    settings = Settings(state=tmp_path, reports=tmp_path, threads=1)
    frame = pd.DataFrame(LINES, columns=["user_id", "item_id", "basket_id", "weeks", "quantity"])
    stamps = [NOW - timedelta(weeks=weeks) for weeks in frame.pop("weeks")]
    frame.assign(event_timestamp=pd.DatetimeIndex(stamps).as_unit("us"), price_paid=1.0).to_parquet(
        first_part(settings, "transactions")
    )
    pd.DataFrame({"item_id": ["i1"]}).to_parquet(first_part(settings, "items"))
    return purchases_before(Warehouse.of(settings), NOW, np.array(["i1", "i2", "i3"]))


def test_only_what_was_known_counts(known):
    """Later lines, returns and items outside the catalogue are left out; a basket counts once."""
    assert known.user_ids.tolist() == ["a", "b"]
    assert known.counts(np.inf).toarray().tolist() == [[0, 0, 1], [2, 2, 0]]
    assert known.binary.toarray().tolist() == [[0, 0, 1], [1, 1, 0]]


def test_counts_halve_with_every_half_life(known):
    """A basket of four weeks ago weighs a quarter at a half-life of two weeks; logs are of one more."""
    expected = [[0, 0, 0.5**1.5], [0.25 + 0.5, 0.25 + 1, 0]]
    np.testing.assert_allclose(known.counts(2).toarray(), expected, rtol=1e-6)
    np.testing.assert_allclose(known.log_counts(2).toarray(), np.log1p(expected), rtol=1e-6)


def test_baskets_are_counted_back_from_the_latest(known):
    """Baskets without any item of the catalogue count too."""
    of_b = known.users == 1
    found = set(zip(known.items[of_b].tolist(), known.baskets_since[of_b].tolist(), strict=True))
    assert found == {(0, 3), (1, 3), (0, 2), (1, 0)}


def test_popularity_is_of_the_last_weeks(known):
    """Baskets of up to two weeks ago: one with the first item, one with the second."""
    assert known.popularity(weeks=2).tolist() == [1, 1, 0]


def test_unknown_user_is_named(known):
    """Rows are found by id; who bought nothing before the cut is refused by name."""
    assert known.rows_of(["b", "a"]).tolist() == [1, 0]
    with pytest.raises(ValueError, match="'c' bought nothing before the cut"):
        known.rows_of(["a", "c"])
