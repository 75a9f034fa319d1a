"""Where ids stand in a sorted list of ids: how strings become the numbers that all arrays are indexed by."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from feature_repo.pair_features import Positions

NOWHERE = -1


def positions_of(sorted_ids: NDArray[np.str_], ids: Sequence[str] | NDArray[np.str_]) -> Positions:
    """Positions of `ids` in `sorted_ids`, NOWHERE (-1) for those that it does not hold: (n,)."""
    wanted = np.asarray(ids, dtype=sorted_ids.dtype if len(ids) == 0 else np.str_)
    if not len(sorted_ids):
        return np.full(len(wanted), NOWHERE, dtype=np.int32)
    place = np.minimum(np.searchsorted(sorted_ids, wanted), len(sorted_ids) - 1)
    return np.where(sorted_ids[place] == wanted, place, NOWHERE).astype(np.int32)
