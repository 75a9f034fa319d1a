"""A list of strings left as it is packed, for who needs what is written in it and not the strings.

    strings = PackedStrings(text_list(["819063", "866211"]))
    strings.code_points()           # (characters of all, one after the other; size of each)
    strings[1]                      # "866211": now they are decoded

A string takes a fifth of a microsecond to make and to take apart again, and a shopper's history has hundreds.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from feature_repo.stores.packed.row import split_list, strings_of

CodePoints = tuple[
    NDArray[np.uint32], NDArray[np.int32]
]  # (n_characters,) of all strings, (n_strings,) sizes


class PackedStrings(Sequence[str]):
    """The strings of a `text_list`: equal to the list of them."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    @cached_property
    def strings(self) -> list[str]:
        """The strings themselves."""
        return strings_of(self._packed)

    def code_points(self) -> CodePoints:
        """As `code_points` of the strings."""
        texts, ends = split_list(self._packed)
        if not texts.isascii():
            return code_points(self.strings)
        sizes = ends.astype(np.int32)
        sizes[1:] -= sizes[:-1].copy()
        return np.frombuffer(texts, np.uint8).astype(np.uint32), sizes

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


def code_points(strings: Sequence[str]) -> CodePoints:
    """Characters of all strings, one after the other, and the size of each."""
    texts = np.frombuffer("".join(strings).encode("utf-32-le", "surrogatepass"), np.uint32)
    return texts.copy(), np.fromiter(map(len, strings), np.int32, len(strings))
