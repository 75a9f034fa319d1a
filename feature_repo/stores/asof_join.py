"""Point-in-time joins over Parquet parts: DuckDB finds which row, Arrow carries the values.

In: rows of entities (keys and an instant) and feature tables. Out: the same rows in the same order, with the
values that were known at each row's instant, as an Arrow table; no value becomes a Python object.

A join has two halves. The narrow one reads only keys and timestamps and gives each entity row the position
of its feature row (an ASOF join, so the cost does not grow with the age of the data). The wide one reads the
values, in one pass, only at those positions. An array of 2,000 slots is thus never part of a join.

Which row is known at instant T, of those with equal keys:
    event time <= T; the latest event time wins; of equal ones the later creation wins, then the later row;
    `by_created`: rows created after T (or of unknown creation) do not exist at T;
    event time + ttl < T: too old, the values are null.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_repo.stores.arrow_rows import gather

# Where a row lies: number of the part * 2**40 + number of the row in the part; -1: there is none.
Positions = NDArray[np.int64]
_POSITION = "(CAST(file_index AS BIGINT) << 40) + file_row_number"
_FIRST, _LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True)
class FeatureTable:
    """One feature table: where it lies, and which of its columns are what (names as in the files)."""

    parts: tuple[str, ...]
    keys: Mapping[str, str]  # column here -> column of the entity rows
    timestamp: str
    created: str | None
    columns: Mapping[str, str]  # column here -> column of the result
    ttl: timedelta | None = None

    @property
    def source(self) -> str:
        """SQL that reads the parts; file_index counts them in this order."""
        parts = ", ".join("'" + part.replace("'", "''") + "'" for part in self.parts)
        return f"read_parquet([{parts}], union_by_name = true, hive_partitioning = false)"

    @property
    def rows(self) -> str:
        """SQL of all rows between $earliest and $latest: key_0.., event_at, created_at, position."""
        keys = ", ".join(f"{quoted(column)} AS key_{n}" for n, column in enumerate(self.keys)) or "true"
        created = (
            f"CAST({quoted(self.created)} AS TIMESTAMPTZ)" if self.created else "'-infinity'::TIMESTAMPTZ"
        )
        event = f"CAST({quoted(self.timestamp)} AS TIMESTAMPTZ)"
        return (
            f"SELECT {keys}, {event} AS event_at, {created} AS created_at, {_POSITION} AS position"
            f" FROM {self.source} WHERE {event} BETWEEN $earliest AND $latest"
        )


# The order of rows with equal keys: a struct is compared field by field.
_RANK = (
    "struct_pack(event_at := event_at, created_at := coalesce(created_at, '-infinity'), position := position)"
)


def quoted(name: str) -> str:
    """A column's name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def connect(*, threads: int, memory_limit: str, temp_directory: str) -> duckdb.DuckDBPyConnection:
    """A DuckDB of our own in memory, which spills to `temp_directory` and reckons in UTC."""
    connection = duckdb.connect(
        config={"threads": threads, "memory_limit": memory_limit, "temp_directory": temp_directory}
    )
    # TimeZone belongs to an extension that is not loaded yet while connecting.
    connection.execute("SET TimeZone = 'UTC'; SET arrow_large_buffer_size = true")
    return connection


def asof_join(
    connection: duckdb.DuckDBPyConnection,
    entities: pa.Table,
    timestamp: str,
    tables: Sequence[FeatureTable],
    *,
    by_created: bool = False,
) -> pa.Table:
    """`entities` with the columns of `tables` as of their column `timestamp`, in the same order."""
    result = entities
    for table in tables:
        positions = known_positions(connection, entities, timestamp, table, by_created=by_created)
        for name, column in rows_at(connection, table, positions):
            if name in result.column_names:
                raise ValueError(f"Two columns are named {name!r}; rename one or use full_feature_names=True")
            if len(column) != entities.num_rows:
                raise RuntimeError(f"Asked for {entities.num_rows} values of {name}. Received: {len(column)}")
            result = result.append_column(name, column)
    return result


def known_positions(
    connection: duckdb.DuckDBPyConnection,
    entities: pa.Table,
    timestamp: str,
    table: FeatureTable,
    *,
    by_created: bool = False,
) -> Positions:
    """Position of the row of `table` that each entity row knows at its instant; -1 where there is none."""
    positions = np.full(entities.num_rows, -1, dtype=np.int64)
    span = pc.min_max(entities[timestamp]).as_py()
    if span["max"] is None:
        return positions
    asked = {f"key_{n}": entities[column] for n, column in enumerate(table.keys.values())}
    asked |= {"row": pa.array(np.arange(entities.num_rows)), "instant": entities[timestamp]}
    connection.register("asked", pa.table(asked))
    ttl = round(table.ttl / timedelta(microseconds=1)) if table.ttl else None
    fresh = "true" if ttl is None else f"known.best.event_at + to_microseconds({ttl}) >= asked.instant"
    equal = " AND ".join(_equal_keys(connection, entities, table)) or "true"
    found = connection.sql(
        f"WITH known AS ({_known(table, by_created=by_created)})"
        f" SELECT asked.row, known.best.position, {fresh} AS fresh"
        f" FROM asked ASOF JOIN known ON {equal} AND asked.instant >= known.visible_at",
        params={"latest": span["max"], "earliest": _earliest(span["min"], table.ttl)},
    ).fetchnumpy()
    fresh_rows = found["fresh"].astype(bool)
    positions[found["row"][fresh_rows]] = found["position"][fresh_rows]
    return positions


def positions_between(
    connection: duckdb.DuckDBPyConnection,
    table: FeatureTable,
    start: datetime | None,
    end: datetime | None,
    *,
    latest: bool,
) -> Positions:
    """Positions of the rows with an event time from `start` to `end`; `latest`: of each key's last one."""
    query = f"SELECT position FROM ({table.rows})"
    if latest:
        query = f"SELECT max({_RANK}).position AS position FROM ({table.rows}) GROUP BY {_keys(table)}"
    found = connection.sql(query, params={"earliest": start or _FIRST, "latest": end or _LAST}).fetchnumpy()
    return np.sort(np.asarray(found["position"], dtype=np.int64))


def rows_at(
    connection: duckdb.DuckDBPyConnection, table: FeatureTable, positions: Positions
) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """(name, values) of each of the table's columns at `positions`; null at -1. One pass over the parts."""
    wanted = np.unique(positions[positions >= 0])
    connection.register("wanted", pa.table({"position": wanted}))
    columns = ", ".join(f"source.{quoted(column)}" for column in table.columns)
    # A semi join holds the few positions in memory and lets the wide rows stream past.
    found = connection.sql(
        f"SELECT {_POSITION} AS position, {columns} FROM {table.source} AS source"
        f" SEMI JOIN wanted ON {_POSITION} = wanted.position"
    ).to_arrow_table()
    if found.num_rows != len(wanted):
        raise RuntimeError(
            f"{len(wanted)} rows were found and {found.num_rows} read: {table.parts[0]} changed meanwhile; "
            "run the command again"
        )
    order = np.argsort(found.column(0).to_numpy())
    found = found.remove_column(0)
    place = np.searchsorted(wanted, np.maximum(positions, 0))
    place = order[np.minimum(place, len(wanted) - 1)] if len(wanted) else np.zeros_like(positions)
    rows = pa.array(place, mask=positions < 0)
    for name in table.columns.values():
        column = found.column(0)
        found = found.remove_column(0)  # frees each column as soon as it is picked
        yield name, gather(column, rows)


def _known(table: FeatureTable, *, by_created: bool) -> str:
    """SQL of what is known since when: key_0.., visible_at, best (the row that is the best from then on)."""
    keys = _keys(table)
    if not by_created or table.created is None:
        return (
            f"SELECT {keys}, event_at AS visible_at, max({_RANK}) AS best FROM ({table.rows})"
            f" GROUP BY {keys}, event_at"
        )
    # A late correction is seen from its creation on, and then competes by event time: a running maximum.
    return (
        f"SELECT {keys}, greatest(event_at, created_at) AS visible_at, max({_RANK}) OVER ("
        f"PARTITION BY {keys} ORDER BY greatest(event_at, created_at)"
        f" RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS best"
        f" FROM ({table.rows}) WHERE created_at IS NOT NULL"
    )


def _keys(table: FeatureTable) -> str:
    """SQL of the keys in `rows`; a constant where features describe no entity but the whole shop."""
    return ", ".join(f"key_{n}" for n in range(len(table.keys))) or "true"


def _equal_keys(
    connection: duckdb.DuckDBPyConnection, entities: pa.Table, table: FeatureTable
) -> Iterator[str]:
    """Conditions of equal keys; ids are text in a feature table and may be whole numbers in a frame."""
    columns = ", ".join(quoted(column) for column in table.keys) or "NULL"
    types = connection.sql(f"SELECT {columns} FROM {table.source} LIMIT 0").types
    for n, (kind, name) in enumerate(zip(types, table.keys.values(), strict=False)):
        is_text, given = str(kind) == "VARCHAR", entities[name].type
        if is_text and pa.types.is_floating(given):  # 7.0 would be no id of anything
            raise ValueError(f"Key {name!r} is {given} in the entity rows; give whole numbers or text")
        yield f"{f'CAST(asked.key_{n} AS VARCHAR)' if is_text else f'asked.key_{n}'} = known.key_{n}"


def _earliest(instant: datetime, ttl: timedelta | None) -> datetime:
    """Event time before which no row can be fresh at `instant`."""
    return max(_FIRST, instant - ttl) if ttl and instant - _FIRST > ttl else _FIRST
