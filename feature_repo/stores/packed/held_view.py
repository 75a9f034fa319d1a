"""A view's numbers held in memory, and never older than the store: before each read its version is asked.

For views that many rows are read of and that change seldom, as items do: a read is then one small question to
the store and one look-up in an array. While a view keeps changing, rows are read from the store as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from feature_repo.stores.packed.layout import Layout, PackedStoreError
from feature_repo.stores.packed.matrix import Matrix, matrix
from feature_repo.stores.packed.reader import PackedReader, id_of, since

RELOAD_S = 10.0  # at the earliest after the last time: 0.2 s for 50,000 rows of 11 features


@dataclass(frozen=True)
class Held:
    """All rows of a view as of one version; the last row stands for entities that are not there."""

    version: int
    layout: Layout
    place: dict[str, int]  # row by entity
    values: NDArray[np.float64]  # (n_rows + 1, n_names)
    event_us: NDArray[np.int64]  # (n_rows + 1,)

    def at(self, entities: Sequence[str], now_us: int) -> Matrix:
        """Rows of some entities, as of a time."""
        nowhere, place = len(self.event_us) - 1, self.place
        places = np.array([place.get(entity, nowhere) for entity in entities], dtype=np.intp)
        event_us, values = self.event_us[places], self.values[places]
        found = (places != nowhere) & (event_us >= since(self.layout, now_us))
        values[~found] = np.nan
        return Matrix(values, found, np.where(found, event_us, 0))


class HeldView:
    """Some features of all entities of one view; threads may share it: what is held is swapped at once."""

    def __init__(self, reader: PackedReader, view: str, names: Sequence[str]) -> None:
        self.reader, self.view, self.names = reader, view, list(names)
        self.held: Held | None = None
        self._reload_at = 0.0

    def read_matrix(self, entities: Sequence[str], *, now_us: int) -> Matrix:
        """What `PackedReader.read_matrix` reads."""
        version, held = self.reader.rows.version(self.view), self.held
        if held is None or held.version != version:
            held = self._loaded(version) if version is not None and monotonic() >= self._reload_at else None
        if held is None:
            return self.reader.read_matrix(self.view, entities, self.names, now_us=now_us)
        return held.at(entities, now_us)

    def _loaded(self, version: int) -> Held | None:
        """Hold all rows; None where that cannot be: of several schemas, or none at all."""
        self._reload_at = monotonic() + RELOAD_S
        self.held = None
        try:
            layout = self.reader.latest(self.view)
            rows = self.reader.rows.read_all(self.view)
            found = matrix(layout, [*rows.values(), None], self.names, since_us=-(2**63))
        except PackedStoreError:
            return None  # reading the rows that are asked for will say why, if it is about them
        if not rows:
            return None
        place = {id_of(key): number for number, key in enumerate(rows)}
        self.held = Held(version, layout, place, found.values, found.event_us)
        return self.held
