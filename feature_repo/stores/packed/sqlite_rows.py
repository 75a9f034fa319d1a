"""Packed rows in one SQLite file: a table for each view, and one of layouts.

Writers keep a row whose event time is newer than the one they bring. Readers see whole transactions only
(write-ahead log), also while a view is written anew; they open the file at the first read, and again after
it was deleted and written anew. No other file may take its place: the log beside it is not that file's.
"""

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_repo.stores.packed.layout import EmptyStoreError, Layout, NoStoreError, PackedStoreError

WAIT_S = 10.0  # for another writer to finish
LAYOUTS, VERSIONS, FILLS = "packed_layouts", "packed_versions", "packed_fills"
KNOWN = "packed_known"
Row = tuple[str, int, int, bytes]  # key, event time, created time (us, 0 for none), packed row


@dataclass(frozen=True)
class Exchange:
    """New rows of one key, each for the one that it was made from."""

    key: str
    rows: Mapping[str, tuple[Row, int | None]]  # by view, with the event time of the old one, None for no row


class SqliteRows:
    """Rows of one project; safe to share between threads, which take turns."""

    def __init__(
        self,
        path: Path,
        project: str,
        *,
        read_only: bool = False,
        create: bool = True,
        timeout_s: float = WAIT_S,
    ) -> None:
        self.path, self.project, self.read_only = Path(path), project, read_only
        self.create = create and not read_only
        self.timeout_s = timeout_s
        self._turn = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def declare(self, layout: Layout) -> None:
        """Make room for a view's rows, and keep its layout; that of rows written before stays known."""
        with self._writing() as connection:
            self._declare(connection, layout)

    def _make_fills(self, connection: sqlite3.Connection) -> None:
        told = "(project TEXT, view TEXT, fill INTEGER, PRIMARY KEY (project, view))"
        connection.execute(f"CREATE TABLE IF NOT EXISTS {FILLS} {told}")

    def _declare(self, connection: sqlite3.Connection, layout: Layout) -> None:
        self._make_fills(connection)
        for told in (
            f"{LAYOUTS} (project TEXT, view TEXT, schema TEXT, layout TEXT, latest INTEGER,"
            " PRIMARY KEY (project, view, schema))",
            f"{VERSIONS} (project TEXT, view TEXT, version INTEGER, PRIMARY KEY (project, view))",
            f"{self._table(layout.view)}"
            " (key TEXT PRIMARY KEY, event_us INTEGER, created_us INTEGER, row BLOB) WITHOUT ROWID",
        ):
            connection.execute(f"CREATE TABLE IF NOT EXISTS {told}")
        self._changed(connection, layout.view)
        of_view = (self.project, layout.view)
        query = f"SELECT schema FROM {LAYOUTS} WHERE project = ? AND view = ? AND latest = 1"
        before = connection.execute(query, of_view).fetchone()
        changed = before is not None and before[0] != f"{layout.schema:016x}"  # rows will be written anew
        how = "REPLACE" if changed else "IGNORE"
        connection.execute(f"INSERT OR {how} INTO {FILLS} VALUES (?, ?, random())", of_view)
        connection.execute(f"UPDATE {LAYOUTS} SET latest = 0 WHERE project = ? AND view = ?", of_view)
        connection.execute(
            f"INSERT OR REPLACE INTO {LAYOUTS} VALUES (?, ?, ?, ?, 1)",
            (*of_view, f"{layout.schema:016x}", layout.to_json()),
        )

    def layout(self, view: str, schema: int | None = None) -> Layout | None:
        """The view's layout, or an earlier one by its hash; None where the store has none."""
        query = f"SELECT layout FROM {LAYOUTS} WHERE project = ? AND view = ?"
        asked = [self.project, view]
        if schema is None:
            query += " AND latest = 1"
        else:
            query, asked = f"{query} AND schema = ?", [*asked, f"{schema:016x}"]
        try:
            found = self._fetch(query, asked)
        except MissingTableError:
            return None
        return Layout.from_json(found[0][0]) if found else None

    def write(
        self,
        rows: Mapping[str, Iterable[Row]],
        *,
        replace: bool = False,
        layouts: Sequence[Layout] = (),
        known_until_us: int | None = None,
    ) -> None:
        """Write rows by view, all in one transaction; a newer row stays.

        With `replace` the views have just these rows afterwards, however old. `layouts` are declared with
        them, so that nobody sees a view of them without its rows. With `known_until_us`, the rows tell all
        that happened up to that time.
        """
        with self._writing() as connection:
            self._make_fills(connection)
            for layout in layouts:
                self._declare(connection, layout)
            for view, of_view in rows.items():
                table = self._table(view)
                self._changed(connection, view)
                if replace:
                    connection.execute(f"DELETE FROM {table}")
                    told = f"INSERT OR REPLACE INTO {FILLS} VALUES (?, ?, random())"
                    connection.execute(told, (self.project, view))
                connection.executemany(
                    f"INSERT INTO {table} VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
                    " event_us = excluded.event_us, created_us = excluded.created_us, row = excluded.row"
                    " WHERE excluded.event_us > event_us OR (excluded.event_us = event_us AND"
                    " (excluded.created_us = 0 OR created_us = 0 OR excluded.created_us >= created_us))"
                    " OR substr(excluded.row, 1, 8) <> substr(row, 1, 8)",  # of another schema: of no use
                    of_view,
                )
                if known_until_us is not None:
                    self._know(connection, view, known_until_us, replace=replace)

    def _know(self, connection: sqlite3.Connection, view: str, until_us: int, *, replace: bool) -> None:
        told = "(project TEXT, view TEXT, until_us INTEGER, PRIMARY KEY (project, view))"
        connection.execute(f"CREATE TABLE IF NOT EXISTS {KNOWN} {told}")
        connection.execute(
            f"INSERT INTO {KNOWN} VALUES (?1, ?2, ?3) ON CONFLICT (project, view) DO UPDATE SET"
            " until_us = CASE WHEN ?4 THEN ?3 ELSE max(until_us, ?3) END",
            (self.project, view, until_us, replace),
        )

    def exchange(self, changes: Iterable[Exchange]) -> list[str]:
        """Write rows where the store still has those that they were made from; keys of the others.

        A key's rows in several views are exchanged all or none.
        """
        refused = []
        with self._writing() as connection:
            for change in changes:
                rows = [(self._table(view), *each) for view, each in change.rows.items()]
                if any(self._event_us(connection, table, change.key) != was for table, _, was in rows):
                    refused.append(change.key)
                    continue
                for table, row, _ in rows:
                    connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)", row)
                for view in change.rows:
                    self._changed(connection, view)
        return refused

    def _event_us(self, connection: sqlite3.Connection, table: str, key: str) -> int | None:
        found = connection.execute(f"SELECT event_us FROM {table} WHERE key = ?", (key,)).fetchone()
        return None if found is None else int(found[0])

    def read(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        """Packed rows of keys, in their order; None where there is none."""
        # One statement however many keys, and no limit on their number.
        query = (
            f"SELECT asked.key, held.row FROM json_each(?) AS asked LEFT JOIN {self._table(view)} AS held"
            " ON held.key = asked.value"
        )
        found: list[bytes | None] = [None] * len(keys)
        for place, row in self._fetch(query, [json.dumps(keys)]):
            found[place] = row
        return found

    def read_with_version(
        self, views: Sequence[str], key: str, version_of: str
    ) -> tuple[list[bytes | None], int | None]:
        """The packed row of one key in each of several views, and the version of a view, of one moment."""
        asked = [f"(SELECT row FROM {self._table(view)} WHERE key = ?1)" for view in views]
        asked.append(f"(SELECT version FROM {VERSIONS} WHERE project = ?2 AND view = ?3)")
        query = f"SELECT {', '.join(asked)}"
        ((*found, version),) = self._fetch(query, [key, self.project, version_of])
        return found, version

    def delete(self, view: str, keys: Iterable[str]) -> None:
        """Delete rows; keys that are not there are passed over."""
        with self._writing() as connection:
            connection.executemany(f"DELETE FROM {self._table(view)} WHERE key = ?", ((key,) for key in keys))
            self._changed(connection, view)

    def read_all(self, view: str) -> dict[str, bytes]:
        """All packed rows of a view by key."""
        return dict(self._fetch(f"SELECT key, row FROM {self._table(view)}", []))

    def version(self, view: str) -> int | None:
        """A number that grows whenever rows of the view may have changed; None where it has none."""
        return self._number(f"SELECT version FROM {VERSIONS}", view)

    def fill(self, view: str) -> int | None:
        """What tells a view that was lost or written anew from the one before; None where there is none."""
        return self._number(f"SELECT fill FROM {FILLS}", view)

    def known_until(self, view: str) -> int | None:
        """The time, in microseconds, up to which a view's rows tell all that happened; None if not said."""
        return self._number(f"SELECT until_us FROM {KNOWN}", view)

    def _number(self, query: str, view: str) -> int | None:
        try:
            found = self._fetch(f"{query} WHERE project = ? AND view = ?", [self.project, view])
        except MissingTableError:
            return None
        return int(found[0][0]) if found else None

    def filled(self, view: str) -> bool:
        """Whether a view has any row."""
        try:
            return bool(self._fetch(f"SELECT 1 FROM {self._table(view)} LIMIT 1", []))
        except MissingTableError:
            return False

    def count(self, view: str) -> int:
        """Number of rows of a view."""
        return int(self._fetch(f"SELECT count(*) FROM {self._table(view)}", [])[0][0])

    def drop(self, view: str) -> None:
        """Forget a view: its rows and layouts."""
        with self._writing() as connection:
            connection.execute(f"DROP TABLE IF EXISTS {self._table(view)}")
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (LAYOUTS,)).fetchone():
                self._make_fills(connection)
                connection.execute(
                    f"DELETE FROM {LAYOUTS} WHERE project = ? AND view = ?", (self.project, view)
                )
                connection.execute(
                    f"DELETE FROM {FILLS} WHERE project = ? AND view = ?", (self.project, view)
                )
                if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (KNOWN,)).fetchone():
                    connection.execute(
                        f"DELETE FROM {KNOWN} WHERE project = ? AND view = ?", (self.project, view)
                    )
                self._changed(connection, view)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._turn:
            if self._connection is not None:
                with suppress(sqlite3.Error):  # as far as readers let it: the rest is done by the next writer
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._connection.close()
            self._connection = self._file = None

    def _changed(self, connection: sqlite3.Connection, view: str) -> None:
        connection.execute(
            # From a random number on: a file that was written anew does not count as the one before.
            f"INSERT INTO {VERSIONS} VALUES (?, ?, abs(random() % 1099511627776)) ON CONFLICT (project, view)"
            " DO UPDATE SET version = version + 1",
            (self.project, view),
        )

    def _table(self, view: str) -> str:
        name = f"packed:{self.project}:{view}".replace('"', '""')
        return f'"{name}"'

    def _fetch(self, query: str, asked: Sequence[object]) -> list[Any]:
        with self._turn, plainly(self.path):
            return self._open().execute(query, asked).fetchall()

    @property
    def place(self) -> str:
        """Where the rows are, for a person."""
        return str(self.path)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._turn, plainly(self.path):
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def _open(self) -> sqlite3.Connection:
        try:
            facts = self.path.stat()
            now: tuple[int, int] | None = (facts.st_ino, facts.st_dev)
        except FileNotFoundError:
            now = None
        if self._connection is None or now != self._file:
            self.close()
            if not self.create and now is None:
                raise NoStoreError(f"No online store at {self.path}; run `endcap materialize`")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            mode = "ro" if self.read_only else "rwc" if self.create else "rw"
            self._connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=self.timeout_s,
                isolation_level=None,
                check_same_thread=False,
            )
            if not self.read_only:
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA mmap_size = 1073741824")
            facts = self.path.stat()
            self._file = (facts.st_ino, facts.st_dev)
        return self._connection


class MissingTableError(EmptyStoreError):
    """The store has no such view."""


@contextmanager
def plainly(path: Path) -> Iterator[None]:
    """SQLite's errors in the block as PackedStoreError, with the file and what to do."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            raise MissingTableError(
                f"{path} has no {str(error).partition(': ')[2]}; run `endcap apply` and `endcap materialize`"
            ) from error
        raise PackedStoreError(f"{path} cannot be used now ({error})") from error
    except sqlite3.Error as error:
        raise PackedStoreError(
            f"{path} cannot be read ({error}); delete it, then run `endcap apply` and `endcap materialize`"
        ) from error
