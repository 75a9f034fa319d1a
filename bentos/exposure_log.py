"""What shoppers were shown, and by which arm: an append-only log in one SQLite file, a row an answer.

    log = ExposureLog(path)
    log.append([exposure])          # on the disk when it returns

It is what experiments are analysed from and what other policies are judged by before they go live: each slot
has the score and the probability that it was shown with. `endcap export-logs` makes Parquet of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from bentos.assignment import Assigned
from bentos.durable_log import DurableLog
from bentos.recommend import Recommendation

SCHEMA = """
CREATE TABLE IF NOT EXISTS exposures (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  request_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  shown_us INTEGER NOT NULL,
  content BLOB NOT NULL
);
"""


@dataclass(frozen=True)
class Exposure:
    """One answer; `shown_us` is the shop's clock in microseconds since 1970, arms are by experiment."""

    request_id: str
    found: Recommendation
    k: int
    shown_us: int
    latency_ms: float
    assigned: Assigned = field(default_factory=Assigned)
    temperature: float | None = None  # of the arm's draws

    @property
    def content(self) -> Mapping[str, Any]:
        """All but what has a column of its own; slots column by column."""
        found, slots = self.found, self.found.slots
        return {
            "task": found.task,
            "k": self.k,
            "release": found.release,
            "rules": found.rules,
            "latency_ms": self.latency_ms,
            "degraded": found.degraded,
            "arms": dict(self.assigned.arms),
            "settled": dict(self.assigned.settled),
            "held_out": self.assigned.held_out,
            "forced": self.assigned.forced,
            "items": [slot.item_id for slot in slots],
            "scores": [slot.score for slot in slots],
            "propensities": [slot.propensity for slot in slots],
            "explored": [slot.explored for slot in slots],
            "bought_before": [slot.bought_before for slot in slots],
            "exploration": None if found.exploration is None else vars(found.exploration),
            "temperature": self.temperature,
        }


class ExposureLog(DurableLog):
    """The log of one installation."""

    what = "a log of exposures"

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA)

    def append(self, exposures: Sequence[Exposure]) -> list[None]:
        """Keep some answers in one transaction."""
        rows = [
            (each.request_id, each.found.user_id, each.shown_us, orjson.dumps(each.content))
            for each in exposures
        ]
        with self._writing() as connection:
            connection.executemany(
                "INSERT INTO exposures (request_id, user_id, shown_us, content) VALUES (?, ?, ?, ?)", rows
            )
        return [None] * len(rows)

    def after(self, seq: int, n: int) -> list[tuple[int, str, str, int, dict[str, Any]]]:
        """Up to `n` rows after one: (seq, request_id, user_id, shown_us, content), in order."""
        with self._turn:
            rows = self._connection.execute(
                "SELECT seq, request_id, user_id, shown_us, content FROM exposures WHERE seq > ?"
                " ORDER BY seq LIMIT ?",
                (seq, n),
            ).fetchall()
        return [(*row[:4], orjson.loads(row[4])) for row in rows]
