"""Numbers of a fixed list of entities held in memory, as new as the store: each read knows its version.

For views that many rows are read of and that change seldom, as items do: a read is then one small question
to the store, or none where the version was heard with other rows a moment ago, and one look-up in an array.
While a view keeps changing, rows are read from the store as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.stores.packed.layout import PackedStoreError
from feature_repo.stores.packed.matrix import Matrix, matrix
from feature_repo.stores.packed.reader import PackedReader, keys_of, since

FRESH_S = 0.005  # that a version holds which was heard with other rows: a request reads both within 3 ms
RELOAD_S = 10.0  # at the earliest after the last time: 0.2 s for 50,000 rows of 11 features
Places = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Held:
    """The rows of all entities as of one version of the view; blank where there is none."""

    version: int
    ttl_since: int  # how far back from now rows hold, as `since` reckons, in microseconds
    values: NDArray[np.float64]  # (n_entities, n_names)
    found: NDArray[np.bool_]  # (n_entities,)
    event_us: NDArray[np.int64]  # (n_entities,)
    newest_us: int  # of all entities

    def at(self, places: Places, now_us: int) -> Matrix:
        """Rows of some entities, as of a time."""
        values, event_us = self.values.take(places, axis=0), self.event_us.take(places)
        found = self.found.take(places)
        expired = event_us < now_us + self.ttl_since
        if expired.any():
            found &= ~expired
            values[expired], event_us[expired] = np.nan, 0
        return Matrix(values, found, event_us)


class HeldView:
    """Some features of `entities` in one view, asked for by place in that list.

    Threads may share it: what is held is swapped at once.
    """

    def __init__(
        self, reader: PackedReader, view: str, names: Sequence[str], entities: Sequence[str]
    ) -> None:
        self.reader, self.view, self.names = reader, view, list(names)
        self.entities = list(entities)
        self.held: Held | None = None
        self._reload_at = 0.0
        self._heard: tuple[int, float] | None = None  # a version, and the monotonic seconds until it holds

    def heard(self, version: int | None) -> None:
        """Take the view's version as the store just told it: the next read need not ask."""
        self._heard = None if version is None else (version, monotonic() + FRESH_S)

    def read_matrix(self, places: Places, *, now_us: int) -> Matrix:
        """What `PackedReader.read_matrix` reads of the entities at `places`, (n_places, n_names)."""
        version, held = self._version(), self.held
        if held is None or held.version != version:
            held = self._loaded(version) if version is not None and monotonic() >= self._reload_at else None
        if held is None:
            asked = [self.entities[place] for place in places.tolist()]
            return self.reader.read_matrix(self.view, asked, self.names, now_us=now_us)
        return held.at(places, now_us)

    def _version(self) -> int | None:
        heard = self._heard
        if heard is not None and monotonic() < heard[1]:
            return heard[0]
        return self.reader.rows.version(self.view)

    def expired_us(self, now_us: int) -> int | None:
        """Event time of the newest row that is held, if all of them have expired by now, else None."""
        held = self.held
        return held.newest_us if held is not None and held.newest_us < now_us + held.ttl_since else None

    def last_matrix(self, places: Places, *, now_us: int) -> Matrix | None:
        """The same as of the last version that was held, without asking the store; None if none was."""
        return None if self.held is None else self.held.at(places, now_us)

    def _loaded(self, version: int) -> Held | None:
        """Hold all rows; None where that cannot be: of several schemas, or none at all."""
        self._reload_at = monotonic() + RELOAD_S
        try:
            layout = self.reader.latest(self.view)
            rows = self.reader.rows.read_all(self.view)
            packed = [rows.get(key) for key in keys_of(self.entities)]
            found = matrix(layout, packed, self.names, since_us=-(2**63))
        except PackedStoreError:
            return None  # reading the rows that are asked for will say why, if it is about them
        if not found.found.any():
            return None
        newest = int(found.event_us[found.found].max())
        self.held = Held(version, since(layout, 0), found.values, found.found, found.event_us, newest)
        return self.held
