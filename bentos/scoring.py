"""Scores of candidates: the matrix that the ranker reads, built the same way in training and serving."""

from typing import Any

import numpy as np

from bentos.affinity import item_groups
from bentos.candidates import SOURCES, Candidates
from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import GROUPS, PAIR_FEATURES, Floats, Positions, pair_features

PAST_NUMBERS = ("past_items", "past_new_items_28d")  # of the shopper, from the history as of the request
DEMAND = ("type_popularity", "variant_popularity")  # of the item's groups, from the release


def matrix_columns(user_features: list[str], item_features: list[str]) -> tuple[str, ...]:
    """Names of the ranker's columns, in their order."""
    return (
        *item_features,
        *user_features,
        *PAST_NUMBERS,
        *PAIR_FEATURES,
        *(f"score_{name}" for name in SOURCES),
        *(f"rank_{name}" for name in SOURCES),
        *(f"lift_{name}" for name in GROUPS),
        *DEMAND,
        "department_share",
    )


def past_numbers(shopper: Shopper) -> Floats:
    """Distinct items bought, and those bought just once, within four weeks: (2,)."""
    past = shopper.past
    lately = (past.counts == 1) & (past.days_since <= 28)
    return np.array([len(past.items), lately.sum()], dtype=np.float32)


def matrix(release: Release, shopper: Shopper, candidates: Candidates, item_features: Floats) -> Floats:
    """What the ranker reads: (n_candidates, n_columns) as `matrix_columns` names them.

    `item_features` (n_candidates, n_item_features) are read from the feature store, NaN where missing.
    """
    items, n = candidates.items, len(candidates.items)
    slots = release.arrays["department_slot_of"].take(release.catalogue.departments.take(items))
    of_shopper = np.concatenate([shopper.scalars, past_numbers(shopper)])
    # Column by column, as the ranker's trees go through it: (n_columns, n_candidates) of each part.
    parts = [
        item_features.T,
        of_shopper[:, None],
        pair_features(shopper.past, item_groups(release), items, shopper.tenure_days).T,
        candidates.scores.T,
        candidates.ranks.T,
        candidates.lifts.T,
        *(release.arrays[name].take(items)[None] for name in DEMAND),
        shopper.department_shares.take(slots)[None],
    ]
    found, column = np.empty((sum(map(len, parts)), n), dtype=np.float32), 0
    for part in parts:
        found[column : column + len(part)] = part
        column += len(part)
    return found.T


def margins(ranker: Any, rows: Floats) -> Floats:
    """The ranker's raw margins: (n,). The sigmoid would saturate in float32 and hide the order."""
    return np.asarray(ranker.inplace_predict(rows, predict_type="margin"), dtype=np.float32)


def best_first(scores: Floats, items: Positions) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Order of candidates by score, ties by the item's position in the catalogue."""
    return np.lexsort((items, -scores))
