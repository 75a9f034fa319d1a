"""The reader without Feast returns what `get_online_features` does, bit for bit, and applies TTL."""

import math
import sqlite3
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_world import (
    EVERY_TYPE,
    NUMBERS,
    OURS,
    T0,
    every_type,
    float_bits,
    fresh_ids,
    online,
    open_world,
    proto,
    protos,
    read,
    user,
    values_of,
    view_of,
    write,
)

from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.layout import PackedStoreError, SchemaMismatchError
from feature_repo.stores.packed.reader import PackedReader, key_of
from feature_repo.stores.packed.row import pack
from feature_repo.stores.packed.sqlite_rows import SqliteRows
from feature_repo.stores.packed.values import layout_of

NUMERIC = {name: kind for name, kind in EVERY_TYPE.items() if kind in NUMBERS}
MILD = NUMERIC | {"int64": "Int32"}  # made up as smaller ones: larger than 2**53 are refused
counts = view_of("counts", {"n": "Int64"}, ttl=timedelta(hours=1))
T0_US = microseconds(T0)
HOUR_US = 3_600_000_000
few = settings(max_examples=40)


def reader_of(store):
    """A reader of the rows that a Feast store of ours writes."""
    target, config = online(store)
    return PackedReader(target.rows(config))


@pytest.fixture(scope="module", params=OURS)
def packed(request, tmp_path_factory, redis_url):
    """Each of the packed stores."""
    folder = tmp_path_factory.mktemp(request.param)
    return open_world(request.param, folder, redis_url, [user, every_type, counts])


def n(value):
    """A row of the view `counts`."""
    return {"n": proto("Int64", value)}


@few
@given(rows=st.lists(st.none() | values_of(MILD), min_size=1, max_size=5), again=st.booleans())
def test_a_matrix_is_what_feast_reads(packed, rows, again):
    """Of all numbers, with missing users, nulls, NaN, infinities and users asked for twice."""
    ids = fresh_ids(len(rows))
    rest = {name: None for name in EVERY_TYPE if name not in NUMERIC}
    write(
        packed,
        every_type,
        [(key, protos(EVERY_TYPE, rest | row), T0, None) for key, row in zip(ids, rows, strict=True) if row],
    )
    asked = ids[::-1] + ids * again
    refs = [f"every_type:{name}" for name in NUMERIC]
    found = packed.get_online_features(refs, [{"user_id": key} for key in asked]).to_dict()
    matrix = reader_of(packed).read_matrix("every_type", asked, list(NUMERIC), now_us=T0_US)
    for column, name in enumerate(NUMERIC):
        ours, theirs = matrix.values[:, column].tolist(), found[name]
        nothing = [value is None or (isinstance(value, float) and math.isnan(value)) for value in theirs]
        assert [math.isnan(value) for value in ours] == nothing
        kept = [place for place, none in enumerate(nothing) if not none]
        assert float_bits(ours[place] for place in kept) == float_bits(float(theirs[place]) for place in kept)


@few
@given(row=values_of(EVERY_TYPE))
def test_a_row_is_what_feast_reads(packed, row):
    """Texts, lists and whole numbers beyond float64 too."""
    (key,) = fresh_ids(1)
    write(packed, every_type, [(key, protos(EVERY_TYPE, row), T0, None)])
    target, config = online(packed)
    theirs = target.online_read(config, every_type, [*_keys(key)])[0][1]
    ours = reader_of(packed).read_row("every_type", key, now_us=T0_US)
    assert ours.event_us == T0_US
    for name, kind in EVERY_TYPE.items():
        value = ours.values[name]
        plain = value.tolist() if isinstance(value, np.ndarray) else value
        assert proto(kind, plain).SerializeToString() == theirs[name].SerializeToString()


def _keys(*ids):
    from packed_world import user_key

    return [user_key(each) for each in ids]


def test_time_to_live_is_applied_at_the_asked_time(packed):
    """An hour after its event a row holds, a microsecond later it does not, in rows and matrices."""
    (key,) = fresh_ids(1)
    write(packed, counts, [(key, n(1), T0, None)])
    reader = reader_of(packed)
    for now_us, holds in ((T0_US + HOUR_US, True), (T0_US + HOUR_US + 1, False)):
        assert (reader.read_row("counts", key, now_us=now_us) is not None) == holds
        assert reader.read_matrix("counts", [key], ["n"], now_us=now_us).found.tolist() == [holds]


def test_nobody_is_none_and_no_ids_are_no_rows(packed):
    """A user without a row, an id that no store holds, and an empty list."""
    reader = reader_of(packed)
    for key in (*fresh_ids(1), "", "a\0b", "\ud800", "[", "x" * 100_000):
        assert reader.read_row("counts", key, now_us=T0_US) is None
        assert not reader.read_matrix("counts", [key], ["n"], now_us=T0_US).found.any()
    assert reader.read_matrix("counts", [], ["n"], now_us=T0_US).values.shape == (0, 1)


@pytest.mark.parametrize("kind", OURS)
def test_a_reader_learns_of_a_changed_view(kind, tmp_path, redis_url):
    """It refuses rows of before with the difference, reads those written since, all without a restart."""
    store = open_world(kind, tmp_path, redis_url, [user, counts])
    reader, (old, new) = reader_of(store), fresh_ids(2)
    write(store, counts, [(old, n(1), T0, None)])
    assert reader.read_row("counts", old, now_us=T0_US).values == {"n": 1}
    changed = view_of("counts", {"n": "Int64", "visits": "Int64"})
    store.apply([changed])
    assert reader.read_row("counts", old, now_us=T0_US).values == {"n": 1}  # nothing else is known of it yet
    write(store, changed, [(new, n(2) | {"visits": proto("Int64", 3)}, T0, None)])
    assert reader.read_row("counts", new, now_us=T0_US).values == {"n": 2, "visits": 3}
    for call in (
        lambda: reader.read_row("counts", old, now_us=T0_US),
        lambda: reader.read_matrix("counts", [new, old], ["n"], now_us=T0_US),
    ):
        with pytest.raises(SchemaMismatchError, match="it lacks visits; run `endcap materialize`"):
            call()


@pytest.mark.parametrize("kind", OURS)
def test_a_store_that_has_lost_its_rows_says_so(kind, tmp_path, redis_url):
    """A server that was started anew is empty: an error that says so, not users that nobody knows."""
    store = open_world(kind, tmp_path, redis_url, [user, counts])
    reader, (key,) = reader_of(store), fresh_ids(1)
    write(store, counts, [(key, n(1), T0, None)])
    assert reader.read_row("counts", key, now_us=T0_US)
    reader.rows.drop("counts")
    for _ in range(2):
        with pytest.raises(PackedStoreError, match=r"no view counts|has no packed:.*counts"):
            reader.read_row("counts", key, now_us=T0_US)
        with pytest.raises(PackedStoreError, match=r"no view counts|has no packed:.*counts"):
            reader.read_matrix("counts", [key], ["n"], now_us=T0_US)
    store.apply([view_of("counts", {"n": "Int64"})])
    write(store, counts, [(key, n(2), T0, None)])
    assert reader.read_row("counts", key, now_us=T0_US).values == {"n": 2}


@pytest.mark.parametrize("kind", OURS)
def test_a_view_written_anew_has_just_those_rows(kind, tmp_path, redis_url):
    """Also older ones than it had; with no rows at all it is empty and still known."""
    store = open_world(kind, tmp_path, redis_url, [user, counts])
    rows, ids = reader_of(store).rows, fresh_ids(3)
    write(store, counts, [(key, n(1), T0, None) for key in ids[:2]])
    packed = dict(zip(ids, rows.read("counts", ids), strict=True))
    older = [(key, T0_US - 5, 0, packed[ids[0]]) for key in ids[1:]]
    rows.write({"counts": older}, replace=True)
    assert ([row is not None for row in rows.read("counts", ids)], rows.count("counts")) == (
        [False, True, True],
        2,
    )
    rows.write({"counts": []}, replace=True)
    assert (rows.count("counts"), rows.layout("counts").view) == (0, "counts")


def test_a_server_that_does_not_answer_is_named():
    """Connection refused: the error has the address, no traceback of the client alone."""
    from feature_repo.stores.packed.redis_rows import RedisRows

    reader = PackedReader(RedisRows("redis://127.0.0.1:9/0", "p", timeout_s=0.2))
    with pytest.raises(PackedStoreError, match=r"Redis at 127\.0\.0\.1:9 cannot be used now"):
        reader.read_row("counts", "1", now_us=0)


def test_a_missing_or_broken_file_says_what_to_do(tmp_path):
    """No file, no database, a database of other things, and a view that is not there."""
    path = tmp_path / "online.db"
    reader = PackedReader(SqliteRows(path, "p", read_only=True))
    for content, says in (
        (None, "No online store at .*run `endcap materialize`"),
        (b"junk" * 999, "delete it"),
    ):
        if content:
            path.write_bytes(content)
        with pytest.raises(PackedStoreError, match=says):
            reader.read_row("counts", "1", now_us=0)
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE other (n)").connection.close()
    with pytest.raises(PackedStoreError, match="no view counts"):
        reader.read_row("counts", "1", now_us=0)


def test_a_reader_follows_a_file_that_was_deleted(tmp_path):
    """A store that is written anew after its file was deleted is read at once, with no row of the old one."""
    path = tmp_path / "online.db"
    reader = None
    for value, ids in ((1, ["a", "u"]), (2, ["u"])):
        path.unlink(missing_ok=True)  # its log stays beside it, as when a person deletes it
        writer, layout = SqliteRows(path, "p"), layout_of(counts)
        writer.declare(layout)
        row = pack(layout, {"n": value}, event_us=T0_US)
        writer.write({"counts": [(key, T0_US, 0, row) for key in ids]})
        reader = reader or PackedReader(SqliteRows(path, "p", read_only=True))
        assert reader.read_row("counts", "u", now_us=T0_US).values == {"n": value}
        assert (reader.read_row("counts", "a", now_us=T0_US) is None) == (value == 2)


WRITER = """
import sys
from pathlib import Path
from feature_repo.stores.packed.layout import Layout
from feature_repo.stores.packed.row import pack
from feature_repo.stores.packed.sqlite_rows import SqliteRows

layout, rows = Layout("v", (("n", "INT64"),)), SqliteRows(Path(sys.argv[1]), "p")
rows.declare(layout)
for version in range(10**9):
    packed = pack(layout, {"n": version}, event_us=version)
    rows.write({"v": [(str(key), version, 0, packed) for key in range(200)]})
    print(version, flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_batches(tmp_path):
    """Five kills while writing versions of 200 rows: all are of one version, the last told or the next."""
    path = tmp_path / "online.db"
    for _ in range(5):
        command = [sys.executable, "-c", WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            told = [int(writer.stdout.readline()) for _ in range(5)]
            writer.kill()
            told += [int(line) for line in writer.stdout.read().split()]
        reader = PackedReader(SqliteRows(path, "p", read_only=True))
        found = reader.read_matrix("v", [str(key) for key in range(200)], ["n"], now_us=0).values
        assert len(set(found[:, 0])) == 1
        assert found[0, 0] in {max(told), max(told) + 1}
        reader.rows.close()
        path.unlink()


def test_the_reader_imports_no_feast():
    """Reading needs NumPy and a client: Feast would cost seconds and half a gigabyte."""
    code = (
        "import sys; from feature_repo.stores.packed import reader, sqlite_rows, redis_rows;"
        "redis_rows.RedisRows('redis://localhost', 'p');"
        "print([name for name in ('feast', 'pandas', 'pyarrow', 'google.protobuf') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@settings(max_examples=200)
@given(
    st.lists(
        st.lists(st.text() | st.integers(), min_size=1, max_size=3), min_size=2, max_size=6, unique_by=str
    )
)
def test_keys_tell_entities_apart(entities):
    """Two entities of equally many, equally typed ids never share a key."""
    kinds = {}
    for entity in entities:
        kinds.setdefault(tuple(type(each) for each in entity), []).append(entity)
    for alike in kinds.values():
        assert len({key_of(*each) for each in alike}) == len(alike)


def test_feast_reads_what_the_reader_reads_from_one_file(tmp_path):
    """A reader of its own connection sees a committed write at once."""
    store = open_world("packed_sqlite", tmp_path, "", [user, counts])
    _, config = online(store)
    reader = PackedReader(SqliteRows(tmp_path / "online.db", config.project, read_only=True))
    for value in range(3):
        write(store, counts, [("u", n(value), T0, None)])
        assert reader.read_row("counts", "u", now_us=T0_US).values["n"] == value
        assert read(store, counts, ["u"])[0][1]["n"].int64_val == value
