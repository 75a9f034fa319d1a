"""Rows of Arrow columns picked by number, in blocks, without Python objects and without overflow.

Arrow's `take` joins the chunks of a column into one: with 32-bit offsets a long column of string lists does
not fit. So columns come with 64-bit offsets, and what is picked leaves with the usual 32-bit ones.
"""

import pyarrow as pa

BLOCK = 16_384  # rows picked at once: 256 strings of 500 characters each still fit 32-bit offsets


def gather(column: pa.ChunkedArray, rows: pa.Array) -> pa.ChunkedArray:
    """Values of `column` at `rows` (a null row gives a null), as plain types in chunks of BLOCK rows."""
    plain = plain_type(column.type)
    if plain == column.type and not pa.types.is_nested(plain):
        return pa.chunked_array([column.combine_chunks().take(rows)], type=plain)
    whole = column.combine_chunks()
    blocks = [whole.take(rows.slice(start, BLOCK)).cast(plain) for start in range(0, len(rows), BLOCK)]
    return pa.chunked_array(blocks, type=plain)


def plain_table(table: pa.Table) -> pa.Table:
    """`table` with plain types (see `plain_type`)."""
    return table.cast(pa.schema([(field.name, plain_type(field.type)) for field in table.schema]))


def plain_type(kind: pa.DataType) -> pa.DataType:
    """`kind` with 32-bit offsets, list items named as Arrow names them, and time in UTC microseconds."""
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC")
    return kind
