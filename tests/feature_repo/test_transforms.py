"""Histories follow their definition, purchase by purchase, and continue exactly from what was stored."""

from itertools import pairwise

import numpy as np
import pytest

from feature_repo.transforms import (
    HALF_LIFE_DAYS,
    History,
    decay,
    empty_history,
    update_history,
)

DAY = 86_400
COLUMNS = ("items", "counts", "decayed", "first_times", "last_times", "last_baskets")


def walk(baskets, width=256, kind=np.str_):
    """The history after baskets [(second, items)], and all those on the way."""
    states = [empty_history(kind)]
    for second, items in baskets:
        states.append(update_history(states[-1], np.array(items, dtype=kind), second, width=width))
    return states


def random_baskets(seed, n_items=30):
    """Baskets in time order, some in the same second, with items repeated within a basket."""
    rng = np.random.default_rng(seed)
    gaps = rng.choice([0, 1, DAY, 9 * DAY, 200 * DAY], 40) * rng.integers(1, 4, 40)
    seconds = 1_500_000_000 + np.cumsum(gaps)
    return [
        (int(second), [f"i{n}" for n in rng.integers(0, n_items, rng.integers(1, 9))]) for second in seconds
    ]


def assert_same_bits(found, expected):
    """Two histories hold exactly the same values in the same order."""
    for name in COLUMNS:
        assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name


@pytest.mark.parametrize("seed", range(8))
def test_slots_are_sums_over_all_purchases(seed):
    """Counts, last times and decayed counts equal those from the definition, after every basket."""
    baskets = random_baskets(seed)
    for n, history in enumerate(walk(baskets)[1:], start=1):
        times, numbers = {}, {}
        for number, (second, items) in enumerate(baskets[:n], start=1):
            for item in set(items):
                times.setdefault(item, []).append(second)
                numbers[item] = number
        assert sorted(history.items) == sorted(times)
        slots = zip(*(getattr(history, name) for name in COLUMNS), strict=True)
        for item, count, decayed, first, last, number in slots:
            assert (count, first, last) == (len(times[item]), times[item][0], times[item][-1])
            assert number == numbers[item]
            exact = sum(2 ** -((last - second) / (DAY * HALF_LIFE_DAYS)) for second in times[item])
            assert decayed == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("width", [1, 5, 12, 256])
@pytest.mark.parametrize("seed", range(4))
def test_best_come_first_and_ties_go_by_item(seed, width):
    """Slots fall by decayed count as of the last basket, equal ones rise by item, up to the width."""
    baskets = random_baskets(seed)
    for (second, _), history in zip(baskets, walk(baskets, width)[1:], strict=True):
        weights = history.decayed.astype(float) * 0.5 ** ((second - history.last_times) / DAY / 91)
        slots = [
            (-weight, item) for weight, item in zip(weights.tolist(), history.items.tolist(), strict=True)
        ]
        assert all(
            (-a[0] > -b[0] * (1 - 1e-12)) and (a[0] != b[0] or a[1] < b[1]) for a, b in pairwise(slots)
        )
        assert len(slots) <= width


@pytest.mark.parametrize("width", [3, 10])
def test_the_least_leaves_a_full_history(width):
    """A narrow history drops exactly the slots that a wide update of it would put last."""
    baskets = random_baskets(3)
    states = walk(baskets, width)
    for before, after, (second, items) in zip(states, states[1:], baskets, strict=False):
        wide = update_history(before, np.array(items), second, width=10_000)
        kept = History(*[getattr(wide, name)[:width] for name in COLUMNS])
        assert_same_bits(after, kept)


def test_an_item_that_left_starts_anew():
    """What has left the history is forgotten: bought again, it has been bought once."""
    states = walk([(0, ["old"]), (DAY, ["a", "b"]), (2 * DAY, ["old", "old"])], width=2)
    assert states[2].items.tolist() == ["a", "b"]
    assert dict(zip(states[3].items, states[3].counts, strict=True))["old"] == 1


@pytest.mark.parametrize(("halvings", "left"), [(0, 1.0), (1, 0.5), (2, 0.25), (10, 2**-10)])
def test_a_purchase_halves_every_91_days(halvings, left):
    """After n half-lives a purchase weighs 2^-n, to the last bit; a second one adds 1 to what is left."""
    seconds = np.array([halvings * 91 * DAY])
    assert decay(np.ones(1, np.float32), seconds).tolist() == [left]
    (_, _, history) = walk([(0, ["tea"]), (int(seconds[0]), ["tea"])])
    assert history.decayed.tolist() == [1 + left]


def test_decay_goes_on_in_pieces():
    """Decaying twice equals decaying once for both spans."""
    counts = np.array([1.0, 2.5, 7.0], np.float32)
    first, second = np.array([5, 40 * DAY, 0]), np.array([DAY, 60 * DAY, 3])
    halves = decay(counts, first) * np.exp2(-second / (91 * DAY))
    np.testing.assert_allclose(halves, decay(counts, first + second), rtol=1e-14)


@pytest.mark.parametrize("seed", range(4))
def test_a_stored_history_continues_as_one_that_never_was(seed):
    """Through lists of plain numbers and strings, in the store's types, every next history is the same."""
    alive = stored = empty_history()
    for second, items in random_baskets(seed):
        alive = update_history(alive, np.array(items), second)
        again = update_history(stored, np.array(items), second)
        assert_same_bits(again, alive)
        stored = History(
            np.array(again.items.tolist()),
            np.array(again.counts.tolist(), np.int64),
            np.array(again.decayed.tolist(), np.float32),
            *[np.array(getattr(again, name).tolist(), np.int64) for name in COLUMNS[3:]],
        )


def test_numbers_stand_for_names_in_their_order():
    """Items numbered in the order of their names make the same history."""
    names = sorted(f"i{n}" for n in range(30))
    named = random_baskets(6)
    numbered = [(second, [names.index(item) for item in items]) for second, items in named]
    for by_name, by_number in zip(walk(named, 9), walk(numbered, 9, np.int64), strict=True):
        assert [names[n] for n in by_number.items] == by_name.items.tolist()
        assert by_number.decayed.tolist() == by_name.decayed.tolist()


def test_a_basket_is_a_set():
    """Order and repetition within a basket change nothing."""
    (_, plain), (_, shuffled) = walk([(5, ["a", "b", "c"])]), walk([(5, ["c", "a", "b", "a", "c"])])
    assert_same_bits(plain, shuffled)


def test_an_empty_basket_changes_nothing():
    """Time alone neither reorders slots nor alters a stored value."""
    history = walk(random_baskets(2))[-1]
    later = int(history.last_times.max()) + 50 * DAY
    assert_same_bits(update_history(history, np.array([], np.str_), later), history)


def test_the_same_basket_twice_counts_twice():
    """An update is not idempotent: whoever pushes must drop what has been pushed before."""
    states = walk([(5, ["a", "b"]), (5, ["a", "b"])])
    assert states[2].counts.tolist() == [2, 2]
    assert states[2].decayed.tolist() == [2.0, 2.0]


def test_an_update_leaves_its_input_alone():
    """The history that goes in is not written to, also where its arrays are read-only."""
    before = walk(random_baskets(1))[-1]
    copy = History(*[getattr(before, name).copy() for name in COLUMNS])
    for name in COLUMNS:
        getattr(before, name).flags.writeable = False
    update_history(before, np.array(["i1", "new"]), int(before.last_times.max()) + DAY)
    assert_same_bits(before, copy)


def test_types_stay_those_of_the_store():
    """Whatever comes in, counts and times are 64-bit whole numbers and decayed counts 32-bit floats."""
    for history in walk([(5, ["a"]), (7, ["a", "b"])], width=2):
        types = [getattr(history, name).dtype for name in COLUMNS[1:]]
        assert types == [np.int64, np.float32, np.int64, np.int64, np.int64]
