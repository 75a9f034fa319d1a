"""The recount in SQL equals plain loops over a nasty shop, and tells rows that are a day off."""

from datetime import timedelta

import numpy as np
import pytest
from feature_rows import CALENDAR, N_DEPARTMENTS, nasty_shop
from raw_features import RawFeatures

from training.recount import Recount, differences, equal, history_differences

WEEKS = (3, 5, 6, 9, 15, 23, 24, 28, 31)  # both changes of the clocks among their ends


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The nasty shop's tables."""
    return nasty_shop().write(tmp_path_factory.mktemp("recount"))


@pytest.fixture(scope="module")
def slots():
    """Departments by slot: some of them, and the rest."""
    return [*sorted(f"D{n:02d}" for n in range(N_DEPARTMENTS))[:30], "(other)"]


@pytest.fixture(scope="module")
def raw(settings, slots):
    """The slow reference."""
    return RawFeatures(settings, CALENDAR, slots)


@pytest.fixture(scope="module")
def recount(settings, slots):
    """What is tested."""
    return Recount(settings, CALENDAR.timezone, slots)


def test_users_equal_plain_loops(raw, recount):
    """Every feature of every user at week ends, those of whom nothing is known as None."""
    asked = [(user, CALENDAR.end(week)) for user in raw.by_user for week in WEEKS]
    found = recount.users(*zip(*asked, strict=True))
    for (user, end), row in zip(asked, found, strict=True):
        expected = raw.user_stats(user, end)
        assert (row is None) == (expected is None)
        if row is not None:
            assert row.keys() == expected.keys()
            assert differences(expected, row) == [], (user, end)


def test_items_equal_plain_loops(raw, recount):
    """Every feature of every item at week ends; None while it was not sold for half a year."""
    asked = [(item, CALENDAR.end(week)) for item in raw.by_item for week in WEEKS]
    found = recount.items(*zip(*asked, strict=True))
    for (item, end), row in zip(asked, found, strict=True):
        expected = raw.item_stats(item, end)
        assert (row is None) == (expected is None)
        if row is not None:
            assert row.keys() == expected.keys()
            assert differences(expected, row) == [], (item, end)


def test_histories_equal_plain_loops(raw, recount):
    """Every slot of every user's history, at week ends and at the very second of a basket."""
    asked = [(user, CALENDAR.end(week)) for user in raw.by_user for week in WEEKS]
    asked += [(user, rows["event_timestamp"].iloc[0].to_pydatetime()) for user, rows in raw.by_user.items()]
    found = recount.histories(*zip(*asked, strict=True))
    for (user, at), row in zip(asked, found, strict=True):
        assert history_differences(as_row(raw.history(user, at)), row) == [], (user, at)


def as_row(slots):
    """A history as a feature row has it."""
    columns = list(zip(*slots.values(), strict=True)) or [()] * 5
    names = ("counts", "decayed", "first_times", "last_times", "last_baskets")
    return {
        "history_items": list(slots),
        **{f"history_{name}": c for name, c in zip(names, columns, strict=True)},
    }


@pytest.mark.parametrize("shift", [timedelta(days=1), -timedelta(days=1)])
def test_rows_a_day_off_are_told(raw, recount, shift):
    """Values of a week end that claim another day: among all users and items some feature differs."""
    end = CALENDAR.end(28)
    users, items = list(raw.by_user), list(raw.by_item)
    wrong = [
        name
        for user, row in zip(users, recount.users(users, [end + shift] * len(users)), strict=True)
        if (expected := raw.user_stats(user, end)) is not None
        for name in differences(expected, row)
    ]
    assert {"user_recency_days", "user_tenure_days", "user_baskets_7d"} <= {*wrong}
    wrong = [
        name
        for item, row in zip(items, recount.items(items, [end + shift] * len(items)), strict=True)
        if (expected := raw.item_stats(item, end)) is not None
        for name in differences(expected, row)
    ]
    assert {"item_age_days", "item_baskets_7d"} <= {*wrong}


def test_what_may_not_be_known_is_named():
    """A row of somebody of whom nothing was known differs in every feature that is there."""
    row = {"user_id": "u", "event_timestamp": 1, "row_number": 0, "user_spend_7d": 0.0, "user_items_7d": None}
    assert differences(row, None) == ["user_spend_7d"]


def test_numbers_are_equal_up_to_the_rounding_of_sums():
    """Relative 1e-6 of numbers and shares; nothing is not 0; text to the letter."""
    assert equal(1_000.0005, 1_000.0)
    assert not equal(1_000.01, 1_000.0)
    assert not equal(None, 0)
    assert not equal("north", "south")
    assert equal([0.5, 0.5, 0.0], np.array([0.5, 0.5]))
    assert not equal([0.5], np.array([0.5, 0.5]))


def test_ids_known_in_time(raw, recount):
    """Users with a purchase before an instant, items with one since another; sorted."""
    before, since = CALENDAR.end(6), CALENDAR.end(3)
    users = [u for u, rows in raw.by_user.items() if (rows["event_timestamp"] < before).any()]
    assert recount.known_ids("user_id", before) == sorted(users)
    items = [
        item
        for item, rows in raw.by_item.items()
        if ((rows["event_timestamp"] < before) & (rows["event_timestamp"] >= since)).any()
    ]
    assert recount.known_ids("item_id", before, since) == sorted(items)


def test_missing_tables_name_the_command(tmp_path, settings):
    """Without transactions there is nothing to count."""
    from dataclasses import replace

    with pytest.raises(FileNotFoundError, match="endcap ingest"):
        Recount(replace(settings, state=tmp_path), "America/New_York", [])
