"""Items like an item: by what is written on them, or by who buys them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.factors import unit
from bentos.index import best
from bentos.release import Release
from bentos.session import positions
from feature_repo.pair_features import Floats

TINY = 1e-6  # a vector of that length says nothing
SLAB = 4096
# By kind of likeness, arrays of a release; a cosine asks for no scale.
VECTORS = {"text": "text_steps", "behaviour": "factor_items"}


def similar(release: Release, item_id: str, *, by: str, k: int) -> list[tuple[str, float]]:
    """The `k` items of the greatest cosine, best first, without the item itself.

    Raises KeyError for an item that the catalogue lacks, ValueError for a likeness that is none.
    """
    if by not in VECTORS:
        raise ValueError(f"by is {by!r}; use {' or '.join(VECTORS)}")
    found = positions(release, [item_id])
    if not found.size:
        raise KeyError(f"The catalogue has no item {item_id!r}")
    item = int(found[0])
    vectors = release.arrays[VECTORS[by]]
    lengths = release.once(f"lengths of {by}", lambda made: norms(made.arrays[VECTORS[by]]))
    towards = unit(vectors[item].astype(np.float32))
    products = np.concatenate([each @ towards for each in slabs(vectors)])
    cosines = np.asarray(products / lengths, dtype=np.float32)
    cosines[item] = -np.inf
    cosines[lengths <= TINY] = -np.inf  # nothing is known of it
    if lengths[item] <= TINY:
        return []
    return [(str(release.catalogue.item_ids[other]), float(cosines[other])) for other in best(cosines, k)]


def slabs(vectors: NDArray[Any]) -> Iterator[Floats]:
    """Some thousand vectors at a time as floats, which all of them need not be at once."""
    for start in range(0, len(vectors), SLAB):
        yield vectors[start : start + SLAB].astype(np.float32, copy=False)


def norms(vectors: NDArray[Any]) -> Floats:
    """Lengths, none below TINY: (n_items,)."""
    lengths = np.concatenate([np.linalg.norm(each, axis=1) for each in slabs(vectors)])
    return np.asarray(np.maximum(lengths, TINY), dtype=np.float32)
