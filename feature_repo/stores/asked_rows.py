"""What Feast asks of an offline store, said in the words of `asof_join`: feature tables and entity rows."""

from collections.abc import Sequence
from datetime import datetime

import duckdb
import pandas as pd
import pyarrow as pa
from feast.errors import FeastEntityDFMissingColumnsError
from feast.feature_view import FeatureView
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df

from feature_repo.stores.arrow_rows import plain_table
from feature_repo.stores.asof_join import FeatureTable, quoted
from feature_repo.stores.parquet_parts import parquet_parts

_UTC = pa.timestamp("us", tz="UTC")


def feature_table(
    view: FeatureView, feature_refs: Sequence[str], *, state: str | None, full_names: bool
) -> FeatureTable:
    """The table behind `view` with the requested features, in the order of `feature_refs`.

    A source's field mapping is undone: views speak of mapped names, files of the original ones.
    """
    source, projection = view.batch_source, view.projection
    if source is None:
        raise ValueError(f"Feature view {view.name!r} has no batch source; it cannot be retrieved")
    original = {new: old for old, new in source.field_mapping.items()}
    asked = projection.name_to_use() + ":"
    names = [ref.removeprefix(asked) for ref in feature_refs if ref.startswith(asked)]
    prefix = f"{projection.name_alias or view.name}__" if full_names else ""
    keys = [column.name for column in view.entity_columns]
    return FeatureTable(
        parts=parquet_parts(source, state),
        keys={original.get(key, key): projection.join_key_map.get(key, key) for key in keys},
        timestamp=original.get(source.timestamp_field, source.timestamp_field),
        created=original.get(source.created_timestamp_column, source.created_timestamp_column) or None,
        columns={original.get(name, name): prefix + name for name in names},
        ttl=view.ttl,
    )


def entity_rows(connection: duckdb.DuckDBPyConnection, asked: pd.DataFrame | str) -> tuple[pa.Table, str]:
    """Entity rows as an Arrow table, and the name of their instant, which is cast to UTC microseconds.

    `asked` is a frame or a SELECT in DuckDB's SQL. A naive instant is UTC; a text is an ISO date or time.
    """
    if isinstance(asked, str):
        table = plain_table(connection.sql(asked).to_arrow_table())
    else:
        table = pa.Table.from_pandas(asked, preserve_index=False).replace_schema_metadata(None)
    dtypes = table.schema.empty_table().to_pandas().dtypes.to_dict()
    timestamp = infer_event_timestamp_from_entity_df(dtypes)
    number = table.column_names.index(timestamp)
    return table.set_column(number, timestamp, _instants(table[timestamp])), timestamp


def _instants(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Instants as UTC microseconds; finer ones are rounded down, so that nothing later becomes known."""
    if pa.types.is_timestamp(column.type):
        naive = column.type.tz is None
        column = column.cast(pa.timestamp("us", None if naive else "UTC"), safe=False)
        return column.cast(_UTC)
    stamps = pd.to_datetime(column.to_pandas(), utc=True, format="ISO8601")
    return pa.chunked_array([pa.Array.from_pandas(stamps).cast(_UTC, safe=False)])


def check_keys(entities: pa.Table, table: FeatureTable) -> None:
    """Raise unless the entity rows have all keys of `table`."""
    if missing := set(table.keys.values()) - set(entities.column_names):
        raise FeastEntityDFMissingColumnsError(set(table.keys.values()), missing)


def keys_seen(tables: Sequence[FeatureTable], start: datetime, end: datetime) -> str:
    """SQL of entity rows where none are given: every key with a row from `start` to `end`, as of `end`.

    Features of no entity add no row to those; alone, they are asked for once.
    """
    names = sorted({name for table in tables for name in table.keys.values()})
    seen = []
    for table in tables:
        if not table.keys:
            continue
        here = {name: quoted(column) for column, name in table.keys.items()}
        columns = ", ".join(f"{here.get(name, 'NULL')} AS {quoted(name)}" for name in names)
        when = f"CAST({quoted(table.timestamp)} AS TIMESTAMPTZ)"
        seen.append(
            f"SELECT {columns} FROM {table.source}"
            f" WHERE {when} BETWEEN TIMESTAMPTZ '{start}' AND TIMESTAMPTZ '{end}'"
        )
    if not seen:
        return f"SELECT TIMESTAMPTZ '{end}' AS event_timestamp"
    keys = ", ".join(quoted(name) for name in names)
    union = " UNION ALL ".join(seen)
    return f"SELECT DISTINCT {keys}, TIMESTAMPTZ '{end}' AS event_timestamp FROM ({union}) ORDER BY {keys}"
