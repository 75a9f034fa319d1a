"""Aligning a user's row with a catalogue: positions, decay, history slots, plain numbers."""

from datetime import timedelta

import numpy as np
import pytest
from tiny_release import NOW, history, user_row

from bentos.shopper import decay_since, past_purchases, scalar, shopper


@pytest.mark.parametrize("days", [0.0, 1.0, 45.5, 91.0, 182.0, 1_000.0])
def test_decay_halves_every_91_days(days):
    """The weight left is one half to the number of quarters passed."""
    np.testing.assert_allclose(decay_since(np.array([days])), [0.5 ** (days / 91)], rtol=1e-6)


def test_past_is_what_a_loop_over_the_slots_gives():
    """Each held slot, sorted by position, has its count, its days and its decayed count as of now."""
    rng = np.random.default_rng(3)
    positions = rng.permutation(200)[:50].astype(np.int32)
    positions[rng.random(50) < 0.3] = -1
    counts, decayed = rng.integers(1, 9, 50), rng.uniform(0, 9, 50).astype(np.float32)
    times = int(NOW.timestamp()) - rng.integers(0, 300 * 86_400, 50)
    first_times, baskets = times - rng.integers(0, 60 * 86_400, 50), rng.integers(1, 80, 50)
    past = past_purchases(positions, counts, decayed, first_times, times, baskets, NOW)
    columns = (positions, counts, decayed, times, first_times, baskets)
    slots = zip(*(column.tolist() for column in columns), strict=True)
    held = sorted(slot for slot in slots if slot[0] >= 0)
    days = [(NOW.timestamp() - slot[3]) / 86_400 for slot in held]
    assert past.items.tolist() == [slot[0] for slot in held]
    assert past.counts.tolist() == [slot[1] for slot in held]
    np.testing.assert_allclose(past.days_since, days, rtol=1e-6)
    first = [(NOW.timestamp() - slot[4]) / 86_400 for slot in held]
    np.testing.assert_allclose(past.days_since_first, first, rtol=1e-6)
    # The latest basket may have held only what the catalogue no longer has: it counts all the same.
    assert past.baskets_since.tolist() == [max(baskets) - slot[5] for slot in held]
    expected = [slot[2] * 0.5 ** (day / 91) for slot, day in zip(held, days, strict=True)]
    np.testing.assert_allclose(past.decayed, expected, rtol=1e-5)
    assert {array.dtype for array in (past.counts, past.decayed, past.days_since)} == {np.dtype(np.float32)}


def test_purchase_after_now_is_of_today():
    """A row that is newer than the clock has no negative age and no weight above its own."""
    later = int((NOW + timedelta(days=3)).timestamp())
    times, baskets = np.array([later]), np.array([9])
    past = past_purchases(np.array([4]), np.array([2]), np.array([1.5]), times, times, baskets, NOW)
    assert (past.days_since.tolist(), past.decayed.tolist()) == ([0.0], [1.5])


@pytest.mark.parametrize("short", range(6))
def test_a_history_of_different_lengths_is_an_error(short):
    """As of a damaged row: nothing beyond the end of a column is read."""
    columns = [np.arange(3) for _ in range(6)]
    columns[short] = np.arange(2)
    with pytest.raises(IndexError, match="columns are of different lengths"):
        past_purchases(*columns, NOW)


def test_row_becomes_a_shopper(release):
    """History, numbers in the manifest's order, department shares and top department are taken over."""
    who = shopper(user_row(), release, NOW)
    assert who.known
    assert who.past.items.tolist() == [3, 7, 13]
    assert who.past.counts.tolist() == [5, 1, 2]
    assert who.scalars.tolist() == [50.0, 200.0]
    assert who.department_shares.tolist() == [0.75, 0.25, 0.0]
    assert (who.top_department, who.tenure_days) == ("north", 200.0)


def test_nobody_is_not_known(release):
    """Without a row there is no past, every number is missing and every share is zero."""
    who = shopper(None, release, NOW)
    assert not who.known
    assert who.past.items.size == 0
    assert np.isnan(who.scalars).all()
    assert who.department_shares.tolist() == [0.0, 0.0, 0.0]
    assert (who.top_department, who.tenure_days) == ("", 0.0)


@pytest.mark.parametrize("left_out", sorted(user_row()))
@pytest.mark.parametrize("missing", ["absent", "null"])
def test_any_missing_feature_is_survived(release, left_out, missing):
    """A row that lacks one feature, as Feast gives it or without the name, is still a shopper."""
    row = user_row()
    if missing == "null":
        row[left_out] = None
    else:
        del row[left_out]
    if left_out.startswith("history_"):
        row |= dict.fromkeys((name for name in row if name.startswith("history_")), None)
    assert shopper(row, release, NOW).known


def test_a_history_without_items_is_no_purchase(release):
    """Nothing bought yet is an empty past of an unknown shopper."""
    who = shopper(history([], [], []), release, NOW)
    assert (who.past.items.size, who.known) == (0, False)


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), (2.5, 2.5), (np.int64(4), 4.0), (np.float32(0.5), 0.5), (None, None), ("7", None), ([], None)],
)
def test_scalar_is_a_number_or_missing(value, number):
    """Numbers of any kind are floats; everything else is NaN."""
    assert scalar(value) == number if number is not None else np.isnan(scalar(value))
