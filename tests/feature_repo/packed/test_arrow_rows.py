"""A table's packed rows equal, byte by byte, those that Feast's own way writes."""

from datetime import UTC, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import types
from feast.utils import _convert_arrow_to_proto
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_world import EVERY_TYPE, T0, every_type, values_of, view_of

from feature_repo.stores.packed.arrow_rows import ROWS_AT_ONCE, packed_rows
from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.row import pack, unpack
from feature_repo.stores.packed.values import key_of_entity, layout_of, plain_values

ARROW = {
    "Float32": pa.float32(),
    "Float64": pa.float64(),
    "Int32": pa.int32(),
    "Int64": pa.int64(),
    "Bool": pa.bool_(),
    "UnixTimestamp": pa.timestamp("us", tz="UTC"),
    "String": pa.string(),
    "Bytes": pa.binary(),
}
# Where Feast's own way keeps what it is given; the others have tests of their own below.
HELD = {name: kind for name, kind in EVERY_TYPE.items() if kind.strip("[]") not in ("Bool", "UnixTimestamp")}
view = view_of("held", HELD)


def table_of(rows, features, **ids):
    """An Arrow table of plain values, ids and times."""
    columns = {}
    for name, kind in features.items():
        element = ARROW[kind.strip("[]")]
        columns[name] = pa.array(
            [row[name] for row in rows], pa.list_(element) if kind.startswith("[") else element
        )
    times = pa.array([T0 + timedelta(seconds=n) for n in range(len(rows))], pa.timestamp("us", tz="UTC"))
    return pa.table({**columns, **ids, "event_timestamp": times})


def by_feast(view, table):
    """What Feast makes of the table, value by value, packed row by row."""
    layout = layout_of(view)
    keys = {field.name: field.dtype.to_value_type() for field in view.entity_columns}
    rows = []
    for key, values, event, _ in _convert_arrow_to_proto(table, view, keys):
        at = microseconds(event)
        rows.append((key_of_entity(key), at, 0, pack(layout, plain_values(layout, values), event_us=at)))
    return rows


def ours(view, table):
    """What we make of it."""
    return list(packed_rows(layout_of(view), table, view.join_keys, event="event_timestamp"))


def kept_by_feast(row):
    """Whether its way changes nothing: integers beside a null go through float64, empty bytes become null."""
    return row["bytes"] != b"" and abs(row["int64"] or 0) <= 2**53


@settings(max_examples=60)
@given(rows=st.lists(values_of(HELD).filter(kept_by_feast), min_size=1, max_size=5))
def test_the_rows_are_those_of_feast(rows):
    """Of numbers, texts, lists and nulls; to both NaN is null."""
    table = table_of(rows, HELD, user_id=[f"user {n}" for n in range(len(rows))])
    assert ours(view, table) == by_feast(view, table)


def test_times_and_truths_are_those_of_feast():
    """Times are whole seconds; lists of them and of truths too, where no list is null."""
    features = {name: EVERY_TYPE[name] for name in ("bool", "unixtimestamp", "bools", "unixtimestamps")}
    times = [T0, T0 + timedelta(microseconds=999_999), T0.replace(year=1999)]
    rows = [
        {"bool": True, "unixtimestamp": times[0], "bools": [True, False], "unixtimestamps": times},
        {"bool": None, "unixtimestamp": times[1], "bools": [False], "unixtimestamps": times[1:]},
        {"bool": False, "unixtimestamp": times[2], "bools": [True], "unixtimestamps": [times[2]]},
    ]
    view = view_of("whens", features)
    table = table_of(rows, features, user_id=["a", "b", "c"])
    assert ours(view, table) == by_feast(view, table)


def test_large_integers_and_empty_bytes_stay_what_they_are():
    """Beside a null, too, where Feast's own way rounds the one and loses the other."""
    view = view_of("v", {"n": "Int64", "b": "Bytes"})
    rows = [{"n": 2**63 - 1, "b": b""}, {"n": None, "b": None}]
    table = table_of(rows, {"n": "Int64", "b": "Bytes"}, user_id=["a", "b"])
    assert [unpack(layout_of(view), row) for *_, row in ours(view, table)] == rows


def test_no_time_is_null():
    """Feast's own way writes the smallest integer for it, which no reader takes for a null."""
    view = view_of("v", {"when": "UnixTimestamp"})
    table = table_of([{"when": None}, {"when": T0}], {"when": "UnixTimestamp"}, user_id=["a", "b"])
    found = [unpack(layout_of(view), row)["when"] for *_, row in ours(view, table)]
    assert found == [None, int(T0.timestamp())]


def test_a_feature_without_a_form_of_its_own_goes_feasts_way():
    """A map comes out as Feast's message."""
    view = view_of("v", {"n": "Int64"})
    view.features[0].dtype = types.Map
    table = table_of([{}, {}], {}, user_id=["a", "b"]).append_column(
        "n", pa.array([{"colour": "green"}, None], pa.struct([("colour", pa.string())]))
    )
    assert ours(view, table) == by_feast(view, table)


def test_whole_numbers_that_came_as_floats_are_whole_again():
    """A column of integers with nulls is of floats in pandas; half an integer is refused by name."""
    view = view_of("v", {"n": "Int64"})
    times, ids = [T0, T0], ["a", "b"]
    table = pa.table({"n": [7.0, None], "user_id": ids, "event_timestamp": pa.array(times)})
    assert ours(view, table) == by_feast(view, table)
    table = pa.table({"n": [7.5, None], "user_id": ids, "event_timestamp": pa.array(times)})
    with pytest.raises(ValueError, match=r"n of view v cannot be INT64: .*7\.5"):
        ours(view, table)


def test_a_list_with_a_null_in_it_is_refused():
    """There is no number to write for it."""
    view = view_of("v", {"x": "[Float32]"})
    table = pa.table({"x": [[1.0, None]], "user_id": ["a"], "event_timestamp": pa.array([T0])})
    with pytest.raises(ValueError, match="x of view v cannot be FLOAT_LIST: a list has a null in it"):
        ours(view, table)


def test_long_tables_are_converted_in_pieces():
    """Every row is there once, in its order, whatever the table's chunks; created times come along."""
    n = ROWS_AT_ONCE + 3
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"n": rng.integers(0, 9, n), "user_id": [f"{k}" for k in range(n)]})
    frame["event_timestamp"] = pd.Timestamp(T0)
    frame["created"] = frame["event_timestamp"] + pd.to_timedelta(frame["n"], unit="us")
    parts = [pa.Table.from_pandas(frame[begin : begin + 1_000]) for begin in range(0, n, 1_000)]
    layout = layout_of(view_of("v", {"n": "Int64"}))
    created = [stamp.to_pydatetime().astimezone(UTC) for stamp in frame["created"]]
    found = packed_rows(
        layout, pa.concat_tables(parts), ["user_id"], event="event_timestamp", created="created"
    )
    for place, (key, event_us, created_us, row) in enumerate(found):
        assert (key, event_us, created_us) == (str(place), microseconds(T0), microseconds(created[place]))
        value = int(frame["n"][place])
        assert row == pack(layout, {"n": value}, event_us=event_us, created_us=created_us)
    assert place == n - 1


def test_no_rows_are_no_rows():
    """An empty table gives nothing."""
    assert ours(every_type, table_of([], EVERY_TYPE, user_id=pa.array([], pa.string()))) == []
