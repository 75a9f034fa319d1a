"""The values of one row as bytes, and back.

    packed = pack(layout, {"item_price": 2.5, "item_tags": ["new"]}, event_us=1_514_000_000_000_000)
    unpack(layout, packed)                      # {"item_price": 2.5, "item_tags": ["new"]}

Values are plain: int, float, bool, str, bytes, NumPy arrays for lists of numbers, lists of str or bytes, and
None. What a layout keeps as Feast's own bytes goes in and out as bytes.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.stores.packed.layout import (
    ARRAYS,
    HEADER,
    SCALARS,
    TEXT_LISTS,
    Layout,
    PackedStoreError,
    SchemaMismatchError,
)

Strings = Callable[[bytes], Sequence[str]]  # of the bytes of a `text_list`
NO_CREATED = 0  # a row without a created time
CODES = {"<f4": "f", "<f8": "d", "<i4": "i", "<i8": "q", "?": "?", "<u8": "Q", "<u4": "I"}  # of struct


@lru_cache(maxsize=256)
def fixed_part(layout: Layout) -> struct.Struct:
    """Header, nulls and values of fixed size: the same bytes as `layout.dtype`."""
    header = "".join(CODES[code] for _, code in HEADER)
    values = "".join(CODES[SCALARS.get(kind, "<u4")] for _, kind in layout.fields)
    return struct.Struct(f"<{header}{(len(layout.fields) + 7) // 8}s{values}")


def pack(layout: Layout, values: Mapping[str, Any], *, event_us: int, created_us: int = NO_CREATED) -> bytes:
    """One row; ValueError for a value that its type cannot hold, KeyError for a feature that is not given."""
    nulls, fixed, rest = 0, [], []
    for place, (name, kind) in enumerate(layout.fields):
        value = values[name]
        if value is None:
            nulls |= 1 << place
            fixed.append(0)
        elif kind in SCALARS:
            fixed.append(value)
        else:
            rest.append(variable_part(kind, value))
            fixed.append(len(rest[-1]))
    bits = nulls.to_bytes((len(layout.fields) + 7) // 8, "little")
    try:
        head = fixed_part(layout).pack(layout.schema, event_us, created_us, bits, *fixed)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"View {layout.view} cannot hold {dict(values)} ({error})") from error
    return b"".join([head, *rest])


def variable_part(kind: str, value: Any) -> bytes:
    """A value of no fixed size as bytes."""
    if kind in ARRAYS:
        return np.asarray(value, dtype=ARRAYS[kind]).tobytes()
    if kind in TEXT_LISTS:
        return text_list(value)
    return encoded(value)


def encoded(text: str | bytes) -> bytes:
    """UTF-8 of a string, bytes as they are; ValueError for anything else."""
    if isinstance(text, str):
        return text.encode()
    if isinstance(text, bytes):
        return text
    raise ValueError(f"{text!r} is neither a string nor bytes")


def text_list(texts: Sequence[Any]) -> bytes:
    """Number of texts, the end of each in bytes (u4), then all texts."""
    joined, sizes = joined_texts(texts)
    return b"".join([struct.pack("<I", len(sizes)), np.cumsum(sizes, dtype="<u4").tobytes(), joined])


def joined_texts(texts: Sequence[Any]) -> tuple[bytes, list[int]]:
    """All texts, one after the other, and the size of each in bytes; those of ASCII are encoded in one go."""
    try:
        whole: str | None = "".join(texts)
    except TypeError:
        whole = None  # not all are strings
    if whole is not None and whole.isascii():
        return whole.encode(), list(map(len, texts))
    parts = [encoded(text) for text in texts]
    return b"".join(parts), list(map(len, parts))


def texts_of(packed: bytes) -> list[bytes]:
    """The texts of `text_list`."""
    texts, split = split_list(packed)
    ends = split.tolist()
    return [texts[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def strings_of(packed: bytes) -> list[str]:
    """The texts of `text_list` as strings: those of ASCII, as ids are, decoded in one go."""
    texts, split = split_list(packed)
    if not texts.isascii():
        return [text.decode() for text in texts_of(packed)]
    whole, ends = texts.decode("ascii"), split.tolist()
    return [whole[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def split_list(packed: bytes) -> tuple[bytes, NDArray[np.uint32]]:
    """All texts of `text_list`, one after the other, and where each ends, in bytes: (n_texts,)."""
    (count,) = struct.unpack_from("<I", packed)
    return packed[4 + 4 * count :], np.frombuffer(packed, "<u4", count, 4)


def unpack(
    layout: Layout, packed: bytes, names: Sequence[str] | None = None, *, strings: Strings = strings_of
) -> dict[str, Any]:
    """The values of one row by feature, those of `names` only if given; `strings` makes lists of strings.

    Raises SchemaMismatchError for a row of another layout, PackedStoreError for half a row.
    """
    check_schema(layout, packed)
    part = fixed_part(layout)
    if len(packed) < part.size:
        raise PackedStoreError(f"A row of view {layout.view} is cut off; run `endcap materialize`")
    _, _, _, bits, *fixed = part.unpack_from(packed)
    nulls, at = int.from_bytes(bits, "little"), part.size
    wanted = None if names is None else set(names)
    found = {}
    for place, (name, kind) in enumerate(layout.fields):
        is_null, is_scalar = bool(nulls >> place & 1), kind in SCALARS
        size = 0 if is_scalar else fixed[place]
        if wanted is None or name in wanted:
            held = fixed[place] if is_scalar or is_null else plain(kind, packed[at : at + size], strings)
            found[name] = None if is_null else held
        at += size
    if at != len(packed):
        raise PackedStoreError(f"A row of view {layout.view} is cut off; run `endcap materialize`")
    return found


def plain(kind: str, packed: bytes, strings: Strings = strings_of) -> Any:
    """A value of no fixed size from its bytes."""
    if kind in ARRAYS:
        return np.frombuffer(packed, ARRAYS[kind])
    if kind == "STRING":
        return packed.decode()
    if kind == "STRING_LIST":
        return strings(packed)
    return texts_of(packed) if kind == "BYTES_LIST" else packed


def schema_of(packed: bytes) -> int:
    """Hash of the layout that a row was packed by."""
    return int.from_bytes(packed[:8], "little")


def times_of(packed: bytes) -> tuple[int, int]:
    """(event time, created time or NO_CREATED) of a row, microseconds since 1970 in UTC."""
    event_us, created_us = struct.unpack_from("<qq", packed, 8)
    return event_us, created_us


def check_schema(layout: Layout, packed: bytes) -> None:
    """SchemaMismatchError unless the row was packed by this layout."""
    if schema_of(packed) != layout.schema:
        raise SchemaMismatchError.of(layout.view)
