"""A lake's tables are read and written whole: a crash leaves the one before, and BigQuery gets its layout."""

from datetime import UTC, date, datetime

import pyarrow.parquet as pq
import pytest
from feature_rows import CALENDAR, Shop, line, local

from jobs.build_on_spark import build_day, build_whole
from jobs.dataproc_driver import arguments
from jobs.hadoop_files import HadoopFiles, hidden
from jobs.lake import Lake, read, write

pytestmark = pytest.mark.gcp
NOW = datetime(2018, 1, 1, tzinfo=UTC)
ITEM = {"item_id": "tea", "title": "Tea", "category_1": "Drinks", "category_2": "x", "category_3": "y"}
SMALL = Shop([line("one", "tea", local(2))], [ITEM], [])


@pytest.fixture
def lake(spark, tmp_path):
    """A small shop's lake."""
    return Lake(spark, f"file://{SMALL.write(tmp_path).state}")


def ids(tmp_path, pattern="item_stats/*.parquet"):
    """What is in the parts of a table."""
    return [value for path in sorted(tmp_path.glob(f"features/{pattern}")) for value in
            pq.read_table(path)["id"].to_pylist()]  # fmt: skip


def broken(spark):
    """Rows of which the last cannot be made, in two tasks."""
    return spark.range(1_000, numPartitions=2).selectExpr("if(id < 900, id, raise_error('spilled')) AS id")


def test_a_crash_while_rows_are_written_leaves_the_table_of_before(lake, tmp_path):
    """A whole table and a day's part alike; the next write takes their place, and nothing is left aside."""
    day = date(2018, 1, 2)
    lake.write_features("item_stats", lake.spark.range(3), NOW)
    lake.write_day("item_stats", day, lake.spark.range(5, 7), NOW)
    with pytest.raises(Exception, match="spilled"):
        lake.write_features("item_stats", broken(lake.spark), NOW)
    with pytest.raises(Exception, match="spilled"):
        lake.write_day("item_stats", day, broken(lake.spark), NOW)
    assert (ids(tmp_path), ids(tmp_path, f"item_stats/day-{day}.parquet")) == ([5, 6, 0, 1, 2], [5, 6])
    assert lake.write_day("item_stats", day, lake.spark.range(9, 10), NOW) == 1
    assert ids(tmp_path, f"item_stats/day-{day}.parquet") == [9]
    assert lake.write_features("item_stats", lake.spark.range(7, 9), NOW) == 2
    assert ids(tmp_path) == [7, 8]
    assert [path.name for path in (tmp_path / "features").iterdir()] == ["item_stats"]


def test_a_crash_between_the_renames_is_mended(lake, tmp_path, monkeypatch):
    """The table of before is put back, when the table is built next or when somebody settles it."""
    lake.write_features("item_stats", lake.spark.range(3), NOW)
    rename, calls = HadoopFiles.rename, []

    def rename_once(files, uri, to):
        calls.append(uri)
        if len(calls) > 1:
            raise OSError("killed")
        rename(files, uri, to)

    with monkeypatch.context() as patch:
        patch.setattr(HadoopFiles, "rename", rename_once)
        with pytest.raises(OSError, match="killed"):
            lake.write_features("item_stats", lake.spark.range(7, 9), NOW)
    assert ids(tmp_path) == []
    lake.files.settle(lake.feature_table("item_stats"))
    assert ids(tmp_path) == [0, 1, 2]
    lake.files.settle(lake.feature_table("item_stats"))
    assert ids(tmp_path) == [0, 1, 2]


def test_small_files(lake, tmp_path):
    """Text is read as it was written, over what was there; hidden names are none; a name must be free."""
    files, uri = lake.files, f"file://{tmp_path}/notes/slots.json"
    for text in ("[]", '["Käse 日本"]'):
        files.write_text(uri, text)
        assert files.read_text(uri) == text
    (tmp_path / "notes" / ".hidden.json").write_text("")
    assert files.names(f"file://{tmp_path}/notes", ".json") == ["slots.json"]
    assert files.names(f"file://{tmp_path}/nowhere") == []
    with pytest.raises(OSError, match=r"Cannot rename .*slots.json"):
        files.rename(uri, f"file://{tmp_path}/tables")
    files.delete(uri)
    assert not files.exists(uri)


def test_a_lake_has_the_shops_weeks_and_keeps_its_slots(lake, tmp_path):
    """As the state folder has them; departments keep their places."""
    assert lake.calendar() == CALENDAR
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "departments.json").write_text('["Cheese"]')
    assert lake.slots(lake.table("items")) == ["Cheese", "Drinks"]
    assert (tmp_path / "features" / "departments.json").read_text() == '[\n "Cheese",\n "Drinks"\n]'


@pytest.mark.parametrize("missing", ["items", "transactions", "calendar"])
def test_a_missing_table_names_the_command(spark, tmp_path, missing):
    """Without what every shop has there are no features."""
    lake = Lake(spark, f"file://{SMALL.write(tmp_path, without=missing).state}")
    with pytest.raises(FileNotFoundError, match=f"No {missing} in .*; run `endcap ingest`"):
        list(build_whole(lake))


def test_a_shop_without_promotions_or_purchases(spark, tmp_path):
    """Promotions may be missing; purchases may not, and the error says where they are."""
    lake = Lake(spark, f"file://{SMALL.write(tmp_path / 'a', without='promotions').state}")
    assert lake.promotions().count() == 0
    returns = Shop([line("one", "tea", local(2), quantity=-1.0)], [ITEM], [])
    lake = Lake(spark, f"file://{returns.write(tmp_path / 'b').state}")
    with pytest.raises(ValueError, match=r"No purchases in .*tables/transactions; run `endcap ingest` again"):
        list(build_whole(lake))


def test_a_day_needs_its_rows_and_the_features_before(lake, tmp_path):
    """Each error names the command that is missing."""
    day = date(2017, 10, 12)
    with pytest.raises(FileNotFoundError, match="run `endcap ingest --date 2017-10-12`"):
        list(build_day(lake, day))
    (tmp_path / "tables" / "transactions" / f"{day}.parquet").touch()
    with pytest.raises(FileNotFoundError, match=r"No features in .*; run `endcap build-features`"):
        list(build_day(lake, day))


class Connector:
    """Stands in for Spark over BigQuery, whose connector is Dataproc's: keeps what it is told."""

    def __init__(self):
        self.told = {}

    def __getattr__(self, name):
        def tell(*words):
            self.told[words[0] if name == "option" else name] = words[-1] if words else True
            return self

        return tell

    @property
    def read(self):
        """A session's reader."""
        return self

    @property
    def write(self):
        """A frame's writer."""
        return self


def test_bigquery_is_written_in_one_commit_with_its_layout():
    """By the Storage Write API, partitioned and clustered as the layout says."""
    for name, expected in (
        (
            "item_stats",
            {"partitionField": "event_timestamp", "partitionType": "DAY", "clusteredFields": "item_id"},
        ),
        (
            "item_text",
            {"partitionField": "event_timestamp", "partitionType": "MONTH", "clusteredFields": "item_id"},
        ),
        ("items", {"clusteredFields": "item_id"}),
    ):
        rows = Connector()
        write(rows, f"bigquery://my-shop.endcap.{name}")
        whole = {"format": "bigquery", "mode": "overwrite", "table": f"my-shop.endcap.{name}", "save": True}
        assert rows.told == whole | {"writeMethod": "direct"} | expected


def test_bigquery_is_asked_for_a_span_of_partitions():
    """A table with partitions refuses to be read without one; others need none."""
    for name, filtered in (
        ("transactions", "event_timestamp >= "),
        ("promotions", "starts_at >= "),
        ("items", None),
    ):
        session = Connector()
        read(session, f"bigquery://my-shop.endcap.{name}")
        assert session.told["table"] == f"my-shop.endcap.{name}"
        assert (session.told["format"], session.told["load"]) == ("bigquery", True)
        assert session.told.get("filter", "").startswith(filtered or "")
        assert ("filter" in session.told) == bool(filtered)


def test_a_lake_reads_tables_where_it_is_told(lake, monkeypatch):
    """With `tables`, the contract's come from BigQuery, if they are the lake's; else from its own parts."""
    in_bigquery = {}
    monkeypatch.setattr("jobs.lake.read", lambda spark, uri: in_bigquery.get(uri) or read(spark, uri))
    there = Lake(lake.spark, lake.root, tables="bigquery://my-shop.endcap")
    for name in ("items", "transactions"):
        rows = lake.table(name)
        in_bigquery[f"bigquery://my-shop.endcap.{name}"] = rows.withColumn("there", rows.item_id)
        assert "there" in there.table(name).columns
        assert "there" not in lake.table(name).columns
        in_bigquery[f"bigquery://my-shop.endcap.{name}"] = rows.limit(rows.count() - 1)
        with pytest.raises(ValueError, match=rf"endcap\.{name} has .* rows.*; run `endcap load` first"):
            there.table(name)


def test_slots_outlive_a_crash_between_two_renames(lake):
    """Their order is that of the shares in every row before; a build that adds none writes nothing."""
    uri = f"{lake.root}/features/departments.json"
    lake.files.write_text(uri, '["west", "east"]')
    before = lake.slots(lake.table("items"))
    assert before[:2] == ["west", "east"]
    lake.files.rename(uri, hidden(uri, "old"))
    assert lake.slots(lake.table("items")) == before
    lake.files.write_text = None  # nobody may write
    assert lake.slots(lake.table("items")) == before


def test_the_drivers_command_line(capsys):
    """What is no dataset or step is refused before Spark is started."""
    asked = arguments(["embed-items", "--root", "gs://lake", "--gpu", "--model", "gs://m/bert"])
    assert (asked.step, asked.gpu, asked.model, asked.tables) == ("embed-items", True, "gs://m/bert", None)
    for words in (["train", "--root", "x"], ["build-features", "--root", "x", "--tables", "my-shop.endcap"]):
        with pytest.raises(SystemExit):
            arguments(words)
    assert "'my-shop.endcap' is no dataset; use bigquery://PROJECT.DATASET" in capsys.readouterr().err
