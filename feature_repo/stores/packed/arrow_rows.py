"""An Arrow table of a materialization as packed rows: a conversion for each column, not for each value.

What comes out equals, byte by byte, what Feast would write by its own way through protobuf values, where that
keeps what it is given: it rounds integers beside a null, and knows no empty bytes and no null time. Types
without a form of their own take that way.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.stores.packed.layout import ARRAYS, SCALARS, TEXT_LISTS, TEXTS, Layout
from feature_repo.stores.packed.reader import key_of
from feature_repo.stores.packed.row import NO_CREATED, encoded, text_list
from feature_repo.stores.packed.sqlite_rows import Row

ROWS_AT_ONCE = 16_384
NUMBERS = {"<f4": pa.float32(), "<f8": pa.float64(), "<i4": pa.int32(), "<i8": pa.int64(), "?": pa.bool_()}


def packed_rows(
    layout: Layout, table: pa.Table, keys: Sequence[str], *, event: str, created: str | None = None
) -> Iterator[Row]:
    """Rows of a table with a column for each feature and key, and those of both times.

    Raises ValueError for a value that its feature's type cannot hold, with the feature's name.
    """
    for start in range(0, table.num_rows, ROWS_AT_ONCE):
        yield from _rows(layout, table.slice(start, ROWS_AT_ONCE).combine_chunks(), keys, event, created)


def _rows(
    layout: Layout, table: pa.Table, keys: Sequence[str], event: str, created: str | None
) -> Iterator[Row]:
    records = np.zeros(table.num_rows, dtype=layout.dtype)
    nulls = np.zeros((table.num_rows, len(layout.fields)), dtype=bool)
    rest: list[list[bytes]] = []
    for place, (name, kind) in enumerate(layout.fields):
        column = whole(table[name])
        nulls[:, place] = missing(column, kind)
        try:
            if kind in SCALARS:
                records[str(place)] = numbers(column, kind, nulls[:, place])
            else:
                rest.append([b"" if part is None else part for part in variable(column, kind)])
                records[str(place)] = [len(part) for part in rest[-1]]
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(f"{name} of view {layout.view} cannot be {kind}: {error}") from error
    records["schema"] = layout.schema
    records["event_us"] = times(table[event])
    records["created_us"] = times(table[created]) if created else NO_CREATED
    records["nulls"] = np.packbits(nulls, axis=1, bitorder="little")
    names = map(key_of, *(table[key].to_pylist() for key in sorted(keys)))
    heads, size = records.tobytes(), layout.dtype.itemsize
    fixed = (heads[at : at + size] for at in range(0, len(heads), size))
    packed = map(b"".join, zip(fixed, *rest, strict=True)) if rest else fixed
    stamps = (records["event_us"].tolist(), records["created_us"].tolist())
    yield from zip(names, *stamps, packed, strict=True)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def missing(column: pa.Array, kind: str) -> NDArray[np.bool_]:
    """Where a value is null; to Feast a number that is NaN is null too."""
    nan_too = kind in SCALARS and pa.types.is_floating(column.type)
    return np.asarray(pc.is_null(column, nan_is_null=nan_too).to_numpy(zero_copy_only=False))


def numbers(column: pa.Array, kind: str, null: NDArray[np.bool_]) -> NDArray[Any]:
    """Numbers of one type, 0 where null."""
    wanted = NUMBERS[SCALARS[kind]]
    column = pc.if_else(pa.array(~null), column, None)
    if pa.types.is_timestamp(column.type):
        column = seconds(column)
    if wanted == pa.float32():  # rounded, as protobuf does
        return np.asarray(column.cast(pa.float64()).fill_null(0).to_numpy().astype(np.float32))
    return np.asarray(column.cast(wanted).fill_null(False if kind == "BOOL" else 0).to_numpy(False))


def seconds(column: pa.Array) -> pa.Array:
    """Whole seconds since 1970 of times."""
    return column.cast(pa.timestamp("s", tz=column.type.tz), safe=False).cast(pa.int64())


def times(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Microseconds since 1970; NO_CREATED where null."""
    stamps = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False).cast(pa.int64())
    return np.asarray(stamps.fill_null(NO_CREATED).to_numpy(), dtype=np.int64)


def variable(column: pa.Array, kind: str) -> Iterator[bytes | None]:
    """The bytes of values of no fixed size, None where null."""
    if kind in ARRAYS:
        return array_parts(column, kind)
    if kind in TEXTS:
        return (None if text is None else encoded(text) for text in column.to_pylist())
    if kind in TEXT_LISTS:
        return (None if texts is None else text_list(texts) for texts in column.to_pylist())
    return feast_parts(column, kind)


def array_parts(column: pa.Array, kind: str) -> Iterator[bytes | None]:
    """Lists of numbers: one conversion of all, then a piece for each row."""
    items = column.flatten()
    if items.null_count:
        raise pa.ArrowInvalid("a list has a null in it")
    if pa.types.is_timestamp(items.type):
        items = seconds(items)
    if pa.types.is_null(items.type):
        items = items.cast(pa.float64())
    code = ARRAYS[kind]
    exact = items if code == "<f4" else items.cast(NUMBERS[code])
    packed = memoryview(np.ascontiguousarray(exact.to_numpy(False).astype(code)).tobytes())
    sizes = pc.list_value_length(column).fill_null(0).to_numpy() * np.dtype(code).itemsize
    ends = np.cumsum(sizes).tolist()
    for begin, end, valid in zip([0, *ends], ends, column.is_valid().to_pylist(), strict=False):
        yield bytes(packed[begin:end]) if valid else None


def feast_parts(column: pa.Array, kind: str) -> Iterator[bytes | None]:
    """Feast's own bytes of each value."""
    from feast.type_map import python_values_to_proto_values
    from feast.value_type import ValueType

    values = python_values_to_proto_values(column.to_pylist(), ValueType[kind])
    for value, valid in zip(values, column.is_valid().to_pylist(), strict=True):
        yield value.SerializeToString() if valid else None
