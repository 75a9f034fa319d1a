"""item_coming_promotions: what runs in the week that begins, as far as it is known, or assumed to be."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from feature_rows import CALENDAR, N_WEEKS, Shop, assert_same_rows, line, local, nasty_shop, open_lines

from jobs.features.item_coming_promotions import item_coming_promotions

ITEM = {"item_id": "tea", "title": "Tea", "category_1": "D", "category_2": "x", "category_3": "y"}
COLUMNS = ("item_coming_mailer_share_assumed", "item_coming_display_share_assumed")


def computed(inputs: Any) -> Any:
    """The table under test."""
    return item_coming_promotions(inputs.promotions, inputs.ends, CALENDAR)


@pytest.fixture(scope="module")
def shop() -> Shop:
    """The nasty one."""
    return nasty_shop()


@pytest.fixture(scope="module")
def found(take_shop: Callable[..., Any], shop: Shop, written: Callable[..., pd.DataFrame]) -> pd.DataFrame:
    """Rows of the nasty shop."""
    return written(computed(take_shop(shop)))


def recounted(shop: Shop) -> pd.DataFrame:
    """The table by SQL: each week's start joined with all promotions that overlap the week after it."""
    con = open_lines(shop, [])
    con.execute(
        """CREATE TABLE coming AS SELECT item_id, kind, store_share, epoch_us(starts_at) AS starts,
             epoch_us(ends_at) AS over, epoch_us(coalesce(announced_at, starts_at)) AS known
           FROM raw_promotions"""
    )
    rows = con.sql(
        f"""SELECT item_id, now.ends AS event_timestamp,
              coalesce(max(store_share) FILTER (kind = 'mailer'), 0) AS {COLUMNS[0]},
              coalesce(max(store_share) FILTER (kind = 'display'), 0) AS {COLUMNS[1]}
            FROM weeks AS now JOIN bounds AS coming ON coming.week = now.week + 1
            JOIN coming AS p ON known <= now.ends AND starts < coming.ends AND over > now.ends
            GROUP BY ALL"""
    ).df()
    assert con.execute("SELECT max(week) FROM weeks").fetchone() == (N_WEEKS,)
    return rows


def test_every_row_is_what_the_raw_promotions_say(shop: Shop, found: pd.DataFrame):
    """Both shares of all items at all week starts equal a recount from raw promotions, and no row is more."""
    expected = recounted(shop)
    assert_same_rows(found, expected, "item_id")
    for name in COLUMNS:
        assert found[name].nunique() > 10, name


@pytest.mark.parametrize(
    ("announced", "weeks"),
    [
        (None, [3, 4]),  # assumed: with its start
        (local(2), [3, 4]),
        (local(3), [3, 4]),
        (local(3, microseconds=1), [4]),
        (local(4, microseconds=1), []),
    ],
)
def test_a_promotion_announced_later_is_not_seen(
    announced: Any, weeks: list[int], take_shop: Callable[..., Any], written: Callable[..., Any]
):
    """A promotion of weeks 3 and 4 stands in the rows of both starts, unless it was announced after them."""
    promotion = {"item_id": "tea", "kind": "mailer", "starts_at": local(3), "ends_at": local(5),
                 "announced_at": announced, "store_share": 0.4}  # fmt: skip
    lines = [line("one", "tea", local(1)), line("one", "tea", local(8))]
    rows = written(computed(take_shop(Shop(lines, [ITEM], [promotion]))))
    assert sorted(rows["event_timestamp"]) == [local(week).timestamp() * 1e6 for week in weeks]
    assert rows[list(COLUMNS)].to_numpy().tolist() == [[0.4, 0.0]] * len(weeks)


@pytest.mark.parametrize(
    ("starts", "announced", "weeks"),
    [
        (local(3, microseconds=1), None, []),
        (local(3, 2), None, []),
        (local(3, 2), local(2, 6), [3]),
        (local(4), local(1), [4]),
        (local(4), None, [4]),
    ],
)
def test_a_promotion_that_starts_later_is_not_seen(
    starts: Any, announced: Any, weeks: list[int], take_shop: Callable[..., Any], written: Callable[..., Any]
):
    """What starts within the week is seen only if announced before it, what starts after it in no case."""
    promotion = {"item_id": "tea", "kind": "display", "starts_at": starts,
                 "ends_at": starts + timedelta(days=2), "announced_at": announced,
                 "store_share": 0.7}  # fmt: skip
    lines = [line("one", "tea", local(1)), line("one", "tea", local(8))]
    rows = written(computed(take_shop(Shop(lines, [ITEM], [promotion]))))
    assert sorted(rows["event_timestamp"]) == [local(week).timestamp() * 1e6 for week in weeks]
    assert rows[list(COLUMNS)].to_numpy().tolist() == [[0.0, 0.7]] * len(weeks)


def test_no_row_knows_its_future(
    shop: Shop, found: pd.DataFrame, take_shop: Callable[..., Any], written: Callable[..., Any]
):
    """Rows up to a week's start stay when all that is announced, or starts unannounced, after it is gone."""
    now = local(17)
    known = [row for row in shop.promotions if (row["announced_at"] or row["starts_at"]) <= now]
    assert 20 < len(known) < len(shop.promotions) - 20
    other = written(computed(take_shop(replace(shop, promotions=known))))
    before = [rows[rows["event_timestamp"] <= now.timestamp() * 1e6] for rows in (other, found)]
    assert_same_rows(*before, "item_id")
    assert before[0]["event_timestamp"].max() == now.timestamp() * 1e6
