"""What is submitted is what runs, and leaves what local steps leave: rows, vectors, a step that is done."""

import subprocess
import sys
import zipfile
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path

import dataproc_shop
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from dataproc_shop import LAKE, submit
from feature_rows import CALENDAR, assert_same_rows, line, nasty_shop
from spark_submit import BLOCKED, spark_submit

from feature_repo.item_text import TEXT_COLUMNS, item_texts
from feature_repo.settings import Settings
from jobs import dataproc_driver as driver
from jobs import text_encoder
from jobs.batches import record_file
from jobs.build_day_features import part_of, snapshots, write_histories, write_part
from jobs.build_features import feature_tables, write_feature_table
from jobs.day_engine import SparkEngine
from jobs.days.steps import DAY_STEPS
from jobs.embed_items import VectorCache
from jobs.embed_items import run as embed_locally
from jobs.google_cloud.package_zip import Package
from jobs.lake import Lake
from jobs.pipeline import Pipeline
from jobs.steps import Choices, step_named

pytestmark = pytest.mark.gcp
ROOT = Path(__file__).resolve().parents[3]
MONDAY = date(2018, 4, 23)  # the first day of a shop week
MIDNIGHT = datetime(2018, 4, 23, 4, tzinfo=UTC)  # of New York
NOON = datetime(2018, 4, 23, 16, tzinfo=UTC)
KEYS = {"user_stats": "user_id", "item_stats": "item_id", "user_history": "user_id",
        "item_coming_promotions": "item_id"}  # fmt: skip


def shop_until(end):
    """The nasty shop's lines before an instant, and those of the day that begins with it: known and new."""
    shop = nasty_shop()
    lines = [each for each in shop.lines if each["event_timestamp"] < end]
    today = [
        *(line(user, item, NOON) for user in ("ties", "u01", "fresh") for item in ("9", "i00", "i07")),
        *(line("fresh", item, NOON + timedelta(hours=2)) for item in ("i00", "é")),
        line("u01", "i05", NOON + timedelta(hours=1), quantity=-1.0),
    ]
    return replace(shop, lines=lines), replace(shop, lines=today)


def with_day(settings, today):
    """Take the day's lines in."""
    beside = today.write(settings.state / "beside")
    beside.table("transactions").rename(settings.table_part("transactions", MONDAY))


@pytest.fixture(scope="module", autouse=True)
def small(spark):
    """Plans of this process as small as the data; the submitted driver has two parts."""
    quick = {"spark.sql.shuffle.partitions": "1", "spark.sql.adaptive.enabled": "false"}
    before = {name: spark.conf.get(name) for name in quick}
    configure(spark, quick)
    yield
    configure(spark, before)


def configure(spark, values):
    """Set values of a session."""
    for name, value in values.items():
        spark.conf.set(name, value)


@pytest.fixture(scope="module")
def local(spark, tmp_path_factory):
    """The shop whose steps are done locally: all features, then those of a day, and vectors."""
    before, today = shop_until(MIDNIGHT)
    settings, now = before.write(tmp_path_factory.mktemp("local")), datetime.now(UTC)
    for name, rows in feature_tables(spark, settings).items():
        write_feature_table(rows(), settings.feature_table(name), now, 1)
    with_day(settings, today)
    for name, rows in snapshots(spark, settings, CALENDAR, MONDAY).items():
        write_part(SparkEngine(spark), rows, part_of(settings, name, MONDAY), now)
    write_histories(settings, CALENDAR, MONDAY, now)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_encoder, "has_native_bfloat16", lambda: False)
        embed_locally(settings)
    return settings


@pytest.fixture(scope="module")
def lake(spark, tmp_path_factory):
    """The same shop's lake, where the driver's own functions make all features in this process."""
    before, today = shop_until(MIDNIGHT)
    settings = before.write(tmp_path_factory.mktemp("lake"))
    told = driven(spark, settings, "build-features")
    assert {note.partition(":")[0] for note in told["notes"]} == set(KEYS)
    with_day(settings, today)
    return settings


@pytest.fixture(scope="module")
def submitted(lake, tmp_path_factory):
    """That shop with its bucket mounted, and what `endcap submit build-features` of the day said, twice."""
    folder = tmp_path_factory.mktemp("batch")
    with dataproc_shop.cloud(lake.state) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataproc_shop.dataproc, "POLL_S", 0.2)
        record = lake.state / "tables" / "ingest.json"  # by which a mounted bucket is known
        record.write_text("{}")
        server.buckets.objects[f"{LAKE}/tables/ingest.json"] = record.read_bytes()
        server.execute = spark_submit(folder, server.buckets, LAKE, lake.state)
        told = submit("build-features", "--date", str(MONDAY))
        assert told.exit_code == 0, told.output + (folder / "driver.log").read_text()
        again = submit("build-features", "--date", str(MONDAY))
    return lake, told.output, again.output


@pytest.fixture(scope="module")
def embedded(spark, lake):
    """That shop after its items are embedded by Spark's workers."""
    n_items = pq.read_table(lake.table("items")).num_rows
    told = driven(spark, lake, "embed-items")
    assert (told["rows"], told["detail"]) == (n_items, f"{n_items} unique texts, {n_items} encoded")
    return lake


def driven(spark, settings, step):
    """What the driver tells of a step over the lake that a state folder is, in this process."""
    root = f"file://{settings.state}"
    return driver.run(Lake(spark, root), driver.arguments([step, "--root", root]))["result"]


def rows_of(settings, name, part):
    """Rows of the parts of a feature table whose name begins so, as pandas has them."""
    files = sorted(settings.feature_table(name).glob(f"{part}*.parquet"))
    assert files
    frame = pd.concat([pq.read_table(path).to_pandas() for path in files])
    lists = [column for column in frame if isinstance(frame[column].iloc[0], np.ndarray)]
    for column in lists:
        frame[column] = frame[column].map(tuple)
    return frame.drop(columns="created_timestamp")


@pytest.mark.parametrize("name", KEYS)
def test_a_whole_build_has_the_local_rows(local, lake, name):
    """Every column of every row, whatever the parts and their order."""
    expected = rows_of(local, name, "part")
    found = rows_of(lake, name, "part")[list(expected)]
    same(found, expected, KEYS[name])


@pytest.mark.parametrize("name", KEYS)
def test_a_submitted_day_has_the_local_rows(local, submitted, name):
    """Snapshots, the week's promotions, and histories, which locally go on by DuckDB and here by Spark."""
    expected = rows_of(local, name, f"day-{MONDAY}")
    found = rows_of(submitted[0], name, f"day-{MONDAY}")[list(expected)]
    same(found, expected, KEYS[name])


def same(found, expected, key):
    """The same rows: tuples and texts equal, doubles but for the order of their sums."""
    lists = [column for column in expected if isinstance(expected[column].iloc[0], tuple)]
    index = [key, "event_timestamp"]
    for column in lists:
        of = [dict(zip(zip(*(frame[each] for each in index), strict=True), frame[column], strict=True))
              for frame in (found, expected)]  # fmt: skip
        assert of[0] == of[1], column
    assert_same_rows(found.drop(columns=lists), expected.drop(columns=lists), key)


def test_histories_of_known_and_new_shoppers_go_on(submitted):
    """A shopper of before has the items of before, a new one two baskets; a return is none."""
    rows = rows_of(submitted[0], "user_history", f"day-{MONDAY}").groupby("user_id")
    assert {user: len(each) for user, each in rows} == {"ties": 1, "u01": 1, "fresh": 2}
    assert "i05" not in set(rows.get_group("fresh")["history_items"].iloc[-1])
    assert len(rows.get_group("ties")["history_items"].iloc[0]) > 3


def test_vectors_are_the_local_ones(local, embedded):
    """Each item's cosine to its local vector is one, and so are its times."""
    found, expected = (
        pq.read_table(settings.feature_table("item_text")).to_pandas().set_index("item_id").sort_index()
        for settings in (embedded, local)
    )
    assert found.index.equals(expected.index)
    cosines = (np.stack(found["text_embedding"]) * np.stack(expected["text_embedding"])).sum(axis=1)
    assert cosines.min() > 0.9999
    assert found["event_timestamp"].tolist() == expected["event_timestamp"].tolist()


def test_only_new_texts_are_encoded(spark, embedded):
    """A second run encodes none, and the local step finds the same vectors by the same keys."""
    told = driven(spark, embedded, "embed-items")
    assert (told["rows"] > 0, told["detail"].partition(", ")[2]) == (True, "0 encoded")
    (cache,) = (embedded.state / "embeddings").iterdir()
    table = pq.read_table(embedded.table("items"))
    assert (
        VectorCache(cache).missing(item_texts({name: table[name].to_pylist() for name in TEXT_COLUMNS})) == []
    )


def test_the_step_is_done_for_the_pipeline(submitted):
    """The batch's record becomes the step's marker: rows by table, nothing to do; the same command, too."""
    settings, told, again = submitted
    step = step_named("build-features", DAY_STEPS)
    pipeline = Pipeline(Settings(state=settings.state, reports=settings.state), steps=DAY_STEPS)
    assert record_file(settings, "build-features", MONDAY).exists()
    assert pipeline.reason_to_run(step, Choices(day=MONDAY)) is None
    assert "user_stats: " in told
    assert again.splitlines()[-1].endswith("was done before")


def test_the_driver_imports_what_dataproc_has():
    """From the zip alone, with Feast, the frameworks, DuckDB and Google's libraries out of reach."""
    package = Package.made()
    names = zipfile.ZipFile(BytesIO(package.zipped)).namelist()
    modules = [name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in names]
    program = (
        "import importlib, io, sys, tempfile, pathlib\n"
        "path = pathlib.Path(tempfile.mkdtemp(), 'code.zip')\n"
        "path.write_bytes(sys.stdin.buffer.read())\n"
        f"sys.path.insert(0, str(path)); sys.modules.update(dict.fromkeys({BLOCKED!r}))\n"
        f"for name in {modules!r}:\n"
        "    assert str(path) in importlib.import_module(name).__file__\n"
    )
    subprocess.run([sys.executable, "-I", "-c", program], input=package.zipped, check=True)


def test_the_zip_is_the_same_wherever_it_is_made(tmp_path):
    """Another folder, other times: the same bytes; another line of code: another name."""
    package = Package.made()
    copy = tmp_path / "copy"
    for name in zipfile.ZipFile(BytesIO(package.zipped)).namelist():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    assert Package.made(copy) == package
    with (copy / "jobs" / "lake.py").open("a") as file:
        file.write("X = 1\n")
    assert Package.made(copy).hash != package.hash
