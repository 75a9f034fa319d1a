"""A list of strings left as it is packed, for who needs what is written in it and not the strings.

    strings = PackedStrings(text_list(["819063", "866211"]))
    strings.joined()                # (UTF-8 of all, one after the other; size of each)
    strings[1]                      # "866211": now they are decoded

A string takes a fifth of a microsecond to make and to take apart again, and a shopper's history has hundreds.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from feature_repo.stores.packed.layout import PackedStoreError
from feature_repo.stores.packed.row import split_list, strings_of

Joined = tuple[NDArray[np.uint8], NDArray[np.int32]]  # (n_bytes,) and the bytes of each (n_strings,)


class PackedStrings(Sequence[str]):
    """The strings of a `text_list`: equal to the list of them. PackedStoreError for one that is damaged."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed
        texts, ends = split_list(packed)
        sizes = ends.astype(np.int32)
        sizes[1:] -= sizes[:-1].copy()
        if sizes.size and (int(ends[-1]) != len(texts) or sizes.min() < 0):
            raise PackedStoreError("A list of strings is damaged; run `endcap materialize`")
        self._joined = np.frombuffer(texts, np.uint8), sizes

    @cached_property
    def strings(self) -> list[str]:
        """The strings themselves."""
        return strings_of(self._packed)

    def joined(self) -> Joined:
        """As `joined` of the strings."""
        return self._joined

    def __len__(self) -> int:
        return int.from_bytes(self._packed[:4], "little")

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        return self.strings[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Iterable) and self.strings == list(other)

    __hash__: Any = None

    def __repr__(self) -> str:
        return f"PackedStrings({self.strings!r})"


def joined(strings: Sequence[str]) -> Joined:
    """All strings in UTF-8, one after the other, and the size of each in bytes."""
    whole = "".join(strings)
    sizes = map(len, strings if whole.isascii() else map(encoded, strings))
    return np.frombuffer(encoded(whole), np.uint8), np.fromiter(sizes, np.int32, len(strings))


def encoded(text: str) -> bytes:
    """UTF-8, also of half a character, which no store can have."""
    return text.encode("utf-8", "surrogatepass")
