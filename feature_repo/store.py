"""The feature store of an installation: what `feature_store.yaml` says, at the paths of the settings.

Importing Feast costs seconds of CPU, so it happens in the call.
"""

from pathlib import Path
from typing import Any

from feature_repo.settings import Settings

YAML = Path(__file__).with_name("feature_store.yaml")


def open_store(settings: Settings, *, registry: Path | None = None, online_store: Path | None = None) -> Any:
    """Feast's FeatureStore for `settings`; a registry or online store elsewhere if one is named."""
    from feast import FeatureStore
    from feast.repo_config import load_repo_config

    config = load_repo_config(YAML.parent, YAML)
    config.registry_config["path"] = str(registry or settings.registry)
    config.online_config["path"] = str(online_store or settings.online_store)
    config.offline_config |= {
        "state": str(settings.state),
        "threads": settings.threads,
        "temp_directory": str(settings.state / "spill"),
    }
    return FeatureStore(config=config)
