"""user_history: one row per basket that equals a dictionary's walk and that a push makes, bit for bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from feature_rows import Shop, line, local, nasty_shop

from feature_repo.transforms import HISTORY_WIDTH, History, update_history
from jobs.features.user_history import user_history

WIDTHS = [7, HISTORY_WIDTH]
COLUMNS = [
    "history_items",
    "history_counts",
    "history_decayed",
    "history_first_times",
    "history_last_times",
    "history_last_baskets",
]
Rows = dict[tuple[str, int], tuple[np.ndarray, ...]]


@pytest.fixture(scope="module")
def shop() -> Shop:
    """The nasty one."""
    return nasty_shop()


def by_basket(frame: pd.DataFrame) -> Rows:
    """The four arrays of each row by shopper and microsecond, in time order."""
    frame = frame.sort_values(["user_id", "event_timestamp"])
    keys = zip(frame["user_id"], frame["event_timestamp"], strict=True)
    return dict(zip(keys, zip(*[frame[name] for name in COLUMNS], strict=True), strict=True))


@pytest.fixture(scope="module")
def found(shop: Shop, take_shop: Callable[..., Any], written: Callable[..., Any]) -> dict[int, Rows]:
    """Written rows of the nasty shop for each width, read back."""
    bought = take_shop(shop).bought
    return {width: by_basket(written(user_history(bought, width))) for width in WIDTHS}


def baskets_of(shop: Shop) -> dict[tuple[str, int], set[str]]:
    """What each shopper bought at each microsecond, in time order."""
    found: dict[tuple[str, int], set[str]] = {}
    for row in shop.lines:
        if row["quantity"] > 0:
            micros = round(row["event_timestamp"].timestamp() * 1e6)
            found.setdefault((row["user_id"], micros), set()).add(row["item_id"])
    return dict(sorted(found.items()))


def walked(shop: Shop, width: int) -> dict[tuple[str, int], list[tuple[str, int, float, int, int, int]]]:
    """Slots after each basket: a dictionary of purchase times per item, summed up from its definition."""
    rows, times, numbers, shopper = {}, {}, {}, None
    for (user, micros), basket in baskets_of(shop).items():
        times, numbers = (times, numbers) if user == shopper else ({}, {})
        shopper, now, number = user, micros // 1_000_000, max(numbers.values(), default=0) + 1
        for item in basket:
            times.setdefault(item, []).append(now)
            numbers[item] = number
        weights = {
            item: sum(0.5 ** ((now - at) / 86_400 / 91) for at in past) for item, past in times.items()
        }
        best = sorted(times, key=lambda item: (-round(weights[item], 5), item))[:width]
        times, numbers = {item: times[item] for item in best}, {item: numbers[item] for item in best}
        rows[user, micros] = [
            (
                item,
                len(past),
                sum(0.5 ** ((past[-1] - at) / 86_400 / 91) for at in past),
                past[0],
                past[-1],
                numbers[item],
            )
            for item, past in times.items()
        ]
    return rows


@pytest.mark.parametrize("width", WIDTHS)
def test_every_row_is_a_dictionary_s_walk(shop: Shop, found: dict[int, Rows], width: int):
    """Each basket has one row, itself included, with the best items in order, ties by id."""
    expected = walked(shop, width)
    assert list(found[width]) == list(expected)
    for key, slots in expected.items():
        columns = dict(zip(COLUMNS, found[width][key], strict=True))
        recounted = dict(zip(COLUMNS, zip(*slots, strict=True), strict=True))
        weights = recounted.pop("history_decayed")
        for name, values in recounted.items():
            assert columns[name].tolist() == list(values), (name, key)
        np.testing.assert_allclose(columns["history_decayed"], weights, rtol=1e-5, err_msg=str(key))
    assert max(len(slots) for slots in expected.values()) >= min(width, 40)  # the narrow one overflows


def test_values_are_written_in_the_types_of_the_view(found: dict[int, Rows]):
    """Counts and times are 64-bit whole numbers, decayed counts 32-bit floats."""
    types = {tuple(array.dtype for array in row[1:]) for row in found[HISTORY_WIDTH].values()}
    assert types == {tuple(map(np.dtype, (np.int64, np.float32, np.int64, np.int64, np.int64)))}


def stored(row: tuple[np.ndarray, ...]) -> History:
    """A written row as the transform takes it."""
    items, *numbers = row
    return History(items.astype(np.str_), *numbers)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_push_makes_the_next_row(shop: Shop, found: dict[int, Rows], width: int):
    """The row that was written, updated with the next basket, is the next written row, bit for bit."""
    pushed, previous = 0, None
    for (user, micros), basket in baskets_of(shop).items():
        row = found[width][user, micros]
        if previous and previous[0] == user:
            after = update_history(
                stored(previous[1]), np.array(sorted(basket)), micros // 1_000_000, width=width
            )
            for made, kept in zip(vars(after).values(), row, strict=True):
                assert made.tolist() == kept.tolist(), (user, micros)
            pushed += 1
        previous = user, row
    assert pushed > 300


def test_order_of_lines_does_not_matter(
    shop: Shop, found: dict[int, Rows], take_shop: Callable[..., Any], written: Callable[..., Any]
):
    """Lines in another order and in seven partitions give the same bits."""
    again = by_basket(written(user_history(take_shop(shop.shuffled(), parts=7).bought)))
    assert_same_bits(again, found[HISTORY_WIDTH])


def test_no_row_knows_its_future(
    shop: Shop, found: dict[int, Rows], take_shop: Callable[..., Any], written: Callable[..., Any]
):
    """Rows before an instant stay as they are, whatever is bought from then on."""
    instant = local(24)
    other = by_basket(written(user_history(take_shop(shop.with_another_future(instant)).bought)))
    past = [
        {key: row for key, row in rows.items() if key[1] < instant.timestamp() * 1e6}
        for rows in (other, found[HISTORY_WIDTH])
    ]
    assert_same_bits(*past)
    assert len(past[0]) > 300


def assert_same_bits(found: Rows, expected: Rows) -> None:
    """The same rows with exactly the same values."""
    assert list(found) == list(expected)
    for key, row in expected.items():
        for ours, theirs in zip(found[key], row, strict=True):
            assert ours.tolist() == theirs.tolist(), key


def test_lines_of_one_instant_are_one_basket(take_shop: Callable[..., Any], written: Callable[..., Any]):
    """Two receipts at one microsecond make one row and count once; a microsecond later makes another."""
    now, item = local(3), {"title": "x", "category_1": "D", "category_2": "x", "category_3": "y"}
    lines = [line("one", "tea", now, "a"), line("one", "tea", now, "b"), line("one", "milk", now, "b"),
             line("one", "tea", now.replace(microsecond=1), "c")]  # fmt: skip
    shop = Shop(lines, [item | {"item_id": "tea"}, item | {"item_id": "milk"}], [])
    rows = by_basket(written(user_history(take_shop(shop).bought, 3)))
    found = [(items.tolist(), counts.tolist()) for items, counts, *_ in rows.values()]
    assert found == [(["milk", "tea"], [1, 1]), (["tea", "milk"], [2, 1])]
