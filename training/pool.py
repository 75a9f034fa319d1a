"""Fit the weights of the pool: logistic regression over the whole catalogue, on the ranker's windows.

In: instants and their shoppers. Out: weights by `bentos.pool.INPUTS`. What a shopper newly bought is set
against items drawn from the catalogue, half evenly, half by popularity, each weighing as many as it stands
for: without the weights, drawing by popularity would teach that what sells does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bentos.candidates import opinions
from bentos.pool import inputs
from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import Floats, Positions

SHOPPERS = 600  # of each window
DRAWN = 200  # items that were not bought, for each shopper
INVERSE_PENALTY = 10.0  # scikit-learn's C, weak: there are but some twenty weights


@dataclass(frozen=True)
class PoolRows:
    """Rows to learn the pool from."""

    inputs: Floats  # (n, n_inputs)
    bought: NDArray[np.bool_]  # (n,)
    weights: NDArray[np.float64]  # (n,) items of the catalogue that a row stands for


def drawing_chances(release: Release) -> NDArray[np.float64]:
    """Chance of each item to be the next that is drawn: (n_items,), summing to 1."""
    popularity = release.arrays["popularity"].astype(np.float64) + 0.2
    return np.asarray(0.5 / len(popularity) + 0.5 * popularity / popularity.sum())


def shopper_rows(
    release: Release,
    shopper: Shopper,
    bought: Positions,
    chances: NDArray[np.float64],
    rng: np.random.Generator,
) -> PoolRows | None:
    """What one shopper newly bought and drawn others; None for who bought nothing new."""
    new = np.setdiff1d(bought, shopper.past.items)
    if not len(new):
        return None
    others = rng.choice(len(chances), size=DRAWN, p=chances)
    others = others[~np.isin(others, np.concatenate([new, shopper.past.items]))]
    thought = opinions(release, shopper)
    asked = np.concatenate([new, others])
    return PoolRows(
        inputs=inputs(release, thought.lifts, thought.scores)[:, asked].T,
        bought=np.arange(len(asked)) < len(new),
        weights=np.concatenate([np.ones(len(new)), 1.0 / (DRAWN * chances[others])]),
    )


def window_rows(
    release: Release, shoppers: Sequence[tuple[Shopper, Positions]], *, seed: int
) -> list[PoolRows]:
    """Rows of some of a window's shoppers, each with what they bought."""
    rng = np.random.default_rng(seed)
    chances = drawing_chances(release)
    chosen = np.sort(rng.permutation(len(shoppers))[:SHOPPERS])
    found = (
        shopper_rows(release, shoppers[number][0], shoppers[number][1], chances, rng) for number in chosen
    )
    return [rows for rows in found if rows is not None]


def fitted_weights(rows: Sequence[PoolRows]) -> Floats:
    """Weights of the pool's inputs: (n_inputs,).

    Raises ValueError when nobody bought anything new.
    """
    from sklearn.linear_model import LogisticRegression

    if not rows:
        raise ValueError("Nobody bought anything new in any ranker window; choose another cut")
    matrix = np.concatenate([one.inputs for one in rows])
    deviation = matrix.std(axis=0)
    deviation[deviation == 0] = 1.0
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=500)
    model.fit(
        (matrix - matrix.mean(axis=0)) / deviation,
        np.concatenate([one.bought for one in rows]),
        sample_weight=np.concatenate([one.weights for one in rows]),
    )
    return np.asarray(model.coef_[0] / deviation, dtype=np.float32)
