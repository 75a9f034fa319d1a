"""Co-purchase factors: what they are learnt from, and that they bring together what the same people buy."""

from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from bentos.factors import folded, gram, unit
from feature_repo.pair_features import PastPurchases
from training.factors import history_matrix, item_factors

NOW = datetime(2024, 3, 4, 12, tzinfo=UTC)
CLUB = np.repeat([0, 1], [20, 12])  # of each user, and of the item with the same number


def random_histories(rng, n_users, n_world):
    """{user: {position: (count, decayed count, days ago)}}, of unknown items and new users too."""
    return {
        f"u{user:02d}": {
            int(place): (int(rng.integers(1, 9)), float(rng.uniform(0.5, 6)), float(rng.uniform(0, 300)))
            for place in rng.choice(np.arange(-1, n_world), user % 7, replace=False)
        }
        for user in range(n_users)
    }


def test_history_matrix_is_the_log_of_decayed_counts(user_rows_of):
    """Each cell is log(1 + decayed count as of now), by a loop; what the catalogue lacks is left out."""
    rng = np.random.default_rng(2)
    place = np.array([4, -1, 0, 3, -1, 1, 2, -1], np.int32)
    histories = random_histories(rng, 25, len(place))
    expected = np.zeros((25, 5))
    for row, slots in enumerate(histories.values()):
        for position, (_, decayed, days) in slots.items():
            if position >= 0 and place[position] >= 0:
                seconds = NOW.timestamp() - int(NOW.timestamp() - days * 86_400)
                expected[row, place[position]] = np.log(1 + decayed * 0.5 ** (seconds / 86_400 / 91))
    found = history_matrix(user_rows_of(histories, NOW), place, 5, NOW)
    assert found.shape == (25, 5)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-5)
    assert found.nnz == np.count_nonzero(expected)


def test_history_matrix_of_nobody_is_empty(user_rows_of):
    """Shoppers without a past are rows without entries."""
    found = history_matrix(user_rows_of({"u": {}, "v": {}}, NOW), np.arange(3, dtype=np.int32), 3, NOW)
    assert (found.shape, found.nnz) == ((2, 3), 0)


@pytest.fixture(scope="module")
def checkerboard():
    """Users of each club buy the items of their own, but for the one with their own number."""
    withheld = np.eye(len(CLUB), dtype=bool)
    return np.where((CLUB[:, None] == CLUB) & ~withheld, np.log1p(5.0), 0.0)


def test_items_of_the_same_shoppers_lie_close(checkerboard):
    """On a checkerboard, items of one club point the same way, items of two at right angles."""
    vectors = unit(item_factors(csr_matrix(checkerboard), threads=1))
    for one in range(len(CLUB)):
        for other in range(one):
            cosine = float(vectors[one] @ vectors[other])
            assert cosine > 0.9 if CLUB[one] == CLUB[other] else abs(cosine) < 0.1


def test_a_shopper_is_offered_what_their_club_buys(checkerboard):
    """Of what was never bought, the withheld item of the own club scores best for every user."""
    factors = item_factors(csr_matrix(checkerboard), threads=1)
    for user, row in enumerate(checkerboard):
        items = np.flatnonzero(row).astype(np.int32)
        ones, zeros = np.full(len(items), 5.0, np.float32), np.zeros(len(items), np.float32)
        scores = factors @ folded(
            PastPurchases(items, ones, ones, zeros, zeros, zeros), factors, gram(factors)
        )
        scores[items] = -np.inf
        assert int(scores.argmax()) == user


def test_threads_change_no_factor(checkerboard):
    """Two threads, and a second run, end with the same numbers."""
    history = csr_matrix(checkerboard)
    once = item_factors(history, threads=1)
    for threads in (1, 2):
        np.testing.assert_array_equal(item_factors(history, threads=threads), once)
    assert once.dtype == np.float32
