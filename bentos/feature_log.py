"""Features as they were read: for a share of the answers, what the online store said, in one SQLite file.

    log = FeatureLog(path)
    log.append([reads])             # on the disk when it returns

`endcap audit-parity` computes them again from the feature tables. Of the items it has those that were shown
and every tenth of the candidates. The newest KEEP answers stay, so the file has a bound: some 20 kB each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from bentos.durable_log import DurableLog
from bentos.online_features import OnlineFeatures, together
from bentos.recommend import Recommendation
from feature_repo.pair_features import Floats, Positions
from feature_repo.stores.packed.matrix import Matrix
from feature_repo.stores.packed.reader import FoundRow

SCHEMA = """
CREATE TABLE IF NOT EXISTS reads (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  request_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  asked_us INTEGER NOT NULL,
  content BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_time ON reads (asked_us);
"""
KEEP = 20_000  # answers
EVERY = 10  # of the candidates, beside what was shown


class Recording:
    """A reader that keeps what it reads for one answer."""

    def __init__(self, features: OnlineFeatures) -> None:
        self.features = features
        self.last_items, self.late = features.last_items, features.late
        self.as_of_us = 0
        self.known_us: dict[str, int | None] = {}
        self.user: dict[str, FoundRow | None] = {}
        self.items: list[tuple[Positions, Matrix]] = []

    def read_user(self, user_id: str) -> dict[str, Any] | None:
        """As `OnlineFeatures.read_user`."""
        self.as_of_us, self.known_us = self.features.as_of_us(), self.features.known_until()
        self.user = self.features.user_rows(user_id)
        return together(self.user)

    def read_items(self, items: Positions) -> Floats:
        """As `OnlineFeatures.read_items`."""
        found = self.features.item_rows(items)
        self.items.append((items, found))
        return found.values.astype("float32")


@dataclass(frozen=True)
class Reads:
    """What one answer read; `asked_us` is the shop's clock in microseconds since 1970."""

    request_id: str
    found: Recommendation
    asked_us: int
    recording: Recording
    item_ids: NDArray[np.str_] = field(repr=False)  # the release's catalogue

    @property
    def content(self) -> dict[str, Any]:
        """All but what has a column of its own; an item has no row where event_us is 0."""
        users = {
            view: None if row is None else {"event_us": row.event_us, "values": row.values}
            for view, row in self.recording.user.items()
        }
        return {
            "task": self.found.task,
            "release": self.found.release,
            "degraded": self.found.degraded,
            "as_of_us": self.recording.as_of_us,
            "known_us": self.recording.known_us,
            "users": users,
            "items": [self._items(*read) for read in self.recording.items],
        }

    def _items(self, items: Positions, found: Matrix) -> dict[str, Any]:
        shown = {slot.item_id for slot in self.found.slots}
        ids = self.item_ids[items].tolist()
        kept = [place for place, each in enumerate(ids) if place % EVERY == 0 or each in shown]
        return {
            "names": self.recording.features.item_names,
            "ids": [ids[place] for place in kept],
            "event_us": found.event_us[kept],
            "values": found.values[kept].astype("float32"),
        }


class FeatureLog(DurableLog):
    """The log of one installation."""

    what = "a log of features"

    def __init__(self, path: Path, keep: int = KEEP) -> None:
        super().__init__(path, SCHEMA)
        self.keep = keep

    def append(self, reads: Sequence[Reads]) -> list[None]:
        """Keep what some answers read in one transaction, and let the oldest beyond `keep` go."""
        rows = [(each.request_id, each.found.user_id, each.asked_us, dumped(each.content)) for each in reads]
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO reads (request_id, user_id, asked_us, content) VALUES (?, ?, ?, ?)", rows
            )
            connection.execute(
                "DELETE FROM reads WHERE seq <= (SELECT max(seq) FROM reads) - ?", (self.keep,)
            )
        return [None] * len(rows)


def dumped(content: dict[str, Any]) -> bytes:
    """JSON with every number to its last digit, float32 as such; strings that are still packed as a list."""
    return orjson.dumps(content, default=list, option=orjson.OPT_SERIALIZE_NUMPY)
