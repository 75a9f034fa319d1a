"""What Feast gives out of BigQuery is what it gives out of Parquet, cell by cell, on rows of a real shop."""

import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import emulated_cloud
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from partition_filters import unfiltered

import jobs.load
from feature_repo.bigquery.client import connected
from feature_repo.bigquery.layouts import LAYOUTS
from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.stores.packed.opened import open_rows
from training.point_in_time import entity_frame
from training.split import Window
from training.warehouse import Warehouse

pytestmark = pytest.mark.gcp
PROGRAM = Path(emulated_cloud.__file__).with_name("feast_rows.py")
WEEKS = (44, 46, 47, 48)
N_ITEMS = 400
SERVICES = {"user_ranking": "user_id", "item_ranking": "item_id", "item_retrieval": "item_id",
            "item_promotions": "item_id"}  # fmt: skip
US = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def parquet(installation, tmp_path_factory):
    """Settings of a shop with the last weeks of the real slice, corrections that came late among them."""
    state = tmp_path_factory.mktemp("parquet") / "state"
    settings = Settings(state, state / "reports")
    shutil.copytree(installation.state / "tables", state / "tables")
    since = ShopCalendar.load(settings.shop_calendar).end(40)
    keep_of_promotions(settings, since)
    for name in ("user_stats", "user_history", "item_stats", "item_coming_promotions", "item_text"):
        rows = pq.read_table(installation.feature_table(name))
        if name.startswith("item_"):
            rows = of_items(rows, popular(settings))
        if name not in ("item_text", "user_history"):
            rows = rows.filter(pa.compute.greater_equal(rows["event_timestamp"], pa.scalar(since)))
        settings.feature_table(name).mkdir(parents=True)
        pq.write_table(rows, settings.feature_table(name) / "part-0.parquet")
        if name.endswith("_stats"):
            pq.write_table(corrected(rows), settings.feature_table(name) / "part-1.parquet")
    return settings


def keep_of_promotions(settings, since):
    """Leave those of a few items and weeks: they are most of the rows, and alike."""
    path = settings.table("promotions")
    rows = of_items(pq.read_table(path), popular(settings))
    pq.write_table(rows.filter(pa.compute.greater_equal(rows["starts_at"], pa.scalar(since))), path)


def popular(settings):
    """Ids of the items sold most."""
    query = "SELECT item_id FROM read_parquet($1) GROUP BY item_id ORDER BY count(*) DESC, item_id LIMIT $2"
    return [
        row[0] for row in duckdb.execute(query, [settings.table_parts("transactions"), N_ITEMS]).fetchall()
    ]


def of_items(rows, ids):
    """Rows of some items."""
    return rows.filter(pa.compute.is_in(rows["item_id"], pa.array(ids)))


def corrected(rows):
    """Every seventh row again, written an hour later with another number."""
    frame = rows.slice(0).to_pandas().iloc[::7].copy()
    number = next(name for name in frame.columns if name.endswith("_baskets_7d"))
    frame[number] += 1000
    frame["created_timestamp"] += timedelta(hours=1)
    return pa.Table.from_pandas(frame, rows.schema, preserve_index=False)


@pytest.fixture(scope="module")
def cloud(parquet, bigquery):
    """The same shop under the emulated gcp profile, its tables loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIGQUERY_EMULATOR_HOST", bigquery.url)
        dataset = emulated_cloud.new_dataset(bigquery.url)
        settings = replace(parquet, profile="gcp-emulated", bigquery_dataset=dataset)
        jobs.load.run(settings)
        yield settings


@pytest.fixture(scope="module")
def asked(parquet, tmp_path_factory):
    """Folder with entity rows of every service: at ends of weeks, when rows become too old, long after."""
    folder, calendar = tmp_path_factory.mktemp("asked"), ShopCalendar.load(parquet.shop_calendar)
    last = calendar.end(48)
    instants = [calendar.end(week) for week in WEEKS] + [
        *(last + timedelta(days=13, hours=5), last + timedelta(days=14), last + timedelta(days=14) + US),
        last + timedelta(days=400),
    ]
    query = "SELECT DISTINCT user_id FROM read_parquet($1) ORDER BY user_id"
    users = [row[0] for row in duckdb.execute(query, [parquet.table_parts("transactions")]).fetchall()]
    ids = {"user_id": [*users, "nobody"], "item_id": [*popular(parquet), "nothing"]}
    for service, key in SERVICES.items():
        entity_frame(key, ids[key], instants).to_parquet(folder / f"{service}.parquet")
    return folder


@pytest.fixture(scope="module")
def given(parquet, cloud, asked, bigquery, redis_url):
    """Folders of what Feast gave out of Parquet and out of BigQuery, each in a process of its own."""
    end = ShopCalendar.load(parquet.shop_calendar).end(48).isoformat()
    for settings in (parquet, cloud):
        run = [sys.executable, "-W", "ignore", str(PROGRAM), str(asked), end]
        where = emulated_cloud.environment(settings, bigquery.url, redis_url)
        done = subprocess.run(
            run, env=where, cwd=emulated_cloud.ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return asked / "embedded", asked / "gcp-emulated"


@pytest.mark.parametrize("name", [*SERVICES, "item_ranking.written"])
def test_training_set_is_the_same_in_every_cell(given, name):
    """Thousands of rows: values, what was corrected later, what had become too old, who was never there.

    An array that is not there is an empty one in BigQuery.
    """
    ours, theirs = (pq.read_table(folder / f"{name}.parquet") for folder in given)
    assert theirs.num_rows == ours.num_rows >= 2_000 or name.startswith("user")
    assert set(theirs.column_names) == set(ours.column_names)
    rows = [ours.to_pylist(), theirs.select(ours.column_names).to_pylist()]
    different = [
        (mine, other)
        for mine, other in zip(*rows, strict=True)
        if {key: mine[key] or None if isinstance(other[key], list) else mine[key] for key in mine}
        != {key: other[key] or None if isinstance(other[key], list) else other[key] for key in other}
    ]
    assert different == []


def test_what_is_compared_has_corrections_gaps_and_values(given):
    """The comparison above is not one of nulls: cells have values, corrections are seen and not."""
    _, theirs = given
    both = [pq.read_table(theirs / f"item_ranking{kind}.parquet") for kind in ("", ".written")]
    seen, written = (pd.Series(table["item_baskets_7d"].to_pandas()) for table in both)
    assert seen.notna().mean() > 0.4
    assert seen.isna().mean() > 0.1
    assert (seen > 999).sum() > 50
    assert written.isna().all()  # the rows were computed in our days, not in the shop's


def test_online_rows_are_the_same(given, parquet, cloud, redis_url, monkeypatch):
    """What is filled into Redis out of BigQuery is, byte by byte, what SQLite holds of Parquet."""
    assert all(folder.exists() for folder in given)
    monkeypatch.setenv("ENDCAP_REDIS_URL", redis_url)
    store = cloud.feature_store.with_name("feature_store.gcp.yaml")
    sqlite, redis = open_rows(parquet), open_rows(replace(cloud, feature_store=store))
    for view in ("user_stats", "user_history", "item_stats"):
        rows = sqlite.read_all(view)
        assert redis.read_all(view) == rows
        assert len(rows) > 100


def test_labels_are_the_same(parquet, cloud):
    """Purchases, trips, catalogues: each question of training has one answer in DuckDB and in BigQuery."""
    calendar = ShopCalendar.load(parquet.shop_calendar)
    window = Window(47, 48, calendar.end(46), calendar.end(48))
    ours, theirs = Warehouse.of(parquet), Warehouse.of(cloud)
    for ask in (
        lambda of: of.purchases(window),
        lambda of: of.trip_counts(window),
        lambda of: of.basket_counts(window.instant, window.end),
        lambda of: of.items().reset_index(),
        lambda of: in_order(of.ever_bought(window.instant)),
    ):
        mine, other = ask(ours), ask(theirs)
        assert len(mine) > 50
        pd.testing.assert_frame_equal(mine, other, check_dtype=False, rtol=1e-12)
    for ask in (
        lambda of: of.user_ids(window.instant),
        lambda of: of.catalogue_ids(window.instant, window.end),
        lambda of: of.first_sold(window.instant, window.end),
        lambda of: of.rarely_sold(window.instant, window.end, fewer_than=3),
        lambda of: of.span(window.end),
    ):
        assert ask(ours) == ask(theirs)
        assert ask(ours)


def in_order(frame):
    """Rows in the order of their columns."""
    return frame.sort_values(list(frame.columns), ignore_index=True)


def test_tables_are_laid_out_as_told(cloud):
    """A partition for each day or month of the event timestamp, which a query must name; and clusters."""
    client = connected(cloud)
    for name, layout in LAYOUTS.items():
        table = client.get_table(f"{cloud.dataset}.{name}")
        by = table.time_partitioning
        assert (by and by.field, table.clustering_fields) == (layout.time, list(layout.order))
        assert bool(table.require_partition_filter) == (layout.time is not None)


def test_every_query_filters_its_partitions(given, cloud, bigquery):
    """Of all that was asked of this shop so far, nothing reads a table that has partitions as a whole."""
    assert all(folder.exists() for folder in given)
    queries = [query for query in bigquery.queries() if cloud.dataset.split(".")[1] in query]
    assert len(queries) > 10
    assert [found for query in queries for found in unfiltered(query)] == []
