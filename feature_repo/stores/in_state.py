"""Feast's file registry and SQLite online store, with relative paths that start at the state folder.

`feature_store.yaml` has no defaults for variables, and Feast resolves a relative path against the folder of
that file. Here it is resolved against the state folder of the settings, so that `feast apply` run by hand
and `endcap apply` mean the same files, with and without ENDCAP_STATE. Absolute paths stay as they are.
"""

from pathlib import Path
from typing import Any

from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry
from pydantic import StrictStr

from feature_repo.settings import Settings


def in_state(path: str | Path, state: str | Path | None = None) -> Path:
    """`path`, below the state folder (`state`, or that of the environment) unless it is absolute."""
    if Path(path).is_absolute():
        return Path(path)
    return Path(state or Settings.from_environment().state) / path


class StateRegistryStore(FileRegistryStore):  # type: ignore[misc]
    """The registry as one file, written aside and renamed: a reader never sees half of it."""

    def __init__(self, registry_config: Any, repo_path: Path | None) -> None:
        super().__init__(registry_config, repo_path)
        self._filepath = in_state(registry_config.path)

    def _write_registry(self, registry_proto: Registry) -> None:
        final = self._filepath
        final.parent.mkdir(parents=True, exist_ok=True)
        self._filepath = final.with_suffix(".aside")
        try:
            super()._write_registry(registry_proto)
            self._filepath.replace(final)
        finally:
            self._filepath = final


class StateSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]
    """Options of the online store; `path` is relative to the state folder."""

    type: StrictStr = "feature_repo.stores.in_state.StateSqliteOnlineStore"
    path: StrictStr = "online_store.db"


class StateSqliteOnlineStore(SqliteOnlineStore):  # type: ignore[misc]
    """Feast's SQLite online store in the state folder."""

    @staticmethod
    def _get_db_path(config: Any) -> str:
        path = in_state(config.online_store.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(path)
