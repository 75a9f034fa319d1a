"""Packed rows in Redis or Valkey: a hash for each view, its fields the keys of entities.

The server compares event times itself, row by row, so that writers in any number keep what is newest. A view
that is written anew is built beside the old one and renamed.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from feature_repo.stores.packed.layout import Layout, PackedStoreError
from feature_repo.stores.packed.redis_scripts import LATER, NEWEST, SAME, expected_and_new
from feature_repo.stores.packed.sqlite_rows import Exchange, Row

ASIDE_S = 3_600  # that rows which nobody has shown yet are kept, after the last that was written
ROWS_A_CALL = 1_000  # the server does nothing else meanwhile: about 1 ms


class RedisRows:
    """Rows of one project at a URL such as redis://localhost:6379/0 or unix:///run/redis.sock."""

    def __init__(self, url: str, project: str, *, timeout_s: float = 10.0) -> None:
        from feature_repo.stores.packed.redis_server import connected

        self.project = project
        names = (f"{project}:packed_{name}" for name in ("versions", "fills", "known", "layouts"))
        self._versions, self._fills, self._known, self._layouts = names  # hashes with a field for each view
        self._client = connected(url, timeout_s=timeout_s)
        self._write_newest = self._client.register_script(NEWEST)
        self._write_same = self._client.register_script(SAME)
        self._know_later = self._client.register_script(LATER)

    def check(self) -> None:
        """Ask the server once; RefusedError where it cannot keep packed rows, however long one waits."""
        from feature_repo.stores.packed.redis_errors import check_mode

        with self._plainly():
            check_mode(self._client)

    def declare(self, layout: Layout) -> None:
        """Keep a view's layout; that of rows written before stays known."""
        with self._plainly():
            self._declare(self._client, layout)

    def _declare(self, client: Any, layout: Layout) -> None:
        told, before = layout.to_json(), self.layout(layout.view)
        client.hset(self._layouts, mapping={layout.view: told, f"{layout.view} {layout.schema:016x}": told})
        # From a random number on: a server that was started anew does not count as the one before.
        client.hsetnx(self._versions, layout.view, str(secrets.randbits(40)))
        client.hincrby(self._versions, layout.view, 1)
        if before is not None and before.schema != layout.schema:  # rows will be written anew
            client.hset(self._fills, layout.view, str(secrets.randbits(60)))
        client.hsetnx(self._fills, layout.view, str(secrets.randbits(60)))

    def layout(self, view: str, schema: int | None = None) -> Layout | None:
        """The view's layout, or an earlier one by its hash; None where the store has none."""
        with self._plainly():
            told: Any = self._client.hget(self._layouts, view if schema is None else f"{view} {schema:016x}")
        return None if told is None else Layout.from_json(told)

    def write(
        self,
        rows: Mapping[str, Iterable[Row]],
        *,
        replace: bool = False,
        layouts: Sequence[Layout] = (),
        known_until_us: int | None = None,
    ) -> None:
        """Write rows by view; a newer row stays. Each row is whole at any time, a batch is not.

        With `replace` the views have just these rows afterwards, however old. Those change all at once, and
        so do views that have no rows yet. `layouts` are declared: for views that have no rows yet with them,
        so that nobody sees such a view without its rows. With `known_until_us`, the rows tell all that
        happened up to that time, which is said last.
        """
        if replace:
            self._write_anew(rows, layouts, known_until_us)
            return
        with self._plainly():
            blank = {each.view: each for each in layouts if not self._client.exists(self._table(each.view))}
            for layout in layouts:
                if layout.view not in blank:
                    self._declare(self._client, layout)
            aside = {view: self._new_aside(view) for view in blank}
            made: list[str] = []
            for view, of_view in rows.items():
                if view in blank:
                    if self._merge("", of_view, aside[view]):  # no version: nobody can see it
                        made.append(aside[view])
                else:
                    self._merge(view, of_view, self._table(view))
            self._check_kept(made)
            self._show(blank, aside)
            for view in rows if known_until_us is not None else ():
                self._know_later(keys=[self._known], args=[view, str(known_until_us)])

    def _merge(self, view: str, rows: Iterable[Row], table: str) -> bool:
        """Write what is newer; whether there was any row."""
        any_row = False
        for some in batched_rows(rows):
            arguments = [view, *(part for key, _, _, row in some for part in (key, row))]
            self._write_newest(keys=[table, self._versions], args=arguments)
            if not view:
                self._client.expire(table, ASIDE_S)
            any_row = True
        return any_row

    def _check_kept(self, made: Sequence[str]) -> None:
        """PackedStoreError where rows that lie aside are gone: a server out of memory may drop them."""
        if made and self._client.exists(*made) < len(made):  # type: ignore[operator]
            raise PackedStoreError(
                f"{self.place} lost rows while they were being written; the old ones stay. Give it more"
                " memory, and set its maxmemory-policy to noeviction"
            )

    def _show(self, blank: Mapping[str, Layout], aside: Mapping[str, str]) -> None:
        """Put what lies aside in the place of views without rows, all at once."""
        written = [view for view in blank if self._client.exists(aside[view])]
        with self._client.pipeline(transaction=True) as change:
            for view in written:
                change.renamenx(aside[view], self._table(view))
            for view, layout in blank.items():
                change.persist(self._table(view))
                self._declare(change, layout)
                change.hset(self._fills, view, str(secrets.randbits(60)))
            moved = change.execute()[: len(written)]
        for view, alone in zip(written, moved, strict=True):
            if not alone:  # somebody has written to it since
                self._merge(view, self._left(aside[view]), self._table(view))
                self._client.delete(aside[view])

    def _left(self, table: str) -> Iterator[Row]:
        found: Any = self._client.hscan_iter(table, count=ROWS_A_CALL)
        return ((key.decode(), 0, 0, row) for key, row in found)

    def _write_anew(
        self, rows: Mapping[str, Iterable[Row]], layouts: Sequence[Layout], known_until_us: int | None
    ) -> None:
        with self._plainly(), self._client.pipeline(transaction=True) as change:
            made: list[str] = []
            for layout in layouts:
                self._declare(change, layout)
            for view, of_view in rows.items():
                table, aside, any_row = self._table(view), self._new_aside(view), False
                for some in batched_rows(of_view):
                    self._client.hset(aside, mapping={key: row for key, _, _, row in some})
                    self._client.expire(aside, ASIDE_S)
                    any_row = True
                if any_row:
                    made.append(aside)
                    change.rename(aside, table)
                    change.persist(table)
                else:
                    change.delete(table)
                change.hset(self._fills, view, str(secrets.randbits(60)))
                change.hincrby(self._versions, view, 1)
                if known_until_us is not None:
                    change.hset(self._known, view, str(known_until_us))
            self._check_kept(made)
            change.execute()

    def exchange(self, changes: Iterable[Exchange]) -> list[str]:
        """Write rows where the store still has those that they were made from; keys of the others.

        A key's rows in several views are exchanged all or none.
        """
        refused: list[str] = []
        for some in batched_rows(changes):
            views = sorted({view for change in some for view in change.rows})
            arguments: list[Any] = [len(views), *views]
            for change in some:
                arguments.append(change.key)
                for view in views:
                    arguments += expected_and_new(change, view)
            with self._plainly():
                keys = [self._versions, *map(self._table, views)]
                refused += [key.decode() for key in self._write_same(keys=keys, args=arguments)]
        return refused

    def read(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        """Packed rows of keys, in their order; None where there is none."""
        if not keys:
            return []
        with self._plainly():
            found: Any = self._client.hmget(self._table(view), list(keys))
        return list(found)

    def read_with_version(
        self, views: Sequence[str], key: str, version_of: str
    ) -> tuple[list[bytes | None], int | None]:
        """The packed row of one key in several views, and the version of a view, in one round trip."""
        from feature_repo.stores.packed.redis_server import replies

        asked = [("HGET", self._table(view), key) for view in views]
        with self._plainly():
            *found, version = replies(self._client, [*asked, ("HGET", self._versions, version_of)])
        return found, None if version is None else int(version)

    def delete(self, view: str, keys: Iterable[str]) -> None:
        """Delete rows; keys that are not there are passed over."""
        with self._plainly():
            for some in batched_rows(keys):
                self._client.hdel(self._table(view), *some)
            self._client.hincrby(self._versions, view, 1)

    def read_all(self, view: str) -> dict[str, bytes]:
        """All packed rows of a view by key, fetched in pieces."""
        with self._plainly():
            found: Any = self._client.hscan_iter(self._table(view), count=ROWS_A_CALL)
            return {key.decode(): row for key, row in found}

    def version(self, view: str) -> int | None:
        """A number that grows whenever rows of the view may have changed; None where it has none."""
        return self._number(self._versions, view)

    def fill(self, view: str) -> int | None:
        """What tells a view that was lost or written anew from the one before; None where there is none."""
        return self._number(self._fills, view)

    def known_until(self, view: str) -> int | None:
        """The time, in microseconds, up to which a view's rows tell all that happened; None if not said."""
        return self._number(self._known, view)

    def _number(self, name: str, view: str) -> int | None:
        with self._plainly():
            found: Any = self._client.hget(name, view)
        return None if found is None else int(found)

    def filled(self, view: str) -> bool:
        """Whether a view has any row."""
        with self._plainly():
            return bool(self._client.exists(self._table(view)))

    def count(self, view: str) -> int:
        """Number of rows of a view."""
        with self._plainly():
            return int(self._client.hlen(self._table(view)))  # type: ignore[arg-type]

    def size_bytes(self, view: str, *, samples: int) -> int:
        """Memory that a view takes on the server, as some of its rows let it reckon."""
        with self._plainly():
            return int(self._client.memory_usage(self._table(view), samples) or 0)  # type: ignore[arg-type]

    def views(self) -> list[str]:
        """Views that were declared, by name."""
        return sorted({field.partition(" ")[0] for field in self._declared()})

    def _declared(self) -> list[str]:
        with self._plainly():
            fields: Any = self._client.hkeys(self._layouts)
        return [field.decode() for field in fields]

    def drop(self, view: str) -> None:
        """Forget a view: its rows and layouts."""
        with self._plainly():
            self._client.unlink(self._table(view))
            gone = [field for field in self._declared() if field.partition(" ")[0] == view]
            if gone:
                self._client.hdel(self._layouts, *gone)
            self._client.hincrby(self._versions, view, 1)
            self._client.hdel(self._fills, view)
            self._client.hdel(self._known, view)

    def close(self) -> None:
        """Let the connections go; the next call opens one."""
        self._client.close()

    @property
    def place(self) -> str:
        """Where the rows are, for a person; no password."""
        from feature_repo.stores.packed.redis_errors import place_of

        return place_of(self._client)

    def _table(self, view: str) -> str:
        return f"{self.project}:packed:{view}"

    def _new_aside(self, view: str) -> str:
        """A name of its own for each writer; what a writer leaves that has died goes by itself."""
        return f"{self._table(view)}:aside:{secrets.token_hex(8)}"

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """The client's errors in the block as PackedStoreError, without them: they may have a password."""
        import redis

        from feature_repo.stores.packed.redis_errors import explained

        try:
            yield
        except redis.RedisError as error:
            raise explained(self._client, error) from None


def batched_rows(rows: Iterable[Any]) -> Iterator[Sequence[Any]]:
    """Lists of at most ROWS_A_CALL."""
    left = iter(rows)
    yield from iter(lambda: list(islice(left, ROWS_A_CALL)), [])
