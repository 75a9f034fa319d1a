"""The join itself: random worlds against loops over all rows, and the carrying of wide values."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feature_worlds import DAY, NOON, STAMP, US, joined, known, rows_of, write_parquet

from feature_repo.stores import arrow_rows
from feature_repo.stores.asof_join import FeatureTable, asof_join, connect, positions_between, rows_at

HOUR = timedelta(hours=1)
TYPES = {"user_id": pa.string(), "item_id": pa.int64(), "value": pa.int64(), "names": pa.list_(pa.string())}
FEATURES = ["value", "names"]


@pytest.fixture
def connection(tmp_path):
    """A DuckDB with two threads."""
    with connect(threads=2, memory_limit="1GB", temp_directory=str(tmp_path / "spill")) as connection:
        yield connection


def random_rows(rng, n):
    """Rows of few keys and instants, so that times tie; some were created late, some nobody knows when."""
    late = [0 * HOUR, HOUR, 30 * HOUR]
    rows = []
    for value in range(n):
        event = NOON + int(rng.integers(0, 60)) * HOUR
        created = None if rng.random() < 0.1 else event + late[rng.integers(3)]
        keys = {"user_id": "uvwxyz"[rng.integers(6)], "item_id": int(rng.integers(5))}
        names = None if rng.random() < 0.2 else [f"n{value}", None][: rng.integers(3)]
        rows.append(
            keys | {"value": value, "names": names, "event_timestamp": event, "created_timestamp": created}
        )
    return rows


def random_entities(rng, n):
    """Entity rows at, just before and just after the instants of the features; some of unknown keys."""
    return [
        {
            "user_id": [*"uvwxyz", "nobody", None][rng.integers(8)],
            "item_id": int(rng.integers(6)),
            "event_timestamp": NOON + int(rng.integers(-5, 100)) * HOUR + int(rng.integers(-1, 2)) * US,
        }
        for _ in range(n)
    ]


def write_parts(folder, rows, n):
    """Rows in order, in `n` parts; the paths of these in order."""
    paths = [folder / f"part-{number:03}.parquet" for number in range(n)]
    for path, part in zip(paths, np.array_split(np.arange(len(rows)), n), strict=True):
        write_parquet(path, [rows[row] for row in part], **TYPES)
    return tuple(map(str, paths))


def table_of(parts, keys, *, ttl=None, created="created_timestamp"):
    """A feature table with columns named as in the files."""
    columns = {name: name for name in FEATURES}
    return FeatureTable(
        parts=parts,
        keys={key: key for key in keys},
        timestamp="event_timestamp",
        created=created,
        columns=columns,
        ttl=ttl,
    )


def as_table(entities):
    """Entity rows as Arrow."""
    types = {"user_id": pa.string(), "item_id": pa.int64(), "event_timestamp": STAMP}
    return pa.Table.from_pylist(entities, schema=pa.schema(types.items()))


@pytest.mark.parametrize("by_created", [False, True])
@pytest.mark.parametrize("ttl", [None, 10 * HOUR, US, 1000 * DAY], ids=str)
@pytest.mark.parametrize(
    ("seed", "parts", "keys"), [(1, 1, ["user_id"]), (2, 7, ["user_id", "item_id"]), (3, 40, [])]
)
def test_random_worlds(connection, tmp_path, seed, parts, keys, ttl, by_created):
    """Each of 300 entity rows gets what a loop over all 400 rows finds: ties, late and uncreated ones too."""
    rng = np.random.default_rng(seed)
    rows, entities = random_rows(rng, 400), random_entities(rng, 300)
    table = table_of(write_parts(tmp_path, rows, parts), keys, ttl=ttl)
    answer = asof_join(connection, as_table(entities), "event_timestamp", [table], by_created=by_created)
    assert rows_of(answer) == joined(entities, rows, keys, FEATURES, ttl=ttl, by_created=by_created)


def test_without_created_column_nothing_is_filtered(connection, tmp_path):
    """Rows of a table that has no creation times are known from their event times on, in either mode."""
    rng = np.random.default_rng(4)
    rows, entities = random_rows(rng, 200), random_entities(rng, 200)
    table = table_of(write_parts(tmp_path, rows, 3), ["user_id"], created=None)
    bare = [{**row, "created_timestamp": None} for row in rows]
    for by_created in (False, True):
        answer = asof_join(connection, as_table(entities), "event_timestamp", [table], by_created=by_created)
        assert rows_of(answer) == joined(entities, bare, ["user_id"], FEATURES)


@pytest.mark.parametrize("keys", [["user_id"], ["user_id", "item_id"], []], ids=str)
def test_latest_rows_of_a_range(connection, tmp_path, keys):
    """Between two instants each key has one row: the latest by event time, creation and place."""
    rows = random_rows(np.random.default_rng(5), 400)
    table = table_of(write_parts(tmp_path, rows, 5), keys)
    start, end = NOON + 10 * HOUR, NOON + 30 * HOUR
    inside = [row for row in rows if start <= row["event_timestamp"] <= end]
    seen = {tuple(row[key] for key in keys) for row in inside}
    expected = sorted(known(inside, dict(zip(keys, values, strict=True)), end)["value"] for values in seen)
    positions = positions_between(connection, table, start, end, latest=True)
    assert sorted(dict(rows_at(connection, table, positions))["value"].to_pylist()) == expected
    positions = positions_between(connection, table, start, end, latest=False)
    everything = dict(rows_at(connection, table, positions))["value"].to_pylist()
    assert sorted(everything) == [row["value"] for row in inside]


@pytest.mark.parametrize(
    "stamp", [pa.timestamp("ns", "UTC"), pa.timestamp("us"), pa.timestamp("ms", "Asia/Tokyo")]
)
def test_files_may_keep_time_in_any_unit(connection, tmp_path, stamp):
    """Nanoseconds, no zone (UTC) or another zone in a file mean the same instants."""
    types = {"event_timestamp": stamp, "created_timestamp": stamp}
    rows = random_rows(np.random.default_rng(6), 50)
    schema = pa.schema({**TYPES, **types}.items())
    instants = {name: pa.array([row[name] for row in rows], STAMP) for name in types}
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items()}
    naive = {name: column.cast(pa.timestamp("us", stamp.tz)).cast(stamp) for name, column in instants.items()}
    pq.write_table(pa.table(columns | naive, schema=schema), tmp_path / "1.parquet")
    entities = random_entities(np.random.default_rng(7), 100)
    table = table_of((str(tmp_path / "1.parquet"),), ["user_id"], ttl=20 * HOUR)
    answer = asof_join(connection, as_table(entities), "event_timestamp", [table], by_created=True)
    assert rows_of(answer) == joined(entities, rows, ["user_id"], FEATURES, ttl=20 * HOUR, by_created=True)


@pytest.mark.parametrize("year", [1, 1969, 9999])
def test_instants_at_the_ends_of_time(connection, tmp_path, year):
    """A TTL beyond the calendar's first day, or instants at its ends, do not overflow."""
    rows = [{"user_id": "u", "value": 1, "event_timestamp": NOON}]
    table = table_of(write_parts(tmp_path, rows, 1), ["user_id"], ttl=400 * 365 * DAY, created=None)
    table = FeatureTable(**{**vars(table), "columns": {"value": "value"}})
    entities = [{"user_id": "u", "event_timestamp": datetime(year, 6, 1, tzinfo=NOON.tzinfo)}]
    answer = asof_join(connection, as_table(entities), "event_timestamp", [table])
    assert answer["value"].to_pylist() == [None]


def test_the_connection_has_its_options(tmp_path):
    """Threads, memory, spilling and the zone are those that were asked for."""
    spill = str(tmp_path / "spill")
    with connect(threads=3, memory_limit="512MB", temp_directory=spill) as connection:
        names = ("threads", "memory_limit", "temp_directory", "TimeZone")
        found = [connection.execute("SELECT current_setting($1)", [name]).fetchall()[0][0] for name in names]
    assert found == [3, "488.2 MiB", spill, "UTC"]


# ---- Rows of Arrow columns by number


@pytest.mark.parametrize("rows", [0, 1, arrow_rows.BLOCK, 2 * arrow_rows.BLOCK + 1])
@pytest.mark.parametrize(
    "kind",
    [
        pa.large_list(pa.large_string()),
        pa.list_(pa.float32()),
        pa.large_string(),
        pa.int64(),
        pa.timestamp("ns"),
    ],
    ids=str,
)
def test_rows_are_picked_in_blocks(kind, rows):
    """Picked values equal those that Python's indexing picks, nulls where the number is null, types plain."""
    rng = np.random.default_rng(8)
    values = {
        "list": [["a"], None, []],
        "str": ["ä", None, ""],
        "int": [1, None, -1],
        "time": [NOON, None, NOON],
    }
    name = next(part for part in ("list", "str", "int", "time") if part in str(kind))
    some = [[1.5], None, []] if kind == pa.list_(pa.float32()) else values[name]
    some = [each.replace(tzinfo=None) if isinstance(each, datetime) else each for each in some]
    column = pa.chunked_array([pa.array(some, kind), pa.array(some[::-1], kind)])
    numbers = [None if n == 6 else int(n) for n in rng.integers(0, 7, rows)]
    picked = arrow_rows.gather(column, pa.array(numbers, pa.int64()))
    assert picked.type == arrow_rows.plain_type(kind)
    assert max((len(chunk) for chunk in picked.chunks), default=0) <= max(arrow_rows.BLOCK, rows)
    both = [
        pd.Timestamp(each, tz="UTC") if isinstance(each, datetime) else each for each in some + some[::-1]
    ]
    assert picked.to_pylist() == [None if n is None else both[n] for n in numbers]


def test_plain_types():
    """64-bit offsets, list items' names and zones are dropped; all else stays."""
    utc = pa.timestamp("us", "UTC")
    nested = pa.large_list(pa.field("element", pa.large_list(pa.timestamp("ns", "Asia/Tokyo"))))
    assert arrow_rows.plain_type(nested) == pa.list_(pa.list_(utc))
    assert arrow_rows.plain_type(pa.large_binary()) == pa.binary()
    assert arrow_rows.plain_type(pa.decimal128(10, 2)) == pa.decimal128(10, 2)
    table = pa.table(
        {"a": pa.array(["x"], pa.large_string()), "b": pa.array([NOON], pa.timestamp("ns", "UTC"))}
    )
    assert arrow_rows.plain_table(table).schema.types == [pa.string(), utc]
