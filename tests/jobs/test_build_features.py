"""build-features writes what the feature views declare, quietly, keeps slots, and leaves no half table."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feature_rows import CALENDAR, N_WEEKS, Shop, line, local, nasty_shop, week_bounds
from raw_features import RawFeatures

from feature_repo.features.items import item_coming_promotions as promotions_view
from feature_repo.features.items import item_stats as item_view
from feature_repo.features.users import user_history as history_view
from feature_repo.features.users import user_stats as user_view
from feature_repo.settings import Settings
from jobs.build_features import feature_tables, read_promotions, run, write_feature_table
from jobs.features.frames import DEPARTMENT_SLOTS, OTHER, department_slots
from jobs.spark import spark_session

VIEWS = {
    "user_stats": user_view,
    "user_history": history_view,
    "item_stats": item_view,
    "item_coming_promotions": promotions_view,
}
ARROW_NAMES = {
    "Int64": "int64", "Float64": "double", "String": "string", "Array(Int64)": "list<element: int64>",
    "Array(Float32)": "list<element: float>", "Array(String)": "list<element: string>",
}  # fmt: skip
GIVEN = ["D35", "Closed", "D07"]
SLOTS = [*GIVEN, *[f"D{n:02d}" for n in range(29) if n != 7], "(other)"]
PROGRAM = """
import sys
from pathlib import Path
from feature_repo.settings import Settings
from jobs.build_features import run
state = Path(sys.argv[1])
print(run(Settings(state=state, reports=state, threads=2)).rows)
"""


def item(name: str, department: str) -> dict[str, str]:
    """One item of a department."""
    return {"item_id": name, "title": name, "category_1": department, "category_2": "x", "category_3": "y"}


SMALL = Shop(
    [line("one", "tea", local(2)), line("one", "saw", local(3)), line("two", "milk", local(2, 3))],
    [item("tea", "Drinks"), item("saw", "Tools"), item("milk", "Dairy")],
    [],
)


@pytest.fixture
def spark(spark_settings: Settings) -> Any:
    """The session, made again for each test: `run` stops it."""
    return spark_session(spark_settings, "tests")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, subprocess.CompletedProcess]:
    """The nasty shop, where some slots were given before, built by a program of its own."""
    settings = nasty_shop().write(tmp_path_factory.mktemp("a shop"))
    (settings.state / "features").mkdir()
    (settings.state / "features" / "departments.json").write_text(json.dumps(GIVEN))
    command = [sys.executable, "-c", PROGRAM, str(settings.state)]
    quick = os.environ | {"SPARK_SUBMIT_OPTS": "-XX:TieredStopAtLevel=1"}
    return settings, subprocess.run(command, capture_output=True, text=True, check=False, env=quick)


@pytest.fixture(scope="module")
def built(done: tuple[Settings, subprocess.CompletedProcess]) -> Settings:
    """Settings of that installation."""
    assert done[1].returncode == 0, done[1].stderr
    return done[0]


def test_says_nothing_but_its_result(done: tuple[Settings, subprocess.CompletedProcess]):
    """A run writes nothing to the terminal by itself, and leaves no scratch and nothing aside."""
    settings, program = done
    assert (program.returncode, program.stderr) == (0, "")
    counts = [pq.read_table(settings.feature_table(name)).num_rows for name in VIEWS]
    assert program.stdout == f"{sum(counts)}\n"
    assert sorted(path.name for path in settings.state.iterdir()) == ["features", "tables"]
    assert {path.name for path in (settings.state / "features").iterdir()} == {*VIEWS, "departments.json"}


@pytest.mark.parametrize("name", VIEWS)
def test_files_have_the_columns_of_their_view(built: Settings, name: str):
    """Parquet holds exactly the view's features in its types, its key, and two UTC times in microseconds."""
    table = pq.read_table(built.feature_table(name))
    expected = {field.name: ARROW_NAMES[str(field.dtype)] for field in VIEWS[name].features}
    expected |= dict.fromkeys(("event_timestamp", "created_timestamp"), "timestamp[us, tz=UTC]")
    expected |= {f"{VIEWS[name].entities[0]}_id": "string"}
    assert {column.name: str(column.type) for column in table.schema} == expected
    assert all(column.null_count == 0 for column in table.columns)


def test_rows_are_stamped_with_their_instants(built: Settings):
    """Weekly rows carry week ends, histories their basket's instant, all the moment of this very run."""
    bought = {round(row["event_timestamp"].timestamp() * 1e6) for row in nasty_shop().lines}
    week_ends = set(week_bounds(N_WEEKS)["ends"].tolist())
    for name in VIEWS:
        table = pq.read_table(built.feature_table(name))
        (created,) = set(table["created_timestamp"].to_pylist())
        assert timedelta(0) < datetime.now(UTC) - created < timedelta(hours=1)
        stamps = set(table["event_timestamp"].cast("int64").to_pylist())
        assert stamps <= (bought if name == "user_history" else week_ends)


def test_departments_keep_their_slots(built: Settings):
    """Known departments stay where they were, also closed ones; new ones follow, the rest share a slot."""
    assert json.loads((built.state / "features" / "departments.json").read_text()) == SLOTS
    assert len(SLOTS) == DEPARTMENT_SLOTS


def test_rows_agree_with_the_slow_reference(built: Settings):
    """Sampled weekly rows are what the plain loops of `raw_features` find, departments by slot."""
    raw = RawFeatures(built, CALENDAR, SLOTS)
    for name, key, recount in (("user_stats", "user_id", raw.user_stats),
                               ("item_stats", "item_id", raw.item_stats)):  # fmt: skip
        for row in pq.read_table(built.feature_table(name)).to_pylist()[::23]:
            for column, value in recount(row[key], row["event_timestamp"]).items():
                expected = value if isinstance(value, str) else pytest.approx(value, rel=1e-6)
                assert row[column] == expected, (row[key], row["event_timestamp"], column)


def test_a_shop_without_promotions_has_none(spark: Any, tmp_path: Path):
    """Where there is no such table, promotions are empty, with the columns of the written ones."""
    found = read_promotions(spark, SMALL.write(tmp_path / "none", without="promotions"))
    empty = read_promotions(spark, SMALL.write(tmp_path / "empty"))
    assert sorted(found.dtypes) == sorted(empty.dtypes)
    assert found.count() == 0


@pytest.mark.parametrize(
    ("known", "names", "slots"),
    [
        ([], ["b", "a"], ["a", "b"]),
        (["b"], ["a", "b"], ["b", "a"]),
        (["b", "z"], ["a"], ["b", "z", "a"]),
        ([], ["d", "c", "b", "a"], ["a", "b", "c", "d"]),
        ([], ["e", "d", "c", "b", "a"], ["a", "b", "c", OTHER]),
        (["a", "b", "c", OTHER], ["f", "a"], ["a", "b", "c", OTHER]),
    ],
)
def test_slots_of_departments(known: list[str], names: list[str], slots: list[str]):
    """Known departments first, new ones by name, and what exceeds the width shares the last slot."""
    assert department_slots(known, names, width=4) == slots
    assert department_slots(slots, names, width=4) == slots


@pytest.mark.parametrize("missing", ["transactions", "items", "calendar"])
@pytest.mark.usefixtures("spark")
def test_a_missing_table_names_the_command(tmp_path: Path, missing: str):
    """Without a table that every shop has, the error says what to run, and no feature table appears."""
    settings = SMALL.write(tmp_path, without=missing)
    with pytest.raises(FileNotFoundError, match=f"No {missing} in .*{missing}.*; run `endcap ingest`"):
        run(settings)
    assert not list(tmp_path.glob("features/*_*"))


def test_a_shop_of_returns_alone_has_no_purchases(spark: Any, tmp_path: Path):
    """Transactions without a purchase are an error that names the file and the command."""
    settings = Shop([line("one", "tea", local(2), quantity=-1.0)], SMALL.items, []).write(tmp_path)
    with pytest.raises(ValueError, match=r"No purchases in .*base\.parquet; run `endcap ingest`"):
        feature_tables(spark, settings)


def test_an_interrupted_write_leaves_the_old_table(spark: Any, tmp_path: Path):
    """A failure midway leaves the last good table as it was; the next write replaces all of it."""
    folder, now = tmp_path / "user_stats", datetime.now(UTC)
    write_feature_table(spark.range(3), folder, now, 1)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    broken = spark.range(1_000, numPartitions=2).selectExpr("if(id < 900, id, raise_error('spilled')) AS id")
    with pytest.raises(Exception, match="spilled"):
        write_feature_table(broken, folder, now, 2)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write_feature_table(spark.range(7, 9), folder, now, 1)
    assert pq.read_table(folder)["id"].equals(pa.chunked_array([[7, 8]]))
    assert [path.name for path in tmp_path.iterdir()] == ["user_stats"]
