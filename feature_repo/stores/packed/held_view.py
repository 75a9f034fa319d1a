"""A view's numbers held in memory, and never older than the store: before each read its version is asked.

For views that many rows are read of and that change seldom, as items do: a read is then one small question to
the store and one look-up in an array. While a view keeps changing, rows are read from the store as they are.
"""

from collections.abc import Sequence
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from feature_repo.stores.packed.layout import PackedStoreError
from feature_repo.stores.packed.matrix import Matrix, matrix
from feature_repo.stores.packed.reader import PackedReader, id_of, since

RELOAD_S = 10.0  # at the earliest after the last time: 0.2 s for 50,000 rows of 11 features


class HeldView:
    """Some features of all entities of one view, as of a version of it."""

    def __init__(self, reader: PackedReader, view: str, names: Sequence[str]) -> None:
        self.reader, self.view, self.names = reader, view, list(names)
        self.version: int | None = None  # of what is held; None: nothing is
        self._place: dict[str, int] = {}
        self._values: NDArray[np.float64] = np.empty((0, len(self.names)))
        self._event_us: NDArray[np.int64] = np.empty(0, np.int64)
        self._reload_at = 0.0

    def read_matrix(self, entities: Sequence[str], *, now_us: int) -> Matrix:
        """What `PackedReader.read_matrix` reads."""
        version = self.reader.rows.version(self.view)
        held = version is not None and version == self.version
        if not held and (monotonic() < self._reload_at or not self._load(version)):
            return self.reader.read_matrix(self.view, entities, self.names, now_us=now_us)
        nowhere, place = len(self._event_us) - 1, self._place
        places = np.array([place.get(entity, nowhere) for entity in entities], dtype=np.intp)
        event_us = self._event_us[places]
        layout = self.reader.layout(self.view)
        found = (places != nowhere) & (event_us >= since(layout, now_us))
        values = self._values[places]
        values[~found] = np.nan
        return Matrix(values, found, np.where(found, event_us, 0))

    def _load(self, version: int | None) -> bool:
        """Hold all rows; False where that cannot be: of several schemas, or none at all."""
        self._reload_at = monotonic() + RELOAD_S
        self.version = None
        try:
            layout = self.reader.latest(self.view)
            rows = self.reader.rows.read_all(self.view)
            held = matrix(layout, [*rows.values(), None], self.names, since_us=-(2**63))
        except PackedStoreError:
            return False  # reading the rows that are asked for will say why, if it is about them
        if not rows:
            return False
        self._place = {id_of(key): place for place, key in enumerate(rows)}
        self._values, self._event_us = held.values, held.event_us  # the last row stands for those not there
        self.version = version
        return version is not None
