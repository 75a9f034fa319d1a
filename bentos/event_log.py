"""What shoppers do, kept before anything else is done with it: an append-only log in one SQLite file.

    log = EventLog(path)
    log.append([event], now_us)     # on the disk when it returns, once for each event_id
    log.recent("2375", since)       # what a session is made of
    log.pending()                   # purchases that no feature row knows yet

Workers share the file. An event's `received_us` is the shop's clock when it came, made to grow from request
to request: the purchases of one shopper in one request are one basket, and share it.
"""

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from bentos.durable_log import DurableLog

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  user_id TEXT NOT NULL,
  item_id TEXT NOT NULL,
  amount REAL,
  request_id TEXT,
  received_us INTEGER NOT NULL,
  arrived_s REAL NOT NULL,
  applied INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS of_user ON events (user_id, seq);
CREATE TABLE IF NOT EXISTS applied_to (store TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS not_applied ON events (seq) WHERE kind = 'purchase' AND applied = 0;
"""
columns_of = attrgetter("event_id", "kind", "user_id", "item_id", "amount", "request_id")
READ_S = 0.02  # for a reader to wait, who meets no writer but a recovery


@dataclass(frozen=True)
class Event:
    """One thing that one shopper did with one item."""

    event_id: str
    kind: str  # impression, click, add_to_cart or purchase
    user_id: str
    item_id: str
    amount: float | None = None  # paid, for a purchase
    request_id: str | None = None  # of the answer that led to it, where that is known


@dataclass(frozen=True)
class Basket:
    """What one shopper bought in one request."""

    user_id: str
    received_us: int
    items: tuple[str, ...]
    amount: float  # paid for all of it, as far as it was told


class EventLog(DurableLog):
    """The log of one installation; safe to share between threads and processes."""

    what = "a log of events"

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA)
        self._add_request_id()
        self._reading = threading.Lock()
        self._reader = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=READ_S, check_same_thread=False
        )

    def _add_request_id(self) -> None:
        """Make a log of before events had a request_id like one of now."""
        with self._writing() as connection:
            names = [row[1] for row in connection.execute("PRAGMA table_info(events)")]
            if "request_id" not in names:
                connection.execute("ALTER TABLE events ADD COLUMN request_id TEXT")

    def append(self, requests: Sequence[Sequence[Event]], *, now_us: int, arrived_s: float) -> list[int]:
        """Keep the events of several requests in one transaction: how many of each were new.

        An `event_id` that is there already is passed over, whatever else it says now.
        """
        with self._writing() as connection:
            newest = "SELECT received_us FROM events ORDER BY seq DESC LIMIT 1"
            (last,) = connection.execute(newest).fetchone() or (0,)
            # After the rows that are as of now: what a row has of a time it has all of.
            received, counts = max(now_us, last) + 1, []
            for events in requests:
                rows = [(*columns_of(event), received, arrived_s) for event in events]
                before = connection.total_changes
                connection.executemany(
                    "INSERT INTO events (event_id, kind, user_id, item_id, amount, request_id, received_us,"
                    " arrived_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event_id) DO NOTHING",
                    rows,
                )
                counts.append(connection.total_changes - before)
                received += 1
        return counts

    def recent(self, user_id: str, *, since_s: float, n: int) -> list[tuple[str, str]]:
        """(kind, item) of the shopper's last `n` events that arrived since then, the newest first."""
        with self._reading:  # never behind a writer, as a request waits for it
            return self._reader.execute(
                "SELECT kind, item_id FROM events WHERE user_id = ? AND arrived_s >= ?"
                " AND kind <> 'impression' ORDER BY seq DESC LIMIT ?",
                (user_id, since_s, n),
            ).fetchall()

    def pending(self, n: int = 10_000) -> list[str]:
        """Shoppers with purchases that were not applied yet, of the oldest `n` of these."""
        with self._turn:
            rows = self._connection.execute(
                "SELECT DISTINCT user_id FROM (SELECT user_id FROM events WHERE kind = 'purchase'"
                " AND applied = 0 ORDER BY seq LIMIT ?)",
                (n,),
            ).fetchall()
        return [user_id for (user_id,) in rows]

    def applied_to(self, store: str) -> None:
        """Note which store purchases are applied to: where it is another than before, none is any more."""
        query = "SELECT store FROM applied_to"
        with self._turn:
            if self._connection.execute(query).fetchone() == (store,):
                return
        with self._writing() as connection:
            before = connection.execute(query).fetchone()
            connection.execute("DELETE FROM applied_to")
            connection.execute("INSERT INTO applied_to VALUES (?)", (store,))
            if before not in (None, (store,)):
                connection.execute("UPDATE events SET applied = 0 WHERE kind = 'purchase'")

    def baskets(self, user_id: str, *, after_us: int) -> list[Basket]:
        """What a shopper bought after a time of the shop's clock, in the order it came."""
        with self._turn:
            rows = self._connection.execute(
                "SELECT received_us, item_id, amount FROM events WHERE user_id = ? AND kind = 'purchase'"
                " AND received_us > ? ORDER BY seq",
                (user_id, after_us),
            ).fetchall()
        found = []
        for received_us, lines in groupby(rows, key=lambda row: row[0]):
            of_basket = list(lines)
            items = tuple(item for _, item, _ in of_basket)
            found.append(Basket(user_id, received_us, items, sum(paid or 0.0 for *_, paid in of_basket)))
        return found

    def mark_applied(self, until: Iterable[tuple[str, int]], store: str) -> None:
        """Note that purchases up to (shopper, received time) pairs are applied to a store.

        Nothing is noted of a store that is not the one that they are applied to any more.
        """
        with self._writing() as connection:
            connection.executemany(
                "UPDATE events SET applied = 1 WHERE user_id = ? AND received_us <= ? AND applied = 0"
                " AND NOT EXISTS (SELECT 1 FROM applied_to WHERE store <> ?)",
                ((*each, store) for each in until),
            )

    def count(self) -> int:
        """Number of events."""
        with self._turn:
            return int(self._connection.execute("SELECT count(*) FROM events").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        with self._reading:
            self._reader.close()
        super().close()
