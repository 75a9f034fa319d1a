"""item_stats: every column of every row is what SQL over the raw tables says, and no row knows its future."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from feature_rows import CALENDAR, Shop, assert_same_rows, line, local, nasty_shop, open_lines

from jobs.features.item_stats import item_stats

SPANS = ("7d", "28d", "91d", "182d")
DAY = 86_400e6


def computed(inputs: Any) -> Any:
    """The table under test."""
    return item_stats(inputs.bought, inputs.promotions, inputs.ends, CALENDAR)


@pytest.fixture(scope="module")
def shop() -> Shop:
    """The nasty one."""
    return nasty_shop()


@pytest.fixture(scope="module")
def found(take_shop: Callable[..., Any], shop: Shop, written: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """Rows of the nasty shop."""
    return written(computed(take_shop(shop)))


def recounted(shop: Shop) -> pd.DataFrame:
    """The table by SQL: each week end joined with all lines before it, a window is a filter."""
    baskets = ", ".join(
        f"count(DISTINCT (user_id, basket_id)) FILTER (instant >= since_{span}) AS item_baskets_{span}"
        for span in SPANS
    )
    sums = ", ".join(
        f"fsum({column}) FILTER (instant >= since_{span}) AS {column}_{span}"
        for column in ("price_paid", "quantity", "discount")
        for span in ("91d", "182d")
    )
    widest = ", ".join(
        f"""coalesce((SELECT max(store_share) FROM promotions AS p
             WHERE p.item_id = lines.item_id AND kind = '{kind}' AND known <= weeks.ends
             AND starts < weeks.ends AND ends_at > weeks.since_7d), 0) AS item_{kind}_share"""
        for kind in ("mailer", "display")
    )
    return open_lines(shop, []).sql(
        f"""WITH shoppers AS (
              SELECT item_id, ends, user_id, count(DISTINCT basket_id) AS baskets
              FROM lines JOIN weeks ON instant < ends AND instant >= since_91d GROUP BY ALL),
            repeats AS (
              SELECT item_id, ends, count(*) AS users, count(*) FILTER (baskets >= 2) / count(*) AS rate
              FROM shoppers GROUP BY ALL),
            stats AS (
              SELECT item_id, ends, {baskets}, {sums}, {widest}, min(instant) AS first_sale
              FROM lines JOIN weeks ON instant < ends GROUP BY ALL)
            SELECT item_id, ends AS event_timestamp, {", ".join(f"item_baskets_{span}" for span in SPANS)},
              coalesce(users, 0) AS item_users_91d, coalesce(rate, 0) AS item_repeat_rate_91d,
              coalesce(price_paid_91d / quantity_91d, price_paid_182d / quantity_182d) AS item_price_91d,
              coalesce(discount_91d / nullif(discount_91d + price_paid_91d, 0), 0) AS item_discount_share_91d,
              item_mailer_share, item_display_share, (ends - first_sale) / {DAY} AS item_age_days
            FROM stats LEFT JOIN repeats USING (item_id, ends) WHERE item_baskets_182d > 0"""
    ).df()  # fmt: skip


def weeks_of(rows: pd.DataFrame, item: str) -> list[int]:
    """Shop weeks at whose end an item has a row."""
    ends = {local(week + 1).timestamp() * 1e6: week for week in range(1, 40)}
    return sorted(ends[instant] for instant in rows[rows["item_id"] == item]["event_timestamp"])


def test_every_row_is_what_the_raw_tables_say(shop: Shop, found: pd.DataFrame):
    """All columns of all items at all week ends equal a recount from raw lines and promotions."""
    expected = recounted(shop)
    assert_same_rows(found, expected, "item_id")
    for name in found.columns[2:]:  # the shop has what it is meant to have
        assert found[name].nunique() > 3, name


def test_an_item_leaves_half_a_year_after_its_last_sale(found: pd.DataFrame):
    """An item sold in week 1 has rows up to week 26, none in 27 and 28, and again when sold in week 29."""
    assert weeks_of(found, "leaves") == [*range(1, 27), *range(29, 33)]
    assert weeks_of(found, "only-returned") == []


def test_a_repeat_counts_within_13_weeks(take_shop: Callable[..., Any], written: Callable[..., Any]):
    """Two baskets 12 weeks apart are a repeat in that week alone, 13 weeks apart none; two at once for 13."""
    bought = {"once": [3], "close": [3, 15], "far": [3, 16], "twice": [3, 3], "thrice": [3, 4, 5]}
    lines = [
        line(item, item, local(week, day), f"{item}-{day}")
        for item, weeks in bought.items()
        for day, week in enumerate(weeks)
    ]
    lines.append(line("late", "once", local(30)))
    items = [{"item_id": item, "title": item, "category_1": "D", "category_2": "x", "category_3": "y"}
             for item in bought]  # fmt: skip
    rows = written(computed(take_shop(Shop(lines, items, []))))
    repeats = rows[rows["item_repeat_rate_91d"] > 0]
    weeks = {item: weeks_of(repeats, item) for item in bought}
    assert weeks == {
        "once": [],
        "close": [15],
        "far": [],
        "twice": [*range(3, 16)],
        "thrice": [*range(4, 17)],
    }


@pytest.mark.parametrize(
    ("announced", "weeks"),
    [
        (None, [4]),
        (local(2), [3, 4]),
        (local(4), [3, 4]),
        (local(4, microseconds=1), [4]),
        (local(6), []),
    ],
)
def test_a_promotion_is_known_from_its_announcement(
    announced: Any, weeks: list[int], spark: Any, take_shop: Callable[..., Any]
):
    """A week's exposure is its promotions known by its end; without announcement, those that are over."""
    from jobs.features.item_stats import exposure
    from jobs.features.purchases import week_ends

    promotion = {"item_id": "tea", "kind": "mailer", "starts_at": local(3), "ends_at": local(5),
                 "announced_at": announced, "store_share": 0.4}  # fmt: skip
    item = {"item_id": "tea", "title": "Tea", "category_1": "D", "category_2": "x", "category_3": "y"}
    inputs = take_shop(Shop([line("one", "tea", local(1))], [item], [promotion]))
    rows = exposure(inputs.promotions, week_ends(spark, CALENDAR, 8), CALENDAR).collect()
    assert sorted(row["week"] for row in rows) == weeks
    assert {row["item_mailer_share"] for row in rows} <= {0.4}
    assert {row["item_display_share"] for row in rows} <= {None}


def test_order_of_lines_does_not_matter(
    shop: Shop, found: pd.DataFrame, take_shop: Callable[..., Any], written: Callable[..., pd.DataFrame]
):
    """Lines and promotions in another order and in seven partitions give the same rows."""
    again = written(computed(take_shop(shop.shuffled(), parts=7)))
    assert_same_rows(again, found, "item_id", rtol=1e-13)


def test_no_row_knows_its_future(
    shop: Shop, found: pd.DataFrame, take_shop: Callable[..., Any], written: Callable[..., Any]
):
    """Rows up to a week's end stay, whatever is sold from that instant on or announced after it."""
    instant = local(24)
    other = written(computed(take_shop(shop.with_another_future(instant))))
    known = [rows[rows["event_timestamp"] <= instant.timestamp() * 1e6] for rows in (other, found)]
    assert_same_rows(*known, "item_id", rtol=1e-13)
    assert len(known[0]) > 500
