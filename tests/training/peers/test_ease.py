"""EASE: scores from the users' side equal the paper's closed form over items."""

from dataclasses import replace

import numpy as np
import pytest

from training.peers import ease
from training.peers.ease import EaseOptions


@pytest.mark.parametrize("regularisation", [0.5, 20])
def test_scores_equal_the_primal_form(purchases, regularisation):
    """X B with B = I - P diag(1 / diag P), P = (X'X + lambda I)^-1, over items; then the prior."""
    counts = purchases.log_counts(13).toarray().astype(np.float64)
    inverse = np.linalg.inv(counts.T @ counts + regularisation * np.eye(counts.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    rows = np.array([7, 0, 3], np.int32)
    plain = EaseOptions(half_life_weeks=13, regularisation=regularisation)
    found = ease.fit(purchases, plain).scores(rows)
    np.testing.assert_allclose(found, (counts @ weights)[rows], atol=1e-4)
    recent = np.bincount(purchases.items[purchases.weeks_ago <= 4], minlength=15)
    with_prior = ease.fit(purchases, replace(plain, recent_popularity=0.3)).scores(rows)
    np.testing.assert_allclose(with_prior - found, np.tile(0.3 * np.log1p(recent), (3, 1)), atol=1e-4)


def test_blocks_of_users_change_nothing(purchases, monkeypatch):
    """The diagonal is summed over all blocks, the last and smaller one too."""
    options = EaseOptions(half_life_weeks=13, regularisation=5)
    whole = ease.fit(purchases, options)
    monkeypatch.setattr(ease, "BLOCK", 5)
    np.testing.assert_allclose(ease.fit(purchases, options).diagonal, whole.diagonal, rtol=1e-5)
