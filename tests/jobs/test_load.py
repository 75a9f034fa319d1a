"""What lies in BigQuery after a load is what lies in Parquet, whatever came, changed, went or broke off."""

import shutil
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot
from emulated_cloud import empty_shop
from feature_rows import FIRST_DAY, Shop, line, local
from google.api_core.exceptions import ServiceUnavailable
from google.cloud import bigquery
from sqlglot import exp

import jobs.load
from feature_repo.bigquery.client import BigQueryError, connected
from feature_repo.bigquery.layouts import CONTRACT, LAYOUTS, columns_of, ddl
from feature_repo.settings import SettingsError
from jobs.load import empty_schema

pytestmark = pytest.mark.gcp
FIRST, SECOND = FIRST_DAY + timedelta(days=7), FIRST_DAY + timedelta(days=8)
ITEM = {"category_1": "a", "category_2": "b", "category_3": "c", "brand": None, "title": "Tea", "size": "2"}


@pytest.fixture
def shop(bigquery_url, monkeypatch, tmp_path):
    """Settings of a shop with two lines in its full ingest, a day of one line, and histories of two users."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_url)
    settings = empty_shop(bigquery_url, tmp_path / "state")
    lines = [line("ann", "tea", local(1)), line("bob", "jam", local(1, hours=3))]
    Shop(lines, [ITEM | {"item_id": each} for each in ("tea", "jam")], []).write(settings.state)
    write_day(settings, FIRST, [line("ann", "jam", local(2))])
    table = settings.feature_table("user_history")
    table.mkdir(parents=True)
    pq.write_table(histories([("ann", ["tea"]), ("bob", [])]), table / "part-0.parquet")
    return settings


def write_day(settings, day, lines):
    """The part of transactions of a day."""
    schema = pq.read_schema(settings.table("transactions"))
    pq.write_table(pa.Table.from_pylist(lines, schema), settings.table_part("transactions", day))


def histories(rows):
    """Some users' histories, of which all but the items is missing."""
    schema = empty_schema("user_history")
    stamps = {"event_timestamp": local(2), "created_timestamp": local(3)}
    nothing = {field.name: [] for field in schema if pa.types.is_list(field.type)}
    found = [{**nothing, "user_id": user, "history_items": items, **stamps} for user, items in rows]
    return pa.Table.from_pylist(found, schema)


def there(settings, name="transactions"):
    """Rows of a table in BigQuery."""
    found = connected(settings).list_rows(f"{settings.dataset}.{name}")
    return sorted((dict(row.items()) for row in found), key=repr)


def here(settings, name="transactions"):
    """Rows of a table in Parquet."""
    folder = settings.table(name).parent if name in CONTRACT else settings.feature_table(name)
    return sorted(
        (row for path in folder.glob("*.parquet") for row in pq.read_table(path).to_pylist()), key=repr
    )


def test_all_parts_of_all_tables_are_loaded_once(shop):
    """Arrays too; what did not change is not loaded again."""
    assert jobs.load.run(shop).rows == 2 + 1 + 2 + 2
    for name in ("transactions", "items", "user_history"):
        assert there(shop, name) == here(shop, name)
    assert jobs.load.run(shop).rows == 0


def test_a_corrected_day_takes_the_place_of_its_rows(shop):
    """Also rows at the edges of its old and new time, and no others."""
    write_day(shop, SECOND, [line("bob", "tea", local(2, 1)), line("bob", "tea", local(2, 1, hours=23))])
    jobs.load.run(shop)
    write_day(shop, FIRST, [line("cy", "jam", local(2, hours=1)), line("cy", "tea", local(2, hours=2))])
    assert jobs.load.run(shop).rows == 2
    assert there(shop) == here(shop)
    write_day(shop, SECOND, [])
    jobs.load.run(shop)
    assert there(shop) == here(shop)
    assert len(there(shop)) == 4


def test_a_day_that_went_is_taken_away(shop):
    """A full ingest that reaches further makes days' parts needless, and writes the first part anew."""
    jobs.load.run(shop)
    shop.table_part("transactions", FIRST).unlink()
    assert jobs.load.run(shop).rows == 0
    assert there(shop) == here(shop)
    assert len(there(shop)) == 2


def test_a_day_of_features_is_replaced_as_a_day_of_rows(shop):
    """Parts of a day's snapshot are named day-DAY."""
    jobs.load.run(shop)
    part = shop.feature_table("user_history") / f"day-{FIRST}.parquet"
    for items in (["tea"], ["tea", "jam"]):
        rows = histories([("ann", items)]).to_pylist()
        late = [{**row, "event_timestamp": local(2, 1)} for row in rows]
        pq.write_table(pa.Table.from_pylist(late, empty_schema("user_history")), part)
        jobs.load.run(shop)
        assert there(shop, "user_history") == here(shop, "user_history")


@pytest.mark.parametrize("call", ["load_table_from_file", "query", "delete_table"])
def test_who_comes_again_after_a_crash_doubles_and_loses_nothing(shop, monkeypatch, call):
    """Wherever it broke off: at the load, in place of the day's rows, behind them."""
    jobs.load.run(shop)
    write_day(shop, FIRST, [line("cy", "tea", local(2, hours=5))])
    with monkeypatch.context() as patch:

        def broken(*_, **__):
            raise ServiceUnavailable("try later")

        patch.setattr(bigquery.Client, call, broken)
        with pytest.raises(BigQueryError, match=r"could not load tables into .*: 503 try later"):
            jobs.load.run(shop)
    jobs.load.run(shop)
    assert there(shop) == here(shop)


def test_what_was_not_noted_is_loaded_again_to_the_same_effect(shop):
    """A crash just before the note."""
    jobs.load.run(shop)
    for note in (shop.state / "bigquery").iterdir():
        note.unlink()
    assert jobs.load.run(shop).rows == 7
    assert there(shop) == here(shop)


def test_a_table_that_was_dropped_is_loaded_again(shop):
    """The notes are of a table that is no more."""
    jobs.load.run(shop)
    connected(shop).delete_table(f"{shop.dataset}.transactions")
    assert jobs.load.run(shop).rows == 3
    assert there(shop) == here(shop)


def test_parts_in_a_bucket_are_read_there(shop, bigquery):
    """By BigQuery itself; what lies here is only looked at."""
    lake = replace(shop, bucket="gs://our-lake/shop")
    shutil.copytree(shop.state, bigquery.folder / "our-lake" / "shop")
    jobs.load.run(lake)
    assert there(lake) == here(lake)
    write_day(lake, FIRST, [line("cy", "tea", local(2, hours=5))])  # and not in the bucket
    jobs.load.run(lake)
    assert [row["user_id"] for row in there(lake)] == ["ann", "ann", "bob"]


def test_tables_are_made_as_their_ddl_says(shop):
    """Columns, types, modes, partitions and clusters: by the API as by the statement for people."""
    jobs.load.run(shop)
    client = connected(shop)
    for name in ("transactions", "items", "user_history"):
        made = client.get_table(f"{shop.dataset}.{name}")
        statement = sqlglot.parse_one(ddl("my-shop.by_hand", name), dialect="bigquery")
        told = [
            (
                column.name,
                column.args["kind"].sql("bigquery"),
                column.find(exp.NotNullColumnConstraint) is not None,
            )
            for column in statement.find_all(exp.ColumnDef)
        ]
        kinds = {"FLOAT": "FLOAT64", "INTEGER": "INT64"}
        got = [
            (
                field.name,
                f"ARRAY<{kinds.get(field.field_type, field.field_type)}>"
                if field.mode == "REPEATED"
                else kinds.get(field.field_type, field.field_type),
                field.mode == "REQUIRED",
            )
            for field in made.schema
        ]
        assert got == told
        by = made.time_partitioning
        assert (f"TIMESTAMP_TRUNC({by.field}, {by.type_})" if by else "CLUSTER") in ddl("x.y", name)
        assert f"CLUSTER BY {', '.join(made.clustering_fields)}" in ddl("x.y", name)


def test_every_table_of_the_contract_and_every_view_has_a_layout():
    """Its time and its order are among its columns, and no column is laid out twice."""
    assert set(CONTRACT) == {"transactions", "items", "users", "promotions"}
    assert LAYOUTS["item_text"].unit == "MONTH"  # of decades: a table may have 10,000 partitions
    for name, layout in LAYOUTS.items():
        columns = [column.name for column in columns_of(name)]
        assert len(columns) == len(set(columns))
        assert {*layout.order, *([layout.time] if layout.time else [])} <= set(columns)


def test_what_is_missing_is_said(shop, monkeypatch):
    """Tables, the dataset, the emulator: with what to do."""
    with pytest.raises(FileNotFoundError, match="run `endcap ingest`"):
        jobs.load.run(replace(shop, state=shop.state / "elsewhere"))
    with pytest.raises(BigQueryError, match=r"no dataset my-shop\.gone; .* mk --dataset my-shop:gone"):
        jobs.load.run(replace(shop, bigquery_dataset="my-shop.gone"))
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST")
    with pytest.raises(
        SettingsError, match="BIGQUERY_EMULATOR_HOST is not set, and ENDCAP_PROFILE is gcp-em"
    ):
        jobs.load.run(shop)
