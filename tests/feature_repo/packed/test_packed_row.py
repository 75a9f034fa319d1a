"""Rows as bytes and many of them as a matrix, against the values that went in; broken ones are refused."""

import numpy as np
import pytest
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_world import EVERY_TYPE, NUMBERS, as_bytes, every_type, proto, protos, values_of

from feature_repo.stores.packed.layout import Layout, PackedStoreError, SchemaMismatchError
from feature_repo.stores.packed.matrix import matrix
from feature_repo.stores.packed.row import pack, times_of, unpack
from feature_repo.stores.packed.values import layout_of, plain_values, proto_value

LAYOUT = layout_of(every_type)
NUMERIC = [name for name, kind in EVERY_TYPE.items() if kind in NUMBERS]
quick = settings(max_examples=100)


def packed_of(plain, event_us=0, created_us=0):
    """One packed row of plain values."""
    values = plain_values(LAYOUT, protos(EVERY_TYPE, plain))
    return pack(LAYOUT, values, event_us=event_us, created_us=created_us)


@quick
@given(plain=values_of(EVERY_TYPE), event_us=st.integers(-(2**52), 2**52), created_us=st.integers(0, 2**52))
def test_a_row_comes_back_as_it_was(plain, event_us, created_us):
    """All values bit for bit, and both times."""
    packed = packed_of(plain, event_us, created_us)
    back = {name: proto_value(LAYOUT.types[name], each) for name, each in unpack(LAYOUT, packed).items()}
    assert as_bytes(back) == as_bytes(protos(EVERY_TYPE, plain))
    assert times_of(packed) == (event_us, created_us)
    some = ["int64s", "string"]
    assert list(unpack(LAYOUT, packed, some)) == [name for name in LAYOUT.names if name in some]


@quick
@given(rows=st.lists(st.none() | values_of(EVERY_TYPE), max_size=6))
def test_a_matrix_has_the_numbers_of_its_rows(rows):
    """NaN where a row or value is missing; whole numbers that float64 cannot hold are refused by name."""
    packed = [None if plain is None else packed_of(plain, event_us=5) for plain in rows]
    numbers = [[None if plain is None else plain[name] for name in NUMERIC] for plain in rows]
    too_large = any(
        value is not None and isinstance(value, int) and abs(value) > 2**53
        for row in numbers
        for value in row
    )
    if too_large:
        with pytest.raises(PackedStoreError, match=r"int64 of view every_type is beyond 2\*\*53"):
            matrix(LAYOUT, packed, NUMERIC, since_us=0)
        return
    found = matrix(LAYOUT, packed, NUMERIC, since_us=0)
    expected = np.array(
        [[np.nan if value is None else value for value in row] for row in numbers], np.float64
    )
    np.testing.assert_array_equal(found.values, expected.reshape(len(rows), len(NUMERIC)))
    assert found.found.tolist() == [plain is not None for plain in rows]
    assert found.event_us.tolist() == [5 * (plain is not None) for plain in rows]


def test_a_matrix_is_exact_or_refuses():
    """The last whole number that float64 tells from its neighbours, and the first that it does not."""
    layout = Layout("v", (("n", "INT64"),))
    for sign in (1, -1):
        row = pack(layout, {"n": sign * 2**53}, event_us=0)
        assert matrix(layout, [row], ["n"], since_us=0).values.tolist() == [[sign * 2.0**53]]
        row = pack(layout, {"n": sign * (2**53 + 1)}, event_us=0)
        with pytest.raises(PackedStoreError, match="read it by row"):
            matrix(layout, [row], ["n"], since_us=0)


def test_a_matrix_leaves_expired_rows_out():
    """A row as old as allowed holds, one microsecond older does not."""
    layout = Layout("v", (("n", "INT64"),))
    rows = [pack(layout, {"n": 1}, event_us=us) for us in (100, 99)]
    found = matrix(layout, rows, ["n"], since_us=100)
    assert (found.found.tolist(), found.event_us.tolist()) == ([True, False], [100, 0])
    np.testing.assert_array_equal(found.values, [[1], [np.nan]])


def test_a_matrix_holds_no_texts_or_unknown_features():
    """The message names the feature and what it is."""
    for name, says in (("string", "STRING"), ("float32s", "FLOAT_LIST"), ("nothing", "not there")):
        with pytest.raises(PackedStoreError, match=f"{name} of view every_type is {says}, which no matrix"):
            matrix(LAYOUT, [], [name], since_us=0)


@pytest.mark.parametrize("cut", [0, 7, 8, 30, -1])
def test_half_a_row_is_refused(cut):
    """However much is missing, read as a row or in a matrix where that part is read."""
    plain = dict.fromkeys(EVERY_TYPE) | {"strings": ["a", "b"]}
    part = packed_of(plain)[:cut]
    with pytest.raises(PackedStoreError, match=r"every_type"):
        unpack(LAYOUT, part)
    numbers = Layout("numbers", (("n", "INT64"), ("x", "DOUBLE")))
    part = pack(numbers, {"n": 1, "x": 2.0}, event_us=0)[:cut]
    with pytest.raises(PackedStoreError, match="iew numbers"):
        matrix(numbers, [part], ["n"], since_us=0)


def test_rows_of_another_layout_are_refused():
    """Same size, other order: neither a row nor a matrix takes the one for the other."""
    ours, theirs = (
        Layout("v", (("a", "INT64"), ("b", "INT64"))),
        Layout("v", (("b", "INT64"), ("a", "INT64"))),
    )
    row = pack(theirs, {"a": 1, "b": 2}, event_us=0)
    with pytest.raises(SchemaMismatchError):
        unpack(ours, row)
    with pytest.raises(SchemaMismatchError):
        matrix(ours, [None, row], ["a"], since_us=0)
    assert ours.difference(theirs) == "has the features in another order"


def test_a_value_that_does_not_fit_is_refused():
    """An integer beyond its type, a float beyond float32, a number for a text."""
    layout = Layout("v", (("n", "INT32"), ("x", "FLOAT"), ("s", "STRING")))
    good = {"n": 1, "x": 1.0, "s": "a"}
    for wrong in ({"n": 2**31}, {"x": 1e39}, {"s": 5}):
        with pytest.raises(ValueError, match=r"View v cannot hold|neither a string"):
            pack(layout, good | wrong, event_us=0)


def test_types_without_a_form_of_their_own_keep_feasts_bytes():
    """A map of strings, which no column of numbers can hold, comes back as the message it was."""
    layout = Layout("v", (("m", "MAP"), ("n", "INT64")))
    value = Value()
    value.map_val.val["colour"].CopyFrom(proto("String", "green"))
    row = pack(layout, plain_values(layout, {"m": value, "n": proto("Int64", 3)}), event_us=0)
    back = unpack(layout, row)
    assert (proto_value("MAP", back["m"]), back["n"]) == (value, 3)


def test_a_layout_survives_its_text():
    """Also with names that mean something elsewhere; what is no layout says what to do."""
    layout = Layout("v", (("schema", "INT64"), ('a"b', "STRING"), ("0", "BOOL")), ttl_us=5)
    back = Layout.from_json(layout.to_json())
    assert (back, back.schema) == (layout, layout.schema)
    for broken in ("{}", "[]", "nonsense", '{"view": "v", "fields": [1], "ttl_us": 0}'):
        with pytest.raises(PackedStoreError, match="run `endcap apply`"):
            Layout.from_json(broken)
