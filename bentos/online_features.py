"""Online features: a user's row and items' rows, read from packed rows without Feast.

    reader = OnlineFeatures(settings, release, clock)
    reader.read_user("2375")["history_items"]

Rows whose time to live is over at the service's clock count as missing. Where that is all items, nobody has
materialized for so long: then all is read as of the newest of them, and `late` says so. Every failure to read
is a FeaturesUnavailableError, which the answer tells as its fallback. A store that did not answer in time is
left alone for PAUSE_S, so that requests do not wait for it one after the other.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import Any

from bentos.ladder import FeaturesUnavailableError
from bentos.release import Release, ReleaseError
from feature_repo.pair_features import Floats, Positions
from feature_repo.settings import Settings
from feature_repo.stores.packed.held_view import HeldView
from feature_repo.stores.packed.instants import microseconds, time_of
from feature_repo.stores.packed.layout import (
    EmptyStoreError,
    NoStoreError,
    PackedStoreError,
    SchemaMismatchError,
)
from feature_repo.stores.packed.matrix import Matrix
from feature_repo.stores.packed.opened import open_rows
from feature_repo.stores.packed.packed_strings import PackedStrings
from feature_repo.stores.packed.reader import FoundRow, PackedReader

log = logging.getLogger("bentoml.endcap")
USER_VIEWS, ITEM_VIEW = ("user_stats", "user_history"), "item_stats"  # as `feature_repo.features.services`
TIMEOUT_S = 0.05  # of one read: half of what a request may take
PAUSE_S = 0.5


class OnlineFeatures:
    """Reader over the online store of one installation, as of a clock."""

    def __init__(self, settings: Settings, release: Release, clock: Callable[[], datetime]) -> None:
        self.item_names: list[str] = release.manifest["features"]["item"]
        self.user_names: list[str] = release.manifest["features"]["user"]
        self.clock = clock
        self.rows = open_rows(settings, timeout_s=TIMEOUT_S)
        self._reader = PackedReader(self.rows)
        ids = release.catalogue.item_ids.tolist()
        self._items = HeldView(self._reader, ITEM_VIEW, self.item_names, ids)
        self._resume = 0.0  # monotonic seconds before which the store is left alone
        self._said = ""

    def read_user(self, user_id: str) -> dict[str, Any] | None:
        """The user's features by name, and the newest `event_timestamp` among them; None if unknown."""
        return together(self.user_rows(user_id))

    def user_rows(self, user_id: str) -> dict[str, FoundRow | None]:
        """The user's row in each of USER_VIEWS; None where there is none, or it has expired."""
        with self._available():
            now_us = self.as_of_us()
            found, version = self._reader.read_with_version(
                USER_VIEWS, user_id, ITEM_VIEW, now_us=now_us, strings=PackedStrings
            )
            self._items.heard(version)
            if all(row is None for row in found):
                self._reader.check_filled(USER_VIEWS)
        return dict(zip(USER_VIEWS, found, strict=True))

    def read_items(self, items: Positions) -> Floats:
        """Features of items of the catalogue, (n_items, n_item_features) float32 in the release's order.

        NaN where missing.
        """
        return self.item_rows(items).values.astype("float32")

    def item_rows(self, items: Positions) -> Matrix:
        """The same before it is rounded, with the event time of each row."""
        with self._available():
            found = self._items.read_matrix(items, now_us=self.as_of_us())
            if items.size and not found.found.any():
                self._reader.check_filled([ITEM_VIEW])
        return found

    def known_until(self) -> dict[str, int | None]:
        """The time by view, in microseconds, up to which the job's rows tell all; None where nobody said."""
        with self._available():
            return {view: self.rows.known_until(view) for view in (*USER_VIEWS, ITEM_VIEW)}

    def last_items(self, items: Positions) -> Floats | None:
        """The same as they were read last, without asking the store; None if they never were."""
        found = self._items.last_matrix(items, now_us=self.as_of_us())
        return None if found is None else found.values.astype("float32")

    def late(self) -> datetime | None:
        """The time of the newest item row, if its time to live is over: nobody has materialized since."""
        newest = self._items.expired_us(microseconds(self.clock()))
        return None if newest is None else time_of(newest)

    def reachable(self) -> bool:
        """Whether the store answers now, and has what the release needs."""
        try:
            self.check()
        except (FeaturesUnavailableError, ReleaseError):
            return False
        return True

    def check(self) -> None:
        """Compare the store's features with the release's; ReleaseError names what differs."""
        for views, names in ((USER_VIEWS, self.user_names), ((ITEM_VIEW,), self.item_names)):
            with self._available():
                held = {name for view in views for name in self._reader.latest(view).names}
            missing = [name for name in names if name not in held]
            if missing:
                raise ReleaseError(
                    f"The release needs {missing}, which {' and '.join(views)} lack; run `endcap apply`"
                )

    def as_of_us(self) -> int:
        """The clock in microseconds, or the newest item row where that has expired by it."""
        now_us = microseconds(self.clock())
        newest = self._items.expired_us(now_us)
        return now_us if newest is None else newest

    @contextmanager
    def _available(self) -> Iterator[None]:
        """What fails in the block is a FeaturesUnavailableError: the answer falls back."""
        if monotonic() < self._resume:
            raise FeaturesUnavailableError("online store does not answer")
        try:
            yield
        except PackedStoreError as error:
            if not isinstance(error, NoStoreError | EmptyStoreError | SchemaMismatchError):
                self._resume = monotonic() + PAUSE_S
            if str(error) != self._said:
                self._said = str(error)
                log.warning("%s", error)
            raise FeaturesUnavailableError(error.told) from error


def together(rows: Mapping[str, FoundRow | None]) -> dict[str, Any] | None:
    """Features of several views by name, and the newest `event_timestamp` among them; None for no row."""
    found = [row for row in rows.values() if row is not None]
    if not found:
        return None
    values = {name: value for row in found for name, value in row.values.items()}
    return {**values, "event_timestamp": time_of(max(row.event_us for row in found))}
