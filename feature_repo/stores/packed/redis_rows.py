"""Packed rows in Redis or Valkey: a hash for each view, its fields the keys of entities.

The server compares event times itself, row by row, so that writers in any number keep what is newest. A view
that is written anew is built beside the old one and renamed.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from feature_repo.stores.packed.layout import EVENT_AT, Layout, PackedStoreError
from feature_repo.stores.packed.sqlite_rows import Row

ROWS_A_CALL = 1_000  # the server does nothing else meanwhile: about 1 ms
# A row's header tells both times, little-endian. Numbers of Lua are exact up to 2**53: the year 2255.
NEWEST = f"""
redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
for i = 2, #ARGV, 2 do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  local stays = false
  if old then
    local new_event, new_created = struct.unpack('<i8i8', ARGV[i + 1], {EVENT_AT + 1})
    local old_event, old_created = struct.unpack('<i8i8', old, {EVENT_AT + 1})
    stays = new_event < old_event or (new_event == old_event and new_created ~= 0
      and old_created ~= 0 and new_created < old_created)
  end
  if not stays then redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
end
"""


class RedisRows:
    """Rows of one project at a URL such as redis://localhost:6379/0 or unix:///run/redis.sock."""

    def __init__(self, url: str, project: str, *, timeout_s: float = 10.0) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        self.project = project
        # Once more where a connection was lost, as by a restart; what takes too long once will do so again.
        once_more = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        self._client = redis.Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=once_more
        )
        self._write_newest = self._client.register_script(NEWEST)

    def declare(self, layout: Layout) -> None:
        """Keep a view's layout; that of rows written before stays known."""
        told = layout.to_json()
        with self._plainly():
            self._client.hset(
                self._layouts, mapping={layout.view: told, f"{layout.view} {layout.schema:016x}": told}
            )
            # From a random number on: a server that was started anew does not count as the one before.
            self._client.hsetnx(self._versions, layout.view, str(secrets.randbits(40)))
            self._client.hincrby(self._versions, layout.view, 1)

    def layout(self, view: str, schema: int | None = None) -> Layout | None:
        """The view's layout, or an earlier one by its hash; None where the store has none."""
        with self._plainly():
            told: Any = self._client.hget(self._layouts, view if schema is None else f"{view} {schema:016x}")
        return None if told is None else Layout.from_json(told)

    def write(self, rows: Mapping[str, Iterable[Row]], *, replace: bool = False) -> None:
        """Write rows by view; a newer row stays. Each row is whole at any time, a batch is not.

        With `replace` the views have just these rows afterwards, however old, and all change at once.
        """
        if replace:
            self._write_anew(rows)
            return
        with self._plainly():
            for view, of_view in rows.items():
                for some in batched_rows(of_view):
                    arguments = [view, *(part for key, _, _, row in some for part in (key, row))]
                    self._write_newest(keys=[self._table(view), self._versions], args=arguments)

    def _write_anew(self, rows: Mapping[str, Iterable[Row]]) -> None:
        with self._plainly(), self._client.pipeline(transaction=True) as change:
            for view, of_view in rows.items():
                table = self._table(view)
                aside = f"{table}:aside"
                self._client.delete(aside)
                for some in batched_rows(of_view):
                    self._client.hset(aside, mapping={key: row for key, _, _, row in some})
                if self._client.exists(aside):
                    change.rename(aside, table)
                else:
                    change.delete(table)
                change.hincrby(self._versions, view, 1)
            change.execute()

    def read(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        """Packed rows of keys, in their order; None where there is none."""
        if not keys:
            return []
        with self._plainly():
            found: Any = self._client.hmget(self._table(view), list(keys))
        return list(found)

    def read_views(self, views: Sequence[str], key: str) -> list[bytes | None]:
        """The packed row of one key in each of several views, in one round trip."""
        with self._plainly(), self._client.pipeline(transaction=False) as asked:
            for view in views:
                asked.hget(self._table(view), key)
            return list(asked.execute())

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
        with self._plainly():
            found: Any = self._client.hget(self._versions, view)
        return None if found is None else int(found)

    def count(self, view: str) -> int:
        """Number of rows of a view."""
        with self._plainly():
            return int(self._client.hlen(self._table(view)))  # type: ignore[arg-type]

    def drop(self, view: str) -> None:
        """Forget a view: its rows and layouts."""
        with self._plainly():
            self._client.unlink(self._table(view))
            fields: Any = self._client.hkeys(self._layouts)
            gone = [field for field in fields if field.decode().partition(" ")[0] == view]
            if gone:
                self._client.hdel(self._layouts, *gone)
            self._client.hincrby(self._versions, view, 1)

    def close(self) -> None:
        """Let the connections go; the next call opens one."""
        self._client.close()

    @property
    def place(self) -> str:
        """Where the rows are, for a person; no password."""
        where = self._client.connection_pool.connection_kwargs
        return f"Redis at {where.get('path') or '{host}:{port}'.format_map(where)}"

    @property
    def _versions(self) -> str:
        return f"{self.project}:packed_versions"

    @property
    def _layouts(self) -> str:
        return f"{self.project}:packed_layouts"

    def _table(self, view: str) -> str:
        return f"{self.project}:packed:{view}"

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """The client's errors in the block as PackedStoreError."""
        import redis

        try:
            yield
        except redis.RedisError as error:
            raise PackedStoreError(f"{self.place} cannot be used now ({error})") from error


def batched_rows(rows: Iterable[Any]) -> Iterator[Sequence[Any]]:
    """Lists of at most ROWS_A_CALL."""
    some: list[Any] = []
    for row in rows:
        some.append(row)
        if len(some) == ROWS_A_CALL:
            yield some
            some = []
    if some:
        yield some
