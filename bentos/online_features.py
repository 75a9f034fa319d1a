"""Online features: a user's row and items' rows, read through Feast's online store.

    reader = OnlineFeatures(settings, release.manifest)
    reader.read_user("2375")["history_items"]

Feast does not apply a view's TTL when it reads online; `feature_time` in the answers tells how old a row is.
"""

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bentos.recommend import FeaturesUnavailableError
from bentos.release import Manifest, ReleaseError
from feature_repo.pair_features import Floats
from feature_repo.settings import Settings

USERS, ITEMS = "user_ranking", "item_ranking"
TIME = "__ts"  # how Feast names the column of a feature's event time


def columns_as_matrix(columns: Mapping[str, Sequence[Any]], names: Sequence[str], rows: int) -> Floats:
    """Lists by feature name as (rows, n_names) float32, NaN for None."""
    matrix = np.empty((rows, len(names)), dtype=np.float32)
    for place, name in enumerate(names):
        matrix[:, place] = np.array(columns[name], dtype=np.float64)
    return matrix


class OnlineFeatures:
    """Reader over the online store of one installation.

    It opens the store at the first read, and again when `endcap materialize` has put a new one in its
    place. Every failure to read is a FeaturesUnavailableError, which the answer tells as its fallback.
    """

    def __init__(self, settings: Settings, manifest: Manifest) -> None:
        self.settings = settings
        self.item_names: list[str] = manifest["features"]["item"]
        self.names: dict[str, list[str]] = {ITEMS: self.item_names, USERS: manifest["features"]["user"]}
        self._store: Any = None
        self._opened: tuple[int, int] | None = None

    def read_user(self, user_id: str) -> dict[str, Any] | None:
        """The user's features by name, and the newest `event_timestamp` among them; None if unknown."""
        found = self._read(USERS, "user_id", [user_id])
        row = {name: values[0] for name, values in found.items() if not name.endswith(TIME)}
        del row["user_id"]
        if all(value is None for value in row.values()):
            return None
        return {**row, "event_timestamp": newest(found)}

    def read_items(self, item_ids: Sequence[str]) -> Floats:
        """Item features, (n_items, n_item_features) in the release's order, NaN where missing."""
        if not item_ids:
            return np.empty((0, len(self.item_names)), dtype=np.float32)
        found = self._read(ITEMS, "item_id", list(item_ids))
        return columns_as_matrix(found, self.item_names, len(item_ids))

    def check(self) -> None:
        """Compare the registered features with the release's; ReleaseError names what differs."""
        for service, names in self.names.items():
            with unavailable():
                views = self._open().get_feature_service(service).feature_view_projections
            registered = {field.name for view in views for field in view.features}
            missing = [name for name in names if name not in registered]
            if missing:
                raise ReleaseError(f"The release needs {missing}, which {service} lacks; run `endcap apply`")

    def _open(self) -> Any:
        if self._store is None:
            import_feast()  # also where there is no store yet: no request shall wait for it
        path = self.settings.online_store
        try:
            facts = path.stat()
        except OSError as error:
            raise FeaturesUnavailableError("no online store (run `endcap materialize`)") from error
        if self._store is None or self._opened != (facts.st_ino, facts.st_dev):
            from feature_repo.store import open_store

            before, self._store = self._store, None
            with absent("torch"):
                self._store = open_store(self.settings)
            self._opened = (facts.st_ino, facts.st_dev)
            if before is not None:
                del before
                collect()  # else the replaced file would fill the disk for as long as it stays open
        return self._store

    def _read(self, service: str, key: str, ids: list[str]) -> dict[str, list[Any]]:
        with unavailable():
            store = self._open()
            answer = store.get_online_features(
                features=store.get_feature_service(service), entity_rows=[{key: each} for each in ids]
            )
            found: dict[str, list[Any]] = answer.to_dict(include_event_timestamps=service == USERS)
        missing = [name for name in self.names[service] if name not in found]
        if missing:
            raise FeaturesUnavailableError(f"online store lacks {', '.join(missing)} (run `endcap apply`)")
        return found


@contextmanager
def unavailable() -> Iterator[None]:
    """Whatever a store's client raises in the block is a FeaturesUnavailableError: the answer falls back."""
    try:
        yield
    except FeaturesUnavailableError:
        raise
    except Exception as error:
        raise FeaturesUnavailableError(f"online store cannot be read ({type(error).__name__})") from error


def import_feast() -> None:
    """Import what opening a store needs: 6 to 9 s of CPU, at a worker's start rather than in a request."""
    with absent("torch"):  # Feast takes it along where it finds it, for images; we have none
        import feast  # noqa: F401


@contextmanager
def absent(name: str) -> Iterator[None]:
    """Let imports in the block not find module `name`, unless it is loaded already."""
    hide = name not in sys.modules
    if hide:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hide:
            del sys.modules[name]


def collect() -> None:
    """Free what is unreachable, also among what the service froze after its warm-up; freeze again if so."""
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    gc.collect()
    if frozen:
        gc.freeze()


def newest(found: Mapping[str, Sequence[Any]]) -> datetime | None:
    """Newest event time among a row's features; None when no feature has one."""
    seconds = [int(values[0]) for name, values in found.items() if name.endswith(TIME) and values[0]]
    return None if not seconds else datetime.fromtimestamp(max(seconds), tz=UTC)
