"""Online features: a user's row and items' rows, read through Feast's online store.

    reader = OnlineFeatures(settings, release.manifest)
    reader.read_user("2375")["history_items"]

Feast does not apply a view's TTL when it reads online; `feature_time` in the answers tells how old a row is.
"""

from collections.abc import Mapping, Sequence
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
        self.user_names: list[str] = manifest["features"]["user"]
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
        for service, names in ((ITEMS, self.item_names), (USERS, self.user_names)):
            views = self._open().get_feature_service(service).feature_view_projections
            registered = {field.name for view in views for field in view.features}
            missing = [name for name in names if name not in registered]
            if missing:
                raise ReleaseError(f"The release needs {missing}, which {service} lacks; run `endcap apply`")

    def _open(self) -> Any:
        path = self.settings.online_store
        try:
            facts = path.stat()
        except OSError as error:
            raise FeaturesUnavailableError("no online store (run `endcap materialize`)") from error
        if self._store is None or self._opened != (facts.st_ino, facts.st_dev):
            from feature_repo.store import open_store

            self._store = open_store(self.settings)
            self._opened = (facts.st_ino, facts.st_dev)
        return self._store

    def _read(self, service: str, key: str, ids: list[str]) -> dict[str, list[Any]]:
        try:
            store = self._open()
            answer = store.get_online_features(
                features=store.get_feature_service(service), entity_rows=[{key: each} for each in ids]
            )
            found: dict[str, list[Any]] = answer.to_dict(include_event_timestamps=service == USERS)
        except FeaturesUnavailableError:
            raise
        except Exception as error:  # whatever a store's client raises, the shopper still gets an answer
            raise FeaturesUnavailableError(f"online store cannot be read ({type(error).__name__})") from error
        return found


def newest(found: Mapping[str, Sequence[Any]]) -> datetime | None:
    """Newest event time among a row's features; None when no feature has one."""
    seconds = [int(values[0]) for name, values in found.items() if name.endswith(TIME) and values[0]]
    return None if not seconds else datetime.fromtimestamp(max(seconds), tz=UTC)
