"""Registry and online store: paths start at the state folder, and the registry is never half written."""

from pathlib import Path

import pytest
from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry
from feast.repo_config import RegistryConfig

from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.stores.in_state import in_state
from feature_repo.stores.state_registry import StateRegistryStore


def registry_of(version):
    """Registry contents to tell apart."""
    return Registry(registry_schema_version=version)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The registry store of a state folder that does not exist yet."""
    monkeypatch.setenv("ENDCAP_STATE", str(tmp_path / "state"))
    return StateRegistryStore(RegistryConfig(path="registry.db"), Path("elsewhere"))


@pytest.mark.parametrize(
    ("path", "state", "expected"),
    [
        ("registry.db", None, "/of/environment/registry.db"),
        ("features/x", "/given", "/given/features/x"),
        ("/absolute", "/given", "/absolute"),
        ("/absolute", None, "/absolute"),
        (".", "/given", "/given"),
    ],
)
def test_relative_paths_start_at_the_state_folder(monkeypatch, path, state, expected):
    """The given state folder counts, or that of the environment; an absolute path stays."""
    monkeypatch.setenv("ENDCAP_STATE", "/of/environment")
    assert in_state(path, state) == Path(expected)
    assert in_state(Path(path), state and Path(state)) == Path(expected)


def test_a_registry_that_is_not_there_says_so(store):
    """Reading before the first write fails with Feast's own words."""
    with pytest.raises(FileNotFoundError, match=r'Registry not found at path ".*state/registry\.db"'):
        store.get_registry_proto()


def test_a_registry_is_written_and_read(store, tmp_path):
    """The state folder is made, contents come back, nothing stays beside the file."""
    for version in ("1", "2"):
        store.update_registry_proto(registry_of(version))
        assert store.get_registry_proto().registry_schema_version == version
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["registry.db"]
    store.teardown()
    assert list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize("before", [True, False])
def test_a_crash_while_writing_leaves_the_old_registry(store, tmp_path, monkeypatch, before):
    """A reader meets the old registry while a new one is written, after a crash, and until the rename."""
    store.update_registry_proto(registry_of("old"))
    final = tmp_path / "state" / "registry.db"
    old = final.read_bytes()
    write = FileRegistryStore._write_registry

    def crash(self, proto):
        if not before:
            write(self, proto)
        with self._filepath.open("ab") as half:
            half.write(b"half")
        assert final.read_bytes() == old
        raise KeyboardInterrupt

    monkeypatch.setattr(FileRegistryStore, "_write_registry", crash)
    with pytest.raises(KeyboardInterrupt):
        store.update_registry_proto(registry_of("new"))
    monkeypatch.setattr(FileRegistryStore, "_write_registry", write)
    assert final.read_bytes() == old
    store.update_registry_proto(registry_of("new"))
    assert store.get_registry_proto().registry_schema_version == "new"


def test_the_store_of_the_settings_ignores_the_environment(tmp_path, monkeypatch):
    """`open_store` keeps registry, online store and feature tables where its settings say."""
    monkeypatch.setenv("ENDCAP_STATE", str(tmp_path / "other"))
    settings = Settings(state=tmp_path / "state", reports=tmp_path / "reports", threads=3)
    config = open_store(settings).config
    assert config.registry.path == str(settings.registry)
    assert config.online_store.path == str(settings.online_store)
    assert (config.offline_store.state, config.offline_store.threads) == (str(settings.state), 3)
    assert config.offline_store.temp_directory == str(settings.state / "spill")
    assert not (tmp_path / "other").exists()
