"""A day's feature rows equal a recount by plain loops, in weeks that end with the day."""

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from feature_rows import CALENDAR, N_DEPARTMENTS, nasty_shop
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know
from raw_features import RawFeatures

from jobs.build_day_features import COLUMNS, history_rows, snapshots
from jobs.day_engine import SparkEngine
from jobs.features.purchases import purchases
from jobs.features.user_history import user_history

ROOT = Path(__file__).resolve().parents[2]
DAYS = [
    date(2017, 3, 29),  # a Wednesday, soon after the clocks changed
    date(2017, 7, 17),  # a Monday
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The nasty shop's tables."""
    return nasty_shop().write(tmp_path_factory.mktemp("days"))


@pytest.fixture(scope="module", params=DAYS, ids=str)
def day(request):
    """A day of the shop."""
    return request.param


# A process that has not loaded Spark writes a day's snapshots by DuckDB.
BY_DUCKDB = """
import sys
from datetime import date
from pathlib import Path
from feature_rows import CALENDAR
from feature_repo.settings import Settings
from jobs.build_day_features import snapshots
from jobs.day_engine import day_engine
settings = Settings(state=Path(sys.argv[1]), reports=Path(sys.argv[1]))
with day_engine(settings, "test") as engine:
    assert engine.name == "DuckDB"
    for name, rows in snapshots(engine.session, settings, CALENDAR, date.fromisoformat(sys.argv[2])).items():
        engine.write(rows, Path(sys.argv[3]) / f"{name}.parquet")
"""


def by_duckdb(shop, day, folder):
    """Write the day's snapshots by DuckDB into a folder."""
    tests = str(Path(__file__).resolve().parents[1])
    words = [sys.executable, "-c", BY_DUCKDB, str(shop.state), str(day), str(folder)]
    subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": tests}, cwd=ROOT)


@pytest.fixture(scope="module")
def of_days(spark, shop, tmp_path_factory):
    """Folders with each day's snapshots, a file a table, by day and engine."""
    folders = {day: {name: tmp_path_factory.mktemp(name) for name in ("Spark", "DuckDB")} for day in DAYS}
    for each, by_engine in folders.items():
        for name, frame in snapshots(spark, shop, CALENDAR, each).items():
            SparkEngine(spark).write(frame, by_engine["Spark"] / f"{name}.parquet")
        by_duckdb(shop, each, by_engine["DuckDB"])
    return folders


@pytest.fixture(scope="module")
def written(of_days, day):
    """The folders of one day, by engine."""
    return of_days[day]


@pytest.fixture(scope="module", params=["Spark", "DuckDB"])
def found(request, written):
    """The day's snapshots by either engine, by table: rows by key."""
    files = written[request.param].glob("*.parquet")
    rows = {path.stem: pq.read_table(path).to_pylist() for path in files}
    return {name: {row[next(iter(row))]: row for row in of_table} for name, of_table in rows.items()}


@pytest.fixture(scope="module")
def raw(shop, day):
    """The slow reference in weeks that end with the day."""
    slots = [*sorted(f"D{n:02d}" for n in range(N_DEPARTMENTS))]
    slots = slots if len(slots) <= 32 else [*slots[:31], "(other)"]
    return RawFeatures(shop, CALENDAR.ending_with(day, 60), slots)


def differing(row, expected):
    """Names of features that are not as expected."""
    return [
        name
        for name, value in expected.items()
        if not (
            row[name] == value
            if isinstance(value, str)
            else np.allclose(
                row[name], value, rtol=1e-6 if isinstance(value, np.ndarray) else 1e-9, atol=1e-9
            )
        )
    ]


def test_users_are_as_recounted(found, raw, day):
    """Every feature of every shopper who ever bought; nobody else has a row."""
    end = CALENDAR.day_end(day)
    expected = {user: row for user in raw.by_user if (row := raw.user_stats(user, end)) is not None}
    assert found["user_stats"].keys() == expected.keys()
    wrong = {user: differing(found["user_stats"][user], row) for user, row in expected.items()}
    assert {user: names for user, names in wrong.items() if names} == {}


def test_items_are_as_recounted(found, raw, day):
    """Every feature of every item that was sold within 26 weeks; no other has a row."""
    end = CALENDAR.day_end(day)
    expected = {item: row for item in raw.by_item if (row := raw.item_stats(item, end)) is not None}
    assert found["item_stats"].keys() == expected.keys()
    wrong = {item: differing(found["item_stats"][item], row) for item, row in expected.items()}
    assert {item: names for item, names in wrong.items() if names} == {}


def test_only_a_weeks_first_day_has_coming_promotions(found, day):
    """A Monday's rows are stamped with its beginning."""
    assert ("item_coming_promotions" in found) == (day.weekday() == 0)
    stamps = {row["event_timestamp"] for row in found.get("item_coming_promotions", {}).values()}
    assert len(stamps) <= 1


def test_engines_write_the_same_columns_of_the_same_types(written):
    """What Spark writes, DuckDB writes, table by table."""
    schemas = {
        engine: {path.name: [(each.name, str(each.type)) for each in pq.read_schema(path)] for path in files}
        for engine, folder in written.items()
        for files in [sorted(folder.glob("*.parquet"))]
    }
    assert schemas["DuckDB"] == schemas["Spark"]


def test_duckdb_writes_the_same_bytes_again(shop, of_days, tmp_path):
    """A day that is done twice leaves the same files: releases are named by a hash of what they hold."""
    by_duckdb(shop, DAYS[0], tmp_path)
    first, second = (
        {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
        for folder in (of_days[DAYS[0]]["DuckDB"], tmp_path)
    )
    assert second == first


def test_histories_go_on_from_the_rows_before(spark, tmp_path):
    """A day whose earlier baskets are rows already gives what a walk from the first basket gives."""
    shop = nasty_shop().write(tmp_path)
    day = CALENDAR.day_at(CALENDAR.start(8) + timedelta(days=2, hours=12))
    begin, end = F.lit(CALENDAR.day_start(day)), F.lit(CALENDAR.day_end(day))
    lines = purchases(spark.read.parquet(shop.table_parts("transactions")), CALENDAR)
    whole, when = user_history(lines), F.col("event_timestamp")
    whole.where(when < begin).write.parquet(str(shop.feature_table("user_history")))
    rows = whole.where((when >= begin) & (when < end)).collect()
    expected = {(row["user_id"], row["event_timestamp"].timestamp()): row for row in rows}
    found = {(user, at / 1e6): history for user, at, history in history_rows(shop, CALENDAR, day)}
    assert len(found) > 1
    assert found.keys() == expected.keys()
    for key, history in found.items():
        for name in COLUMNS:
            assert getattr(history, name).tolist() == expected[key][f"history_{name}"]
