"""Scores of candidates: the matrix that the ranker reads, built the same way in training and serving."""

from typing import Any

import numpy as np

from bentos.candidates import SOURCES, Candidates
from bentos.release import Release
from bentos.shopper import Shopper, item_groups
from feature_repo.pair_features import PAIR_FEATURES, Floats, Positions, pair_features


def matrix_columns(user_features: list[str], item_features: list[str]) -> tuple[str, ...]:
    """Names of the ranker's columns, in their order."""
    scores = tuple(f"score_{name}" for name in SOURCES)
    ranks = tuple(f"rank_{name}" for name in SOURCES)
    return (*item_features, *user_features, *PAIR_FEATURES, *scores, *ranks, "department_share")


def matrix(release: Release, shopper: Shopper, candidates: Candidates, item_features: Floats) -> Floats:
    """What the ranker reads: (n_candidates, n_columns) as `matrix_columns` names them.

    `item_features` (n_candidates, n_item_features) are read from the feature store, NaN where missing.
    """
    items, n = candidates.items, len(candidates.items)
    slots = release.arrays["department_slot_of"][release.catalogue.departments[items]]
    scores = np.where(np.isinf(candidates.scores), np.float32(np.nan), candidates.scores)
    parts = [
        item_features,
        np.broadcast_to(shopper.scalars, (n, len(shopper.scalars))),
        pair_features(shopper.past, item_groups(release), items, shopper.tenure_days),
        scores,
        ranks(scores),
        shopper.department_shares[slots][:, None],
    ]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def ranks(scores: Floats) -> Floats:
    """Place of each candidate in each source's order of the candidates, 0 first: as `scores`, NaN for NaN."""
    order = np.argsort(-scores, axis=0, kind="stable")  # NaN comes last
    places = np.empty_like(scores)
    np.put_along_axis(places, order, np.arange(len(scores), dtype=np.float32)[:, None], axis=0)
    return np.where(np.isnan(scores), np.float32(np.nan), places)


def margins(ranker: Any, rows: Floats) -> Floats:
    """The ranker's raw margins: (n,). The sigmoid would saturate in float32 and hide the order."""
    return np.asarray(ranker.inplace_predict(rows, predict_type="margin"), dtype=np.float32)


def best_first(scores: Floats, items: Positions) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Order of candidates by score, ties by the item's position in the catalogue."""
    return np.lexsort((items, -scores))
