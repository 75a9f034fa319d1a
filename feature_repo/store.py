"""The feature store of an installation: what its `feature_store.yaml` says, at the paths of the settings.

Importing Feast costs seconds of CPU, so it happens in the call.
"""

from typing import Any

from feature_repo.imports import absent, unchecked
from feature_repo.settings import Settings
from feature_repo.stores.packed.opened import read_yaml


def open_store(settings: Settings) -> Any:
    """Feast's FeatureStore for `settings`."""
    with absent("torch"), unchecked():  # 3 s of CPU instead of 8
        from feast import FeatureStore
        from feast.repo_config import load_repo_config

    read_yaml(settings.feature_store)  # or Feast's error would quote it, with a password
    config = load_repo_config(settings.feature_store.parent, settings.feature_store)
    config.registry_config["path"] = str(settings.registry)
    if "path" in config.online_config:
        config.online_config["path"] = str(settings.online_store)
    config.offline_config |= offline_options(settings, str(config.offline_config["type"]))
    return FeatureStore(config=config)


def offline_options(settings: Settings, kind: str) -> dict[str, Any]:
    """What the settings say of the offline store: where its rows lie, and what it may use."""
    if kind == "bigquery":
        from feature_repo.bigquery.client import prepare

        prepare(settings)
        project, dataset = settings.dataset.split(".")
        return {"project_id": project, "dataset": dataset}
    return {
        "state": str(settings.state),
        "threads": settings.threads,
        "temp_directory": str(settings.state / "spill"),
    }
