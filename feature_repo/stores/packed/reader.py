"""Read packed rows without Feast: what the request path uses.

    reader = PackedReader(SqliteRows(path, "endcap", read_only=True))
    reader.read_row("user_stats", "2375", now_us=now_us).values["user_spend_7d"]
    reader.read_matrix("item_stats", ids, ["item_price"], now_us=now_us).values

Time to live is applied here, at `now_us`: Feast does not apply it when it reads online.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from feature_repo.stores.packed.layout import EmptyStoreError, Layout, SchemaMismatchError
from feature_repo.stores.packed.matrix import Matrix, matrix
from feature_repo.stores.packed.row import Strings, schema_of, strings_of, times_of, unpack


class Rows(Protocol):
    """What a reader needs of a store."""

    def layout(self, view: str, schema: int | None = None) -> Layout | None:
        """The view's layout, or an earlier one by its hash."""

    def read(self, view: str, keys: Sequence[str]) -> list[bytes | None]:
        """Packed rows of keys, in their order."""

    def read_with_version(
        self, views: Sequence[str], key: str, version_of: str
    ) -> tuple[list[bytes | None], int | None]:
        """The packed row of one key in each of several views, and the version of a view, in one question."""

    def read_all(self, view: str) -> dict[str, bytes]:
        """All packed rows of a view by key."""

    def filled(self, view: str) -> bool:
        """Whether a view has any row."""

    def version(self, view: str) -> int | None:
        """A number that grows whenever rows of the view may have changed."""


def key_of(*ids: str | int | bytes) -> str:
    """The key of an entity: its id as it is, or a JSON list of the ids in the order of their join keys.

    >>> key_of("2375"), key_of(7), key_of("2375", "819063"), key_of("[odd]")
    ('2375', '7', '["2375", "819063"]', '["[odd]"]')
    """
    if len(ids) == 1:
        only = ids[0]
        if isinstance(only, int):
            return str(only)
        if isinstance(only, str) and (only.isalnum() or plain(only)):
            return only
    return json.dumps([f"bytes {each.hex()}" if isinstance(each, bytes) else each for each in ids])


def id_of(key: str) -> str:
    """The id whose key this is, of entities of one string each: `key_of` undone.

    >>> [id_of(key_of(each)) for each in ("2375", "[odd]", "a b")]
    ['2375', '[odd]', 'a b']
    """
    return str(json.loads(key)[0]) if key.startswith("[") else key


def keys_of(ids: Sequence[str]) -> list[str]:
    """Keys of entities of one id each."""
    return [each if each.isalnum() else key_of(each) for each in ids]


def plain(text: str) -> bool:
    """Whether every store and JSON keep a text as it is, and none takes it for a list of ids."""
    return not text.startswith("[") and "\0" not in text and text.isprintable()


@dataclass(frozen=True)
class FoundRow:
    """One entity's values by feature, and their event time in microseconds since 1970."""

    values: dict[str, Any]
    event_us: int


class PackedReader:
    """Reads the views of one store; keeps their layouts and learns of a new one by itself."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._layouts: dict[str, Layout] = {}
        self._filled: set[str] = set()

    def read_row(
        self, view: str, entity: str, *, now_us: int, names: Sequence[str] | None = None
    ) -> FoundRow | None:
        """One entity's row; None if there is none or it has expired."""
        self.layout(view)  # or EmptyStoreError, before a store says so in its own words
        (packed,) = self.rows.read(view, [key_of(entity)])
        return self._found(view, packed, now_us, names)

    def read_views(self, views: Sequence[str], entity: str, *, now_us: int) -> list[FoundRow | None]:
        """One entity's row in each of several views, asked for together."""
        return self.read_with_version(views, entity, views[0], now_us=now_us)[0]

    def read_with_version(
        self,
        views: Sequence[str],
        entity: str,
        version_of: str,
        *,
        now_us: int,
        strings: Strings = strings_of,
    ) -> tuple[list[FoundRow | None], int | None]:
        """The same, and the version of a view, in one question; `strings` as `unpack` takes it."""
        for view in views:
            self.layout(view)
        rows, version = self.rows.read_with_version(views, key_of(entity), version_of)
        held = zip(views, rows, strict=True)
        return [self._found(view, packed, now_us, strings=strings) for view, packed in held], version

    def _found(
        self,
        view: str,
        packed: bytes | None,
        now_us: int,
        names: Sequence[str] | None = None,
        strings: Strings = strings_of,
    ) -> FoundRow | None:
        layout = self.layout(view)
        if packed is None:
            self.check_not_empty(view)
            return None
        if schema_of(packed) != layout.schema:
            layout = self.layout_of(view, packed)
        event_us, _ = times_of(packed)
        if event_us < since(layout, now_us):
            return None
        return FoundRow(unpack(layout, packed, names, strings=strings), event_us)

    def read_matrix(self, view: str, entities: Sequence[str], names: Sequence[str], *, now_us: int) -> Matrix:
        """Numbers of many entities: one read of the store, one copy a feature."""
        layout = self.layout(view)
        packed = self.rows.read(view, keys_of(entities))
        try:
            found = matrix(layout, packed, names, since_us=since(layout, now_us))
        except SchemaMismatchError:
            for row in packed:
                if row is not None:
                    layout = self.layout_of(view, row)
            found = matrix(layout, packed, names, since_us=since(layout, now_us))
        if len(entities) and not any(row is not None for row in packed):
            self.check_not_empty(view)
        return found

    def layout(self, view: str) -> Layout:
        """The view's layout; EmptyStoreError where the store has no such view."""
        if view not in self._layouts:
            self._layouts[view] = self.latest(view)
        return self._layouts[view]

    def latest(self, view: str) -> Layout:
        """The view's layout as the store has it now."""
        found = self.rows.layout(view)
        if found is None:
            raise EmptyStoreError(f"The online store has no view {view}; run `endcap materialize`")
        return found

    def layout_of(self, view: str, packed: bytes) -> Layout:
        """The latest layout, if the row was written by it; SchemaMismatchError with the difference if not."""
        latest = self._layouts[view] = self.latest(view)
        if schema_of(packed) == latest.schema:
            return latest
        before = self.rows.layout(view, schema_of(packed))
        told = "was written by an unknown one" if before is None else latest.difference(before)
        raise SchemaMismatchError(
            f"A row of view {view} is of another schema than the registered one: it {told};"
            f" run `endcap materialize`"
        )

    def check_not_empty(self, view: str) -> None:
        """EmptyStoreError if the store has lost the view, as a server does that was started anew."""
        if self.rows.layout(view) is None:
            self._layouts.pop(view, None)
            self._filled.discard(view)
            raise EmptyStoreError(
                f"The online store is empty: it has no view {view} any more; run `endcap materialize`"
            )

    def check_filled(self, views: Sequence[str]) -> None:
        """EmptyStoreError if a view has no row at all: nothing was materialized since it was registered."""
        for view in views:
            if view not in self._filled and not self.rows.filled(view):
                raise EmptyStoreError(
                    f"The online store is empty: view {view} has no rows; run `endcap materialize`"
                )
            self._filled.add(view)


def since(layout: Layout, now_us: int) -> int:
    """Event time of the oldest row that still holds at `now_us`."""
    return now_us - layout.ttl_us if layout.ttl_us else -(2**63)
