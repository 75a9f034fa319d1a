"""Where items stand in the catalogue, by their ids: a table of hashes that many ids are looked up in at once.

A dictionary of 50,000 strings lies all over memory, and a shopper's few hundred ids find little of it in the
cache. Here they are hashed first, then sought, then compared, each in a loop that waits for nothing before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bentos.release import Release
from feature_repo.compiled import compiled
from feature_repo.pair_features import Positions
from feature_repo.stores.packed.packed_strings import PackedStrings, joined

Bytes = NDArray[np.uint8]
OFFSET, PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a
SLOTS_PER_ITEM = 2  # at least
HALF, ONE = np.uint64(32), np.uint64(1)


@dataclass(frozen=True)
class Table:
    """Items by their ids: each in the first free slot from the one that its hash says."""

    texts: Bytes  # (n_items, longest) the ids in UTF-8, zeros behind the shorter ones
    slots: NDArray[np.uint64]  # (a power of two,) 32 bits of the hash, then the position and 1; 0 where free


def positions_in(release: Release, ids: Sequence[str]) -> Positions:
    """Catalogue positions of ids, -1 for those that the catalogue lacks: (n,)."""
    held = release.once("positions of items", lambda made: table(made.catalogue.item_ids))
    if not len(ids):
        return np.empty(0, np.int32)
    texts, sizes = ids.joined() if isinstance(ids, PackedStrings) else joined(ids)
    return looked_up(texts, sizes, held.texts, held.slots)


def table(item_ids: NDArray[np.str_]) -> Table:
    """The table of a catalogue's ids, (n_items,), each there once."""
    encoded = np.char.encode(item_ids, "utf-8")
    texts, sizes = encoded.view(np.uint8).reshape(len(item_ids), -1), np.char.str_len(encoded)
    hashes = np.full(len(texts), OFFSET)
    for place, column in enumerate(texts.T):
        hashes = np.where(place < sizes, (hashes ^ column) * PRIME, hashes)
    n_slots = 1 << (SLOTS_PER_ITEM * len(texts)).bit_length()
    return Table(texts, filled(hashes >> HALF, n_slots))


@compiled
def filled(hashes: NDArray[np.uint64], n_slots: int) -> NDArray[np.uint64]:
    """The slots of a table. `hashes` (n_items,) are below 2**32."""
    slots, mask = np.zeros(n_slots, np.uint64), np.uint64(n_slots - 1)
    for item in range(len(hashes)):
        slot = hashes[item] & mask
        while slots[slot] != 0:
            slot = (slot + ONE) & mask
        slots[slot] = (hashes[item] << HALF) | np.uint64(item + 1)
    return slots


@compiled
def looked_up(texts: Bytes, sizes: Positions, held: Bytes, slots: NDArray[np.uint64]) -> Positions:
    """Items by their ids, -1 for none: (n,). `texts` are the ids one after the other, of `sizes` (n,)."""
    n, longest, mask = len(sizes), held.shape[1], np.uint64(len(slots) - 1)
    hashes, at, ends = np.empty(n, np.uint64), np.empty(n, np.uint64), np.cumsum(sizes)
    for place in range(n):
        hashed = OFFSET
        for byte in texts[ends[place] - sizes[place] : ends[place]]:
            hashed = (hashed ^ np.uint64(byte)) * PRIME
        hashes[place] = hashed >> HALF
    for place in range(n):
        slot = hashes[place] & mask
        while slots[slot] != 0 and slots[slot] >> HALF != hashes[place]:
            slot = (slot + ONE) & mask
        at[place] = slot
    found = np.full(n, -1, np.int32)
    for place in range(n):
        size, slot = sizes[place], at[place]
        begin = ends[place] - size
        # NumPy keeps no zeros at the end of a text: an id that ends with one is none of the catalogue's.
        able = size <= longest and (size == 0 or texts[begin + size - 1] != 0)
        while able and slots[slot] != 0 and found[place] < 0:
            item = np.int64(slots[slot] & np.uint64(2**32 - 1)) - 1
            same = size == longest or held[item, size] == 0
            for place_in_text in range(size):
                same &= held[item, place_in_text] == texts[begin + place_in_text]
            if same:
                found[place] = item
            slot = (slot + ONE) & mask
    return found
