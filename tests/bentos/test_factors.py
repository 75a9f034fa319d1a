"""Folding shoppers into the items' factors, against the library that makes them and sums written out."""

import math

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from tiny_release import NOW, user_row

from bentos.blas import use_one_blas_thread
from bentos.factors import ALPHA, REGULARISATION, folded, gram, shopper_factors, unit
from bentos.shopper import NOBODY, shopper
from feature_repo.pair_features import PastPurchases

N_USERS, N_ITEMS, N_FACTORS = 50, 40, 6


def random_past(rng, n_bought):
    """A past of distinct items; some decayed counts are nearly nothing, so that confidence falls below 1."""
    decayed = rng.uniform(0.01, 9, n_bought).astype(np.float32)
    items = np.sort(rng.choice(N_ITEMS, n_bought, replace=False)).astype(np.int32)
    return PastPurchases(items, np.ones_like(decayed), decayed, *[np.zeros_like(decayed)] * 3)


def loop_solution(past, items, alpha=ALPHA, regularisation=REGULARISATION):
    """The normal equations of one user in float64, summed over every item of the catalogue."""
    weight = dict(zip(past.items.tolist(), past.decayed.astype(np.float64).tolist(), strict=True))
    system, right = regularisation * np.eye(items.shape[1]), np.zeros(items.shape[1])
    for item, factors in enumerate(items.astype(np.float64)):
        confidence = alpha * math.log1p(weight[item]) if item in weight else 1.0
        system += confidence * np.outer(factors, factors)
        right += confidence * factors if item in weight else 0.0
    return np.linalg.solve(system, right)


def test_folded_is_what_the_library_recalculates():
    """`implicit` solves the same users from the same matrix of log(1 + decayed) to the same factors."""
    from implicit.als import AlternatingLeastSquares

    use_one_blas_thread()
    rng = np.random.default_rng(1)
    pasts = [random_past(rng, int(rng.integers(1, 20))) for _ in range(N_USERS)]
    offsets = np.cumsum([0, *(len(past.items) for past in pasts)])
    weights = np.log1p(np.concatenate([past.decayed for past in pasts]))
    columns = np.concatenate([past.items for past in pasts])
    history = csr_matrix((weights, columns, offsets), shape=(N_USERS, N_ITEMS))
    model = AlternatingLeastSquares(
        factors=N_FACTORS,
        regularization=REGULARISATION,
        alpha=ALPHA,
        num_threads=1,
    )
    # Not fitted: so much regularisation would leave next to nothing of the factors of so few users.
    model.item_factors = rng.normal(size=(N_ITEMS, N_FACTORS)).astype(np.float32)
    expected = model.recalculate_user(np.arange(N_USERS), history)
    shared = gram(model.item_factors)
    found = np.stack([folded(past, model.item_factors, shared) for past in pasts])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_bought", [1, 5, N_ITEMS])
def test_folded_solves_the_normal_equations(seed, n_bought):
    """The equations written out over the whole catalogue in float64 have the same solution."""
    rng = np.random.default_rng(seed)
    items, past = rng.normal(size=(N_ITEMS, N_FACTORS)).astype(np.float32), random_past(rng, n_bought)
    found = folded(past, items, gram(items))
    np.testing.assert_allclose(found, loop_solution(past, items), rtol=1e-3, atol=1e-5)
    assert found.dtype == np.float32


def test_folded_by_hand(release):
    """Of ten items each way, three of the odd are bought: sum(c) / (10 + 30 + sum(c - 1)) that way."""
    who = shopper(user_row(), release, NOW)
    bought = [(5, 2), (2, 10), (1, 100)]
    confidence = [4 * math.log1p(count * 0.5 ** (days / 91)) for count, days in bought]
    odd = sum(confidence) / (40 + sum(confidence) - 3)
    np.testing.assert_allclose(shopper_factors(release, who.past), [0.0, odd], rtol=1e-5)


def test_nobody_has_no_factors(release):
    """Without a past they are zero, of the right length."""
    assert shopper_factors(release, NOBODY).tolist() == [0.0, 0.0]
    assert folded(NOBODY, np.ones((4, 3), np.float32), np.eye(3, dtype=np.float32)).tolist() == [0.0] * 3


def test_a_basket_moves_the_shopper(release):
    """Whoever adds an even item to odd ones turns towards the even, without a release being trained."""
    before = shopper(user_row(items=("i03",), counts=(2,), days_ago=(1,)), release, NOW)
    after = shopper(user_row(items=("i03", "i04"), counts=(2, 1), days_ago=(1, 0)), release, NOW)
    assert shopper_factors(release, before.past)[0] == 0
    assert shopper_factors(release, after.past)[0] > 0.05


def test_gram_is_the_sum_of_outer_products():
    """Every item's outer product with itself, summed in a loop, and the regularisation on the diagonal."""
    items = np.random.default_rng(2).normal(size=(N_ITEMS, 3)).astype(np.float32)
    expected = sum((np.outer(item, item) for item in items.astype(np.float64)), REGULARISATION * np.eye(3))
    np.testing.assert_allclose(gram(items), expected, rtol=1e-5, atol=1e-5)
    assert gram(items).dtype == np.float32


def test_gram_of_the_tiny_release(release):
    """Ten items each way and none in between: ten and the regularisation of 30 on the diagonal."""
    assert gram(release.arrays["factor_items"]).tolist() == [[40, 0], [0, 40]]


def test_unit_vectors_have_length_one():
    """Each row keeps its direction and gets length one; zero has none and stays; one vector is a row."""
    found = unit(np.array([[3, -4], [0, 0], [0.03, 0.04]], np.float32))
    np.testing.assert_allclose(found, [[0.6, -0.8], [0, 0], [0.6, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(unit(np.array([3, -4], np.float32)), [0.6, -0.8], rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("broken", [np.nan, np.inf, -0.999])
def test_a_past_that_cannot_be_has_no_factors(broken):
    """Of a weight that is no number, or below none, nothing is learnt, and nothing made up."""
    items = np.full((3, N_FACTORS), 50, np.float32)
    decayed = np.full(3, broken, np.float32)
    past = PastPurchases(np.arange(3, dtype=np.int32), decayed, decayed, decayed, decayed, decayed)
    with np.errstate(all="ignore"):
        assert np.isnan(folded(past, items, gram(items))).all()
