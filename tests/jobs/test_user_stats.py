"""user_stats: every column of every row is what SQL over the raw lines says, and no row knows its future."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from feature_rows import MICROSECOND, Shop, assert_same_rows, line, local, nasty_shop, open_lines

from jobs.features.frames import DEPARTMENT_SLOTS
from jobs.features.user_stats import user_stats

SPANS = ("7d", "28d", "91d")
DAY = 86_400e6
FEW = ["D03", "D01", "(other)"]  # slots where all 32 would only cost time


def computed(inputs: Any, slots: list[str] | None = None) -> Any:
    """The table under test."""
    return user_stats(inputs.bought, inputs.ends, slots or inputs.slots, DEPARTMENT_SLOTS)


@pytest.fixture(scope="module")
def shop() -> Shop:
    """The nasty one."""
    return nasty_shop()


@pytest.fixture(scope="module")
def inputs(take_shop: Callable[..., Any], shop: Shop) -> Any:
    """The shop in Spark."""
    return take_shop(shop)


@pytest.fixture(scope="module")
def found(inputs: Any, written: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """Rows of the nasty shop, with few slots."""
    return written(computed(inputs, FEW))


def recounted(shop: Shop, slots: list[str]) -> pd.DataFrame:
    """The table by SQL: each week end joined with all lines before it, a window is a filter."""
    per_span = ", ".join(
        f"""coalesce(fsum(price_paid) FILTER (instant >= since_{span}), 0) AS user_spend_{span},
            count(DISTINCT basket_id) FILTER (instant >= since_{span}) AS user_baskets_{span},
            count(DISTINCT item_id) FILTER (instant >= since_{span}) AS user_items_{span}"""
        for span in SPANS
    )
    frame = open_lines(shop, slots).sql(
        f"""SELECT user_id, ends AS event_timestamp, {per_span},
              fsum(discount) FILTER (instant >= since_91d) AS discount,
              (ends - max(instant)) / {DAY} AS user_recency_days,
              (ends - min(instant)) / {DAY} AS user_tenure_days,
              coalesce(list(department) FILTER (instant >= since_91d), []) AS departments
            FROM lines JOIN weeks ON instant < ends GROUP BY user_id, ends"""
    ).df()  # fmt: skip
    discount = frame.pop("discount").fillna(0.0)
    full = discount + frame["user_spend_91d"]
    frame["user_discount_share_91d"] = (discount / full.where(full > 0)).fillna(0.0)
    departments = frame.pop("departments").map(list)
    frame["user_department_shares_91d"] = [shares(lines, slots) for lines in departments]
    frame["user_top_department"] = [
        min(sorted(set(lines)), key=lambda name: -lines.count(name), default="") for lines in departments
    ]
    return frame


def shares(lines: list[str], slots: list[str]) -> np.ndarray:
    """Share of the lines in each slot."""
    counts = [lines.count(name) for name in slots] + [0] * (DEPARTMENT_SLOTS - len(slots))
    return np.array([count / max(len(lines), 1) for count in counts], dtype=np.float32)


def test_every_row_is_what_the_raw_lines_say(shop: Shop, inputs: Any, written: Callable[..., pd.DataFrame]):
    """All columns of all shoppers at all week ends equal a recount from raw lines."""
    found = written(computed(inputs))
    assert_same_rows(found, recounted(shop, inputs.slots), "user_id")
    assert len(found) > 1_000
    assert {"", "(other)"} < set(found["user_top_department"])  # the shop has what it is meant to have


def test_order_of_lines_does_not_matter(
    shop: Shop, found: pd.DataFrame, take_shop: Callable[..., Any], written: Callable[..., pd.DataFrame]
):
    """Lines in another order and in seven partitions give the same rows."""
    again = written(computed(take_shop(shop.shuffled(), parts=7), FEW))
    assert_same_rows(again, found, "user_id", rtol=1e-13)


def test_no_row_knows_its_future(
    shop: Shop, found: pd.DataFrame, take_shop: Callable[..., Any], written: Callable[..., Any]
):
    """Rows up to a week's end stay as they are, whatever happens from that very instant on."""
    instant = local(24)
    other = written(computed(take_shop(shop.with_another_future(instant)), FEW))
    known = [rows[rows["event_timestamp"] <= instant.timestamp() * 1e6] for rows in (other, found)]
    assert_same_rows(*known, "user_id", rtol=1e-13)
    assert len(known[0]) > 100


def test_a_line_at_the_week_end_belongs_to_the_next_week(
    take_shop: Callable[..., Any], written: Callable[..., pd.DataFrame]
):
    """Weeks end at local midnight, exclusively, also where the clock was changed the night before."""
    ends = [local(week) for week in (5, 6, 7, 24)]
    lines = [line(f"at-{n}", "tea", end) for n, end in enumerate(ends)]
    lines += [line(f"before-{n}", "tea", end - MICROSECOND) for n, end in enumerate(ends)]
    items = [{"item_id": "tea", "title": "Tea", "category_1": "D", "category_2": "x", "category_3": "y"}]
    rows = written(computed(take_shop(Shop(lines, items, [])), FEW))
    first = rows.groupby("user_id")["event_timestamp"].min() / 1e6
    for n, end in enumerate(ends):
        assert first[f"before-{n}"] == end.timestamp()
        assert first[f"at-{n}"] - end.timestamp() in {hours * 3600 for hours in (167, 168, 169)}
    assert (rows.groupby("user_id")["user_baskets_7d"].sum() == 1).all()
