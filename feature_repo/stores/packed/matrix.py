"""Many rows as one matrix: a copy for each feature, not for each value.

found = matrix(layout, rows, ["item_price", "item_baskets_28d"], since_us=0)
found.values        # (n_rows, 2) float64, NaN where null, missing or expired
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.stores.packed.layout import SCALARS, Layout, PackedStoreError, SchemaMismatchError

EXACT = 2**53  # the first whole number whose successor float64 has not


@dataclass(frozen=True)
class Matrix:
    """Values of rows; what was not there is told apart from what is null."""

    values: NDArray[np.float64]  # (n_rows, n_names), NaN where null or not found
    found: NDArray[np.bool_]  # (n_rows,) whether there was a row, and not an expired one
    event_us: NDArray[np.int64]  # (n_rows,) microseconds since 1970, 0 where not found


def matrix(layout: Layout, rows: Sequence[bytes | None], names: Sequence[str], *, since_us: int) -> Matrix:
    """Numbers of many rows; a row older than `since_us` has expired.

    Raises PackedStoreError for a feature that is no number, for half a row, and for a whole number that
    float64 cannot hold; SchemaMismatchError for rows of another layout.
    """
    for name in names:
        if layout.types.get(name) not in SCALARS:
            kind = layout.types.get(name, "not there")
            raise PackedStoreError(f"{name} of view {layout.view} is {kind}, which no matrix can hold")
    records = fixed_parts(layout, rows)
    there = records["schema"] != 0
    if (records["schema"][there] != layout.schema).any():
        raise SchemaMismatchError.of(layout.view)
    event_us = records["event_us"].astype(np.int64)
    found = there & (event_us >= since_us)
    event_us[~found] = 0
    values = np.empty((len(rows), len(names)))
    for column, name in enumerate(names):
        values[:, column] = records[str(layout.place[name])]
    if values.size and np.abs(values).max(initial=0.0, where=~np.isnan(values)) >= EXACT:
        check_exact(layout, names, records)
    places = [layout.place[name] for name in names]
    nulls = np.unpackbits(records["nulls"], axis=1, bitorder="little")[:, places]
    values[nulls.view(np.bool_)] = np.nan
    values[~found] = np.nan
    return Matrix(values, found, event_us)


def fixed_parts(layout: Layout, rows: Sequence[bytes | None]) -> NDArray[np.void]:
    """(n_rows,) of the layout's dtype; all zero where there is no row."""
    size = layout.dtype.itemsize
    blank = bytes(size)
    parts = [blank if row is None else row for row in rows]
    odd = set(map(len, parts)) - {size}
    if odd and (layout.all_fixed or min(odd) < size):
        return refuse_partly(layout, rows)
    if odd:
        parts = [part[:size] for part in parts]
    return np.frombuffer(b"".join(parts), dtype=layout.dtype)


def refuse_partly(layout: Layout, rows: Sequence[bytes | None]) -> NDArray[np.void]:
    """Raise for rows of another length than the layout's: of another schema, or cut off."""
    for row in rows:
        if row is not None and int.from_bytes(row[:8], "little") != layout.schema:
            raise SchemaMismatchError.of(layout.view)
    raise PackedStoreError(f"A row of view {layout.view} is cut off; run `endcap materialize`")


def check_exact(layout: Layout, names: Sequence[str], records: NDArray[np.void]) -> None:
    """PackedStoreError for a whole number that float64 would round."""
    for name in names:
        column = records[str(layout.place[name])]
        if column.dtype == np.int64 and max(-int(column.min()), int(column.max())) > EXACT:
            raise PackedStoreError(f"{name} of view {layout.view} is beyond 2**53: read it by row instead")
