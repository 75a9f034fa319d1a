"""Ranking: XGBoost over the pairs that a request would score, one ranker for each task.

In: releases assembled as of the ranker's windows and the shoppers of those instants. Out: boosters.
Pairs are drawn by the serving path itself; a label is whether the pair was bought within the window.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.candidates import TASKS, draw, opinions
from bentos.release import Release
from bentos.scoring import matrix, matrix_columns
from bentos.shopper import Shopper
from feature_repo.pair_features import Floats, Positions

PARAMETERS = MappingProxyType(
    {
        "max_depth": 4,
        "min_child_weight": 5.0,
        "subsample": 0.8,
        "colsample_bytree": 0.6,
        "tree_method": "hist",
        "seed": 7,
    }
)
# (eta, trees) by task. Half of the trees take half of the time of a request; `all` ranks as well with them,
# discover's NDCG falls by 2.6 % [-5.0, -0.1] (cuts 35, 39, 43: EXPERIMENTS, 2026-11-25).
STEPS = MappingProxyType({"all": (0.1, 150), "discover": (0.05, 300)})
NEGATIVES_PER_SHOPPER = 60


@dataclass(frozen=True)
class Example:
    """One shopper at one instant, with catalogue positions of what they bought in the window."""

    shopper: Shopper
    bought: Positions


@dataclass(frozen=True)
class PairSet:
    """Rows to learn from: one group of consecutive rows per shopper and window."""

    rows: Floats  # (n_pairs, n_columns)
    labels: NDArray[np.float32]  # (n_pairs,) 0 or 1
    groups: NDArray[np.int64]  # (n_groups,) sizes


def sampled(labels: NDArray[np.bool_], negatives: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows to keep: every positive and at most `negatives` others, in their own order."""
    others = np.flatnonzero(~labels)
    if len(others) > negatives:
        others = rng.choice(others, size=negatives, replace=False)
    return np.sort(np.concatenate([np.flatnonzero(labels), others]))


def described(
    release: Release, item_features: Floats, negatives: int, example: Example, rng: np.random.Generator
) -> dict[str, tuple[Floats, NDArray[np.bool_]]]:
    """Rows and labels of one shopper's sampled candidates, for each task that has something to teach."""
    thought = opinions(release, example.shopper)
    found = {}
    for task in TASKS:
        candidates = draw(release, example.shopper, task, thought)
        bought = np.isin(candidates.items, example.bought)
        if bought.any() and not bought.all():
            rows = matrix(release, example.shopper, candidates, item_features[candidates.items])
            kept = sampled(bought, negatives, rng)
            found[task] = rows[kept], bought[kept]
    return found


def pairs(
    release: Release,
    item_features: Floats,
    examples: Sequence[Example],
    *,
    seed: int,
    threads: int = 1,
    negatives: int = NEGATIVES_PER_SHOPPER,
) -> dict[str, PairSet]:
    """Draw and describe the pairs of one window, for each task: as the service would score them.

    `item_features` (n_catalogue, n_item_features) are as of the window's instant. Shoppers for whom no
    candidate was bought teach no order and are left out. `negatives` is the most that are kept of what a
    shopper did not buy. Each shopper has a generator of their own, so the number of threads changes nothing.
    """
    generators = [np.random.default_rng((seed, number)) for number in range(len(examples))]
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(partial(described, release, item_features, negatives), examples, generators))
    return {task: pair_set([groups[task] for groups in found if task in groups]) for task in TASKS}


def pair_set(groups: Sequence[tuple[Floats, NDArray[np.bool_]]]) -> PairSet:
    """(rows, labels) of each shopper, one after the other."""
    if not groups:
        return PairSet(np.empty((0, 0), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    return PairSet(
        rows=np.concatenate([rows for rows, _ in groups]),
        labels=np.concatenate([labels for _, labels in groups]).astype(np.float32),
        groups=np.array([len(labels) for _, labels in groups], dtype=np.int64),
    )


def joined(sets: Sequence[PairSet]) -> PairSet:
    """Several windows' pairs as one set."""
    filled = [one for one in sets if len(one.labels)]
    if not filled:
        raise ValueError("No pair was bought in any ranker window; choose another cut or ingest more weeks")
    return PairSet(
        rows=np.concatenate([one.rows for one in filled]),
        labels=np.concatenate([one.labels for one in filled]),
        groups=np.concatenate([one.groups for one in filled]),
    )


def row_weights(learned: PairSet) -> Floats:
    """Weight of each row: one over the root of what its shopper bought.

    Recall counts shoppers alike, however much they buy; rows counted alike would follow the large households.
    """
    bought = np.add.reduceat(learned.labels, np.concatenate([[0], np.cumsum(learned.groups)[:-1]]))
    return np.repeat(1.0 / np.sqrt(np.maximum(bought, 1.0)), learned.groups).astype(np.float32)


@dataclass(frozen=True)
class Learning:
    """How a ranker learns; by default as the released ones do."""

    objective: str = "binary:logistic"
    rounds: int | None = None  # trees; None: as STEPS has them
    weighed: bool = True  # rows by `row_weights`; not where an objective weighs groups by itself


def train_ranker(
    learned: PairSet,
    columns: Sequence[str],
    task: str,
    *,
    threads: int,
    learning: Learning | None = None,
) -> Any:
    """An XGBoost ranker of one task over named columns, ready to answer on one thread."""
    import xgboost

    how, (eta, trees) = learning or Learning(), STEPS[task]
    data = xgboost.DMatrix(
        learned.rows,
        label=learned.labels,
        weight=row_weights(learned) if how.weighed else None,
        feature_names=list(columns),
        nthread=threads,
    )
    if how.objective.startswith("rank:"):
        data.set_group(learned.groups)
    parameters = {**PARAMETERS, "objective": how.objective, "eta": eta, "nthread": threads}
    booster = xgboost.train(parameters, data, num_boost_round=how.rounds or trees)
    booster.feature_names = None  # the request path hands over bare arrays
    booster.set_param({"nthread": 1})
    return booster


def ranker_columns(release: Release) -> tuple[str, ...]:
    """Names of the ranker's columns for one release."""
    features = release.manifest["features"]
    return matrix_columns(features["user"], features["item"])


__all__ = [
    "PARAMETERS",
    "TASKS",
    "Example",
    "Learning",
    "PairSet",
    "joined",
    "pair_set",
    "pairs",
    "ranker_columns",
    "sampled",
    "train_ranker",
]
