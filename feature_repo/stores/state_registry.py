"""Feast's file registry in the state folder, written aside and renamed."""

from pathlib import Path
from typing import Any

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry

from feature_repo.stores.in_state import in_state


class StateRegistryStore(FileRegistryStore):  # type: ignore[misc]
    """The registry as one file: a reader never sees half of it."""

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
