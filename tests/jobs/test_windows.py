"""Windows over shop weeks count what a slow reading counts; weeks are those of the shop's clock."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from feature_repo.shop_calendar import ShopCalendar
from jobs.features.purchases import purchases, week_ends, week_of
from jobs.features.windows import WEEKS, distinct_changes, rolling_sums, running

LAST_WEEK = 40
KEYS = ("a", "b", "never")
# (key, thing, week): gaps of exactly a window's length, one less and one more, and random ones.
EDGES = [("a", f"gap-{gap}", week) for gap in (1, 3, 4, 5, 12, 13, 14, 25, 26, 27) for week in (1, 1 + gap)]
RNG = np.random.default_rng(3)
RANDOM = [("b", f"t{RNG.integers(6)}", int(RNG.integers(2, LAST_WEEK + 1))) for _ in range(60)]
SEEN = sorted({*EDGES, *RANDOM})


@pytest.fixture(scope="module")
def grid(spark: Any) -> Any:
    """Every week of every key."""
    rows = [(key, week) for key in KEYS for week in range(1, LAST_WEEK + 1)]
    return spark.createDataFrame(rows, "key string, week int").cache()


def test_distinct_things_are_counted_once_a_window(spark: Any, grid: Any):
    """At each week, the running changes are the distinct things of the last W weeks, for each span."""
    frame = spark.createDataFrame(SEEN, "key string, thing string, week int")
    changes = distinct_changes(frame, "key", "thing", {span: span for span in WEEKS}, LAST_WEEK)
    assert changes.groupBy().max("week").first()[0] <= LAST_WEEK
    dense = grid.join(changes, ["key", "week"], "left")
    rows = dense.select("key", "week", *[running(span, "key").alias(span) for span in WEEKS]).collect()
    assert len(rows) == len(KEYS) * LAST_WEEK
    for row in rows:
        for span, width in WEEKS.items():
            things = {t for key, t, week in SEEN if key == row.key and row.week - width < week <= row.week}
            assert row[span] == len(things), (row.key, row.week, span)


def test_rolling_sums_add_the_last_weeks_alone(spark: Any, grid: Any):
    """Sums are over exactly W weeks, 0 where nothing was, and a huge week leaves no rounding behind."""
    values = {(key, week): 0.1 * n for n, (key, _, week) in enumerate(SEEN)} | {("a", 3): 1e17}
    rows = [(key, week, value) for (key, week), value in values.items()]
    dense = grid.join(
        spark.createDataFrame(rows, "key string, week int, paid double"), ["key", "week"], "left"
    )
    for row in dense.select("key", "week", *rolling_sums("key", {"sum": "paid"}, list(WEEKS))).collect():
        for span, width in WEEKS.items():
            weeks = range(max(1, row.week - width + 1), row.week + 1)
            expected = sum(values.get((row.key, week), 0.0) for week in weeks)
            assert row[f"sum_{span}"] == pytest.approx(expected, rel=1e-12, abs=0), (row.key, row.week, span)


@pytest.mark.parametrize(
    ("zone", "first_day"),
    [
        ("America/New_York", date(2017, 10, 2)),
        ("America/New_York", date(2017, 10, 1)),  # weeks that begin on the very days of clock changes
        ("Australia/Lord_Howe", date(2017, 9, 27)),  # half an hour of daylight saving
        ("Asia/Kolkata", date(2017, 10, 2)),
        ("UTC", date(2017, 10, 2)),
    ],
)
def test_weeks_are_those_of_the_shop_s_clock(spark: Any, zone: str, first_day: date):
    """Around every midnight of eight months, the week is that of the local date; before the first day too."""
    from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

    midnights = pd.date_range(first_day - timedelta(days=20), periods=240, freq="D", tz=zone).tz_convert(UTC)
    shifts = [timedelta(microseconds=m) for m in (-61 * 60_000_000, -1, 0, 1, 61 * 60_000_000)]
    instants = [midnight.to_pydatetime() + shift for midnight in midnights for shift in shifts]
    frame = spark.createDataFrame([(at,) for at in instants], "at timestamp")
    calendar = ShopCalendar(zone, first_day)
    rows = frame.select(F.unix_micros("at").alias("at"), week_of(F.col("at"), calendar).alias("week"))
    for row in rows.collect():
        instant = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=row["at"])
        assert row["week"] == (instant.astimezone(ZoneInfo(zone)).date() - first_day).days // 7 + 1, instant


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata", "Pacific/Auckland"])
def test_week_ends_are_local_midnights(spark: Any, zone: str):
    """The end of each week is the midnight that pandas finds in that time zone."""
    first_day = date(2017, 10, 2)
    frame = week_ends(spark, ShopCalendar(zone, first_day), 60)
    found = [(row[0], row[1]) for row in frame.selectExpr("week", "unix_micros(event_timestamp)").collect()]
    midnights = pd.date_range(first_day, periods=61, freq="7D", tz=zone).as_unit("us").asi8[1:]
    assert sorted(found) == list(enumerate(midnights.tolist(), start=1))


@pytest.mark.parametrize(("quantity", "counts"), [(1.0, 1), (0.25, 1), (0.0, 0), (-1.0, 0)])
def test_returns_and_voids_are_no_purchases(spark: Any, quantity: float, counts: int):
    """A line counts when its quantity is above zero."""
    row = (datetime(2017, 10, 5, tzinfo=UTC), quantity)
    frame = spark.createDataFrame([row], "event_timestamp timestamp, quantity double")
    assert purchases(frame, ShopCalendar("UTC", date(2017, 10, 2))).count() == counts
