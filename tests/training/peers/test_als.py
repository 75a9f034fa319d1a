"""ALS: it finds the club that a user belongs to, says the same twice, and adds the prior it is told to."""

from dataclasses import replace

import numpy as np

from bentos.blas import use_one_blas_thread
from training.peers import als
from training.peers.als import AlsOptions

# Few factors, well regularised: every start, and every way to round, ends at the same solution.
OPTIONS = AlsOptions(factors=2, regularisation=1, alpha=4, half_life_weeks=np.inf)


def test_the_withheld_item_of_the_own_club_is_found(checkerboard):
    """The best item that a user never bought is the one of their club that was withheld: their own number."""
    scores = als.fit(checkerboard, OPTIONS).scores(np.arange(20, dtype=np.int32))
    scores[checkerboard.binary.toarray() > 0] = -np.inf
    assert scores.argmax(axis=1).tolist() == list(range(20))


def test_equal_purchases_give_equal_factors(purchases):
    """Nothing is left to chance or to threads."""
    once, twice = (als.fit(purchases, OPTIONS) for _ in range(2))
    assert np.array_equal(once.users, twice.users)
    assert np.array_equal(once.items, twice.items)


def test_prior_is_recent_popularity(purchases):
    """With a weight of 0.5, a score is the inner product plus half the log of one more than baskets."""
    options = replace(OPTIONS, recent_popularity=0.5)
    rows = np.array([2, 5], np.int32)
    recent = [
        sum((purchases.items == item) & (purchases.weeks_ago <= 4)) for item in range(purchases.shape[1])
    ]
    expected = als.fit(purchases, OPTIONS).scores(rows) + 0.5 * np.log1p(recent)
    np.testing.assert_allclose(als.fit(purchases, options).scores(rows), expected, atol=1e-5)


def test_confidence_follows_the_decayed_count(checkerboard):
    """What was bought a thousand half-lives ago weighs nothing: all scores are about zero."""
    forgotten = als.fit(checkerboard, replace(OPTIONS, half_life_weeks=0.001))
    assert np.abs(forgotten.scores(np.arange(20, dtype=np.int32))).max() < 1e-3


def test_confidence_falls_with_popularity_to_a_power(purchases):
    """At a power of -0.5, log counts are divided by the root of the item's buyers over their mean."""
    import scipy.sparse
    from implicit.als import AlternatingLeastSquares

    counts = purchases.log_counts(np.inf).toarray()
    buyers = (counts > 0).sum(axis=0)
    expected = counts / np.sqrt(buyers / buyers.mean())
    with use_one_blas_thread():
        model = AlternatingLeastSquares(2, regularization=1, alpha=4, num_threads=1, random_state=als.SEED)
        model.fit(scipy.sparse.csr_matrix(expected), show_progress=False)
    rows = np.arange(12, dtype=np.int32)
    found = als.fit(purchases, replace(OPTIONS, popularity_power=-0.5)).scores(rows)
    np.testing.assert_allclose(found, model.user_factors @ model.item_factors.T, atol=1e-3)
