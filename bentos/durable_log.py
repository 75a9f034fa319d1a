"""A log in one SQLite file: on the disk when a write returns, shared by threads and processes."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_S = 5.0  # for another writer to finish


class LogError(RuntimeError):
    """There is no log to write to; the message names the file."""


class DurableLog:
    """The file with its one writing connection of this process; `schema` makes what is not there yet."""

    what = "a log"

    def __init__(self, path: Path, schema: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._turn = path, threading.Lock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=WAIT_S, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk
            self._connection.executescript(schema)
        except sqlite3.Error as error:
            raise LogError(
                f"{path} cannot be used as {self.what} ({error}); move it away and start again"
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, taken back whatever goes wrong in it."""
        with self._turn:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._connection.close()
