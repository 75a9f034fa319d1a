"""The packed rows of an installation, as its `feature_store.yaml` names them, opened without Feast."""

import logging
import os
from pathlib import Path
from typing import Any

import yaml

from feature_repo.settings import Settings, SettingsError
from feature_repo.stores.packed.layout import PackedStoreError, RefusedError
from feature_repo.stores.packed.redis_rows import RedisRows
from feature_repo.stores.packed.sqlite_rows import SqliteRows

log = logging.getLogger("bentoml.endcap")


class NoUrlError(SettingsError):
    """No server is named."""


def open_rows(
    settings: Settings, *, timeout_s: float = 10.0, read_only: bool = True, create: bool = True
) -> SqliteRows | RedisRows:
    """Rows of the online store; SettingsError where it is none of the packed ones or its URL is not set.

    Without `create` a file that is not there is not made. Who may create and write learns at once whether a
    server takes packed rows: PackedStoreError says why it does not.
    """
    told = online_section(settings.feature_store)
    options, kind = told["online_store"], str(told["online_store"].get("type", "sqlite"))
    if kind.endswith(".PackedRedisOnlineStore"):
        url = str(options.get("url") or "")
        if not url or url.startswith("${"):
            raise NoUrlError(
                f"{settings.feature_store} has no Redis URL ({url!r}); set ENDCAP_REDIS_URL=redis://HOST:6379/0"
            )
        rows = RedisRows(url, told["project"], timeout_s=timeout_s)
        if create and not read_only:
            rows.check()
        return rows
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


def check_server(settings: Settings, *, timeout_s: float = 2.0) -> None:
    """Nothing, or RefusedError for a server that will not serve, however long one waits.

    Nothing either where no server keeps the store, where none is named yet, or where it does not answer now.
    """
    try:
        rows = open_rows(settings, timeout_s=timeout_s, create=False)
    except NoUrlError:
        return
    if isinstance(rows, RedisRows):
        try:
            rows.check()
        except RefusedError:
            raise
        except PackedStoreError as error:
            log.warning("%s", error)
        finally:
            rows.close()


def online_section(path: Path) -> dict[str, Any]:
    """Project and online store of a `feature_store.yaml`; variables are expanded as Feast does."""
    told = read_yaml(path)
    if not isinstance(told, dict) or not isinstance(told.get("online_store"), dict) or "project" not in told:
        raise SettingsError(f"{path} has no project or online store; see feature_repo/feature_store.yaml")
    return told


def read_yaml(path: Path) -> Any:
    """What a `feature_store.yaml` says; SettingsError, without a quotation, for one that cannot be read."""
    try:
        return yaml.safe_load(os.path.expandvars(path.read_text()))
    except OSError as error:
        raise SettingsError(f"FEAST_FS_YAML_FILE_PATH is {path}, which cannot be read ({error})") from error
    except yaml.YAMLError as error:  # which quotes the line that it does not understand, maybe a password
        where = getattr(error, "problem_mark", None)
        line = "" if where is None else f" in line {where.line + 1}"
        raise SettingsError(f"FEAST_FS_YAML_FILE_PATH is {path}, which is no YAML{line}") from None
