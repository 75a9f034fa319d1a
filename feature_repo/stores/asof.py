"""Feast's offline store of the embedded profile: DuckDB ASOF joins over folders of Parquet parts.

    offline_store:
      type: feature_repo.stores.asof.AsofOfflineStore

It answers as Feast's `duckdb` store does (the tests compare them cell by cell), and more: one row for each
entity row in the same order, sources that are folders, paths relative to the state folder, entity rows from
SQL, retrieval without entity rows. Its cost grows with the rows asked for, not with TTL by snapshots; arrays
stay in Arrow. What is not here (writing, logging, monitoring) is Feast's `duckdb` store.
"""

import os
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.utils import compute_non_entity_date_range
from pydantic import StrictStr

from feature_repo.stores.asked_rows import check_keys, entity_rows, feature_table, keys_seen
from feature_repo.stores.asof_join import (
    FeatureTable,
    Positions,
    asof_join,
    connect,
    positions_between,
    rows_at,
)
from feature_repo.stores.parquet_parts import check_parquet, parquet_parts
from feature_repo.stores.retrieval_job import ArrowRetrievalJob


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]
    """Options of the store; a missing one takes its default."""

    type: StrictStr = "feature_repo.stores.asof.AsofOfflineStore"
    state: str | None = None  # folder that relative paths of sources start from; default: the settings' state
    threads: int | None = None  # default: the machine's cores
    memory_limit: str = "2GB"  # of DuckDB; beyond it, it spills
    temp_directory: str | None = None  # where it spills to; default: below the system's temporary folder


class AsofOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]
    """The store; Feast calls its methods."""

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: Any,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> ArrowRetrievalJob:
        """Feature values as of each entity row's instant; `asof_join` says what is known when.

        Without `entity_df`: every key seen from `start_date` to `end_date`, as of `end_date` (as Feast's
        BigQuery store does; its `duckdb` store cannot).
        """
        state = config.offline_store.state
        tables = [
            feature_table(view, feature_refs, state=state, full_names=full_feature_names)
            for view in feature_views
        ]
        connection = _connection(config)
        if entity_df is None:
            entity_df = keys_seen(tables, *compute_non_entity_date_range(feature_views, start_date, end_date))
        entities, timestamp = entity_rows(connection, entity_df)
        for table in tables:
            check_keys(entities, table)

        def retrieve() -> pa.Table:
            return asof_join(connection, entities, timestamp, tables, by_created=filter_by_created_timestamp)

        return ArrowRetrievalJob(
            retrieve,
            repo_path=str(config.repo_path),
            metadata=_metadata(feature_refs, entities, timestamp),
            full_feature_names=full_feature_names,
            on_demand=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> ArrowRetrievalJob:
        """Latest row of every key with an event time from `start_date` to `end_date`, both inclusive."""
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        table = _whole_table(config, data_source, join_key_columns, columns, created_timestamp_column)
        return _pulled(config, table, start_date, end_date, latest=True)

    @staticmethod
    def pull_all_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> ArrowRetrievalJob:
        """All rows with an event time from `start_date` to `end_date`, both inclusive."""
        columns = [*join_key_columns, *feature_name_columns, timestamp_field]
        table = _whole_table(config, data_source, join_key_columns, columns, created_timestamp_column)
        return _pulled(config, table, start_date, end_date, latest=False)

    def validate_data_source(self, config: Any, data_source: Any) -> None:  # noqa: ARG002
        """Accept a source before its rows exist: `apply` may come before `build-features`."""
        check_parquet(data_source)

    def get_table_column_names_and_types_from_data_source(
        self, config: Any, data_source: Any
    ) -> Iterable[tuple[str, str]]:
        """Columns of the first part, in Arrow's words."""
        schema = pq.read_schema(parquet_parts(data_source, config.offline_store.state)[0])
        return [(field.name, str(field.type)) for field in schema]


def _connection(config: Any) -> duckdb.DuckDBPyConnection:
    options = config.offline_store
    spill = options.temp_directory or str(Path(tempfile.gettempdir()) / "endcap-duckdb")
    return connect(
        threads=options.threads or os.cpu_count() or 2,
        memory_limit=options.memory_limit,
        temp_directory=spill,
    )


def _metadata(feature_refs: list[str], entities: pa.Table, timestamp: str) -> RetrievalMetadata:
    instants = entities[timestamp].to_pandas()
    return RetrievalMetadata(
        features=feature_refs,
        keys=[name for name in entities.column_names if name != timestamp],
        min_event_timestamp=instants.min(),
        max_event_timestamp=instants.max(),
    )


def _whole_table(
    config: Any, source: Any, keys: list[str], columns: list[str], created: str | None
) -> FeatureTable:
    """Table with all `columns` under their own names (Feast maps them afterwards); the instant last."""
    everything = [*columns, created] if created else columns
    return FeatureTable(
        parts=parquet_parts(source, config.offline_store.state),
        keys={key: key for key in keys},
        timestamp=columns[-1],
        created=created or None,
        columns={column: column for column in everything},
    )


def _pulled(
    config: Any, table: FeatureTable, start: datetime | None, end: datetime | None, *, latest: bool
) -> ArrowRetrievalJob:
    """Job of the rows between two instants."""

    def retrieve() -> pa.Table:
        connection = _connection(config)
        positions: Positions = positions_between(connection, table, _utc(start), _utc(end), latest=latest)
        return pa.table(dict(rows_at(connection, table, positions)))

    return ArrowRetrievalJob(retrieve, repo_path=str(config.repo_path))


def _utc(instant: datetime | None) -> datetime | None:
    """An instant with a zone: a naive one is local time to Feast's own stores, and so here."""
    return None if instant is None else instant.astimezone(UTC)
