"""Feast's online stores over packed rows: name one in `online_store.type` of `feature_store.yaml`.

    online_store:
      type: feature_repo.stores.packed.online_store.PackedSqliteOnlineStore
      path: online_store.db

    online_store:
      type: feature_repo.stores.packed.online_store.PackedRedisOnlineStore
      url: redis://localhost:6379/0

A row is written whole, under its event time: an older one never takes its place, whoever writes it. Feast
reads what it would of its own stores, also rows whose time to live is over, unless `apply_ttl` is set.
"""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel
from pydantic import ConfigDict, Field, PositiveFloat, StrictBool, StrictStr

from feature_repo.stores.in_state import in_state
from feature_repo.stores.packed.instants import microseconds, time_of
from feature_repo.stores.packed.layout import Layout, SchemaMismatchError
from feature_repo.stores.packed.reader import PackedReader, since
from feature_repo.stores.packed.redis_rows import RedisRows
from feature_repo.stores.packed.row import NO_CREATED, pack, schema_of, times_of, unpack
from feature_repo.stores.packed.sqlite_rows import Row, SqliteRows
from feature_repo.stores.packed.values import (
    key_of_entity,
    layout_of,
    plain_values,
    proto_value,
)

Written = tuple[EntityKey, Mapping[str, Value], datetime, datetime | None]
Read = tuple[datetime | None, dict[str, Value] | None]
Store = SqliteRows | RedisRows


class PackedSqliteOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Options; `path` is relative to the state folder."""

    type: StrictStr = "feature_repo.stores.packed.online_store.PackedSqliteOnlineStore"
    path: StrictStr = "online_store.db"
    apply_ttl: StrictBool = False  # by this machine's clock


class PackedRedisOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Options; `url` is redis://, rediss:// or unix://, a password in it better comes as ${VARIABLE}."""

    type: StrictStr = "feature_repo.stores.packed.online_store.PackedRedisOnlineStore"
    model_config = ConfigDict(hide_input_in_errors=True)
    url: StrictStr = Field("redis://localhost:6379/0", repr=False)
    timeout_s: PositiveFloat = 10.0
    apply_ttl: StrictBool = False


class PackedOnlineStore(OnlineStore):  # type: ignore[misc]
    """What both classes share: Feast's calls, in terms of packed rows."""

    def __init__(self) -> None:
        self._held: tuple[tuple[str, Any], Store] | None = None

    def rows(self, config: Any) -> Store:
        """The rows of the store that a configuration names."""
        told = (config.project, config.online_store.model_copy())
        if self._held is None or self._held[0] != told:
            self._held = (told, self._opened(config))
        return self._held[1]

    @abstractmethod
    def _opened(self, config: Any) -> Store:
        """Open the store that a configuration names."""

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Both, in a thread."""
        return SupportedAsyncMethods(read=True, write=True)

    def online_write_batch(
        self,
        config: Any,
        table: Any,
        data: Sequence[Written],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows: all of them or, in SQLite, none. ValueError for a value that its type cannot hold."""
        layout, rows = self._registered(config, table), self.rows(config)
        packed: list[Row] = []
        for key, values, event, created in data:
            times = microseconds(event), microseconds(created) if created else NO_CREATED
            row = pack(layout, plain_values(layout, values), event_us=times[0], created_us=times[1])
            packed.append((key_of_entity(key), *times, row))
        rows.write({layout.view: packed})
        if progress:
            progress(len(data))

    async def online_write_batch_async(
        self,
        config: Any,
        table: Any,
        data: Sequence[Written],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """`online_write_batch` in a thread."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    def online_read(
        self,
        config: Any,
        table: Any,
        entity_keys: Sequence[EntityKey],
        requested_features: Sequence[str] | None = None,
    ) -> list[Read]:
        """(event time, values) of each entity; (None, None) where there is no row."""
        reader, view = PackedReader(self.rows(config)), self._registered(config, table).view
        layout = reader.layout(view)
        names = [name for name in layout.names if requested_features is None or name in requested_features]
        oldest = since(layout, time.time_ns() // 1000) if config.online_store.apply_ttl else -(2**63)
        found: list[Read] = []
        for packed in reader.rows.read(view, [key_of_entity(key) for key in entity_keys]):
            if packed is None or times_of(packed)[0] < oldest:
                found.append((None, None))
                continue
            if schema_of(packed) != layout.schema:
                reader.layout_of(view, packed)
            values = unpack(layout, packed, names)
            row = {name: proto_value(layout.types[name], values[name]) for name in names}
            found.append((time_of(times_of(packed)[0]), row))
        return found

    async def online_read_async(
        self,
        config: Any,
        table: Any,
        entity_keys: Sequence[EntityKey],
        requested_features: Sequence[str] | None = None,
    ) -> list[Read]:
        """`online_read` in a thread."""
        return await asyncio.to_thread(self.online_read, config, table, entity_keys, requested_features)

    def delete_rows(self, config: Any, table: Any, entity_keys: Sequence[EntityKey]) -> None:
        """Delete entities' rows of one view."""
        layout = layout_of(table, versioned=versioned(config))
        self.rows(config).delete(layout.view, [key_of_entity(key) for key in entity_keys])

    def update(
        self,
        config: Any,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        *_: object,
        **__: object,
    ) -> None:
        """Make room for the views to keep, which are those served online; forget those to delete."""
        rows = self.rows(config)
        for view in tables_to_keep:
            rows.declare(layout_of(view, versioned=versioned(config)))
        for view in tables_to_delete:
            rows.drop(layout_of(view, versioned=versioned(config)).view)

    def teardown(self, config: Any, tables: Sequence[Any], entities: Sequence[Any]) -> None:  # noqa: ARG002
        """Forget all views."""
        for view in tables:
            self.rows(config).drop(layout_of(view, versioned=versioned(config)).view)
        self.rows(config).close()

    def _registered(self, config: Any, table: Any) -> Layout:
        """The view's layout; SchemaMismatchError where the store was not told of it."""
        layout = layout_of(table, versioned=versioned(config))
        kept = self.rows(config).layout(layout.view)
        if kept is None:
            raise SchemaMismatchError(f"The online store has no view {layout.view}; run `feast apply`")
        if kept.schema != layout.schema:
            told = layout.difference(kept)
            raise SchemaMismatchError(
                f"The online store has view {layout.view} otherwise: it {told}; run `feast apply`"
            )
        return layout


class PackedSqliteOnlineStore(PackedOnlineStore):
    """Packed rows in one SQLite file."""

    def _opened(self, config: Any) -> Store:
        return SqliteRows(in_state(config.online_store.path), config.project)


class PackedRedisOnlineStore(PackedOnlineStore):
    """Packed rows in Redis or Valkey; the first call finds out whether the server takes them."""

    def _opened(self, config: Any) -> Store:
        options = config.online_store
        rows = RedisRows(options.url, config.project, timeout_s=float(options.timeout_s))
        rows.check()
        return rows


def versioned(config: Any) -> bool:
    """Whether views of several versions stand beside each other."""
    return bool(config.registry.enable_online_feature_view_versioning)
