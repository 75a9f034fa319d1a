"""What the rows of one view are made of: the features in their order, each with its Feast value type.

    layout = Layout("item_stats", (("item_price", "DOUBLE"), ("item_tags", "STRING_LIST")), ttl_us=0)

A row starts with a header (hash of the layout, event time, created time, which values are null), then what
has a fixed size, then what has not, in the order of the features.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

# NumPy codes by Feast's value type. Types that are neither here nor below are kept as Feast's own bytes.
SCALARS: Mapping[str, str] = MappingProxyType(
    {
        "FLOAT": "<f4",
        "DOUBLE": "<f8",
        "INT32": "<i4",
        "INT64": "<i8",
        "BOOL": "?",
        "UNIX_TIMESTAMP": "<i8",
    }
)
ARRAYS: Mapping[str, str] = MappingProxyType({f"{name}_LIST": code for name, code in SCALARS.items()})
TEXTS = ("STRING", "BYTES")
TEXT_LISTS = ("STRING_LIST", "BYTES_LIST")
HEADER = (("schema", "<u8"), ("event_us", "<i8"), ("created_us", "<i8"))
EVENT_AT = 8  # bytes before the event time


class PackedStoreError(RuntimeError):
    """An online store that is not there, not whole, or not what the reader expects.

    The message is for who runs the store, with its place; `told` is for who asked a question of it.
    """

    told = "online store cannot be read"


class RefusedError(PackedStoreError):
    """A server that will not serve, however long one waits: the message says what to do about it."""


class NoStoreError(PackedStoreError):
    """There is no store."""

    told = "no online store (run `endcap materialize`)"


class EmptyStoreError(PackedStoreError):
    """The store does not know a view: nothing was materialized, or a server was started anew."""

    told = "online store is empty (run `endcap materialize`)"


class SchemaMismatchError(PackedStoreError):
    """Rows were written by another layout than the view's; the message names the difference, if known."""

    told = "online store has features of another schema (run `endcap materialize`)"

    @classmethod
    def of(cls, view: str) -> "SchemaMismatchError":
        """Where only the hashes are known."""
        return cls(f"View {view} has rows of another schema; run `endcap apply` and `endcap materialize`")


@dataclass(frozen=True)
class Layout:
    """Features of one view, and how long a row of it holds."""

    view: str
    fields: tuple[tuple[str, str], ...]  # (feature, Feast's value type)
    ttl_us: int = 0  # 0: for ever

    @cached_property
    def schema(self) -> int:
        """Hash of names, types and order: never 0, which stands for no row."""
        told = json.dumps(self.fields, ensure_ascii=False).encode()
        return int.from_bytes(hashlib.sha256(told).digest()[:8], "little") | 1

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Features, in their order."""
        return tuple(name for name, _ in self.fields)

    @cached_property
    def types(self) -> dict[str, str]:
        """Feast's value type by feature."""
        return dict(self.fields)

    @cached_property
    def place(self) -> dict[str, int]:
        """Position by feature."""
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The part of a row that has a fixed size; of the others it has the length in bytes."""
        nulls = ("nulls", "u1", ((len(self.fields) + 7) // 8,))
        # Features are named by position: one may have any name, also that of a header.
        values = [(str(place), SCALARS.get(kind, "<u4")) for place, (_, kind) in enumerate(self.fields)]
        return np.dtype([*HEADER, nulls, *values])

    @cached_property
    def all_fixed(self) -> bool:
        """Whether all rows have one size."""
        return all(kind in SCALARS for _, kind in self.fields)

    def to_json(self) -> str:
        """What the store keeps beside the rows."""
        return json.dumps({"view": self.view, "fields": self.fields, "ttl_us": self.ttl_us})

    @classmethod
    def from_json(cls, told: str | bytes) -> "Layout":
        """Read what `to_json` wrote; PackedStoreError where it is something else."""
        try:
            read = json.loads(told)
            fields = tuple((str(name), str(kind)) for name, kind in read["fields"])
            return cls(str(read["view"]), fields, int(read["ttl_us"]))
        except (ValueError, KeyError, TypeError) as error:
            raise PackedStoreError(f"Not a layout: {str(told)[:80]!r}; run `endcap apply`") from error

    def difference(self, other: "Layout") -> str:
        """What `other` has otherwise, for a person."""
        said = []
        for name, kind in self.fields:
            if name not in other.types:
                said.append(f"lacks {name}")
            elif other.types[name] != kind:
                said.append(f"has {name} as {other.types[name]} instead of {kind}")
        said += [f"has {name} besides" for name in other.names if name not in self.types]
        return ", ".join(said) or "has the features in another order"
