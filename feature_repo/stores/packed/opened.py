"""The packed rows of an installation, as its `feature_store.yaml` names them, opened without Feast."""

import os
from pathlib import Path
from typing import Any

import yaml

from feature_repo.settings import Settings, SettingsError
from feature_repo.stores.packed.redis_rows import RedisRows
from feature_repo.stores.packed.sqlite_rows import SqliteRows


def open_rows(
    settings: Settings, *, timeout_s: float = 10.0, read_only: bool = True, create: bool = True
) -> SqliteRows | RedisRows:
    """Rows of the online store; SettingsError where it is none of the packed ones or its URL is not set.

    Without `create` a file that is not there is not made.
    """
    told = online_section(settings.feature_store)
    options, kind = told["online_store"], str(told["online_store"].get("type", "sqlite"))
    if kind.endswith(".PackedRedisOnlineStore"):
        url = str(options.get("url", ""))
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise SettingsError(
                f"{settings.feature_store} has no Redis URL ({url!r}); set ENDCAP_REDIS_URL=redis://HOST:6379/0"
            )
        return RedisRows(url, told["project"], timeout_s=timeout_s)
    if kind.endswith(".PackedSqliteOnlineStore"):
        how = {"read_only": read_only, "create": create}
        return SqliteRows(settings.online_store, told["project"], timeout_s=timeout_s, **how)
    raise SettingsError(
        f"{settings.feature_store} has online store {kind}; use PackedSqliteOnlineStore or"
        " PackedRedisOnlineStore of feature_repo.stores.packed.online_store"
    )


def store_files(settings: Settings) -> tuple[Path, ...]:
    """Files that the online store lies in: none where a server keeps it."""
    kind = str(online_section(settings.feature_store)["online_store"].get("type", "sqlite"))
    return () if kind.endswith(".PackedRedisOnlineStore") else (settings.online_store,)


def store_server(settings: Settings) -> str | None:
    """The server that keeps the online store, without a password; None where files do."""
    return None if store_files(settings) else open_rows(settings).place


def online_section(path: Path) -> dict[str, Any]:
    """Project and online store of a `feature_store.yaml`; variables are expanded as Feast does."""
    try:
        told = yaml.safe_load(os.path.expandvars(path.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"FEAST_FS_YAML_FILE_PATH is {path}, which cannot be read ({error})") from error
    if not isinstance(told, dict) or not isinstance(told.get("online_store"), dict) or "project" not in told:
        raise SettingsError(f"{path} has no project or online store; see feature_repo/feature_store.yaml")
    return told
