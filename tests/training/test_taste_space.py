"""The taste space, against the sum of lifts that it shortens."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from bentos.towers import KINDS
from training.taste_space import WEIGHTS, taste_space

N_SHOPPERS, N_ITEMS = 40, 60


@pytest.fixture(scope="module")
def shop():
    """Lifts of shoppers over groups, (n_shoppers, n_groups) by kind, the items' groups, and their baskets."""
    rng = np.random.default_rng(3)
    groups = {kind: rng.integers(0, 6, N_ITEMS).astype(np.int32) for kind in KINDS}
    lifted = {
        kind: csr_matrix(np.maximum(rng.normal(size=(N_SHOPPERS, 6)), 0).astype(np.float32)) for kind in KINDS
    }
    return lifted, groups, rng.integers(0, 20, N_ITEMS).astype(np.float32)


def meant(lifted, groups):
    """The weighted sum of lifts of every shopper and item, written out."""
    return sum(WEIGHTS[kind] * lifted[kind].toarray()[:, groups[kind]] for kind in KINDS)


def met(space, lifted, groups):
    """The same as the space has it."""
    return sum(lifted[kind] @ space.queries[kind] for kind in KINDS) @ space.places(groups).T


def test_enough_dimensions_keep_the_whole_sum(shop):
    """With as many dimensions as groups, inner products are the sum of lifts itself."""
    lifted, groups, baskets = shop
    space = taste_space(lifted, groups, baskets, 30)
    np.testing.assert_allclose(met(space, lifted, groups), meant(lifted, groups), atol=1e-3)


def test_few_dimensions_keep_what_the_best_of_that_rank_keep(shop):
    """The weighted error is that of the truncated SVD that LAPACK finds, and no lower is possible."""
    lifted, groups, baskets = shop
    weight = np.sqrt(np.minimum(baskets + 0.1, 9.0))
    error = np.linalg.norm(
        (met(taste_space(lifted, groups, baskets, 5), lifted, groups) - meant(lifted, groups)) * weight
    )
    values = np.linalg.svd(meant(lifted, groups) * weight, compute_uv=False)
    assert error == pytest.approx(np.sqrt((values[5:] ** 2).sum()), rel=1e-3)


def test_the_sums_rank_is_enough_and_the_rest_is_zero(shop):
    """Dimensions beyond the rank come with zeros, not with rounding."""
    lifted, groups, baskets = shop
    space = taste_space(lifted, groups, baskets, 50)
    assert space.places(groups).shape == (N_ITEMS, 50)
    assert not space.places(groups)[:, 31:].any()
