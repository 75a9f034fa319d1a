"""Items like an item: by what is written on them, or by who buys them."""

import numpy as np

from bentos.factors import unit
from bentos.index import best
from bentos.release import Release
from bentos.session import positions
from feature_repo.pair_features import Floats

TINY = 1e-6  # a vector of that length says nothing
VECTORS = {"text": "text_vectors", "behaviour": "factor_items"}  # by kind of likeness, arrays of a release


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
    cosines = (vectors @ unit(vectors[item])) / lengths
    cosines[item] = -np.inf
    cosines[lengths <= TINY] = -np.inf  # nothing is known of it
    if lengths[item] <= TINY:
        return []
    return [(str(release.catalogue.item_ids[other]), float(cosines[other])) for other in best(cosines, k)]


def norms(vectors: Floats) -> Floats:
    """Lengths, none below TINY: (n_items,)."""
    return np.asarray(np.maximum(np.linalg.norm(vectors, axis=1), TINY), dtype=np.float32)
