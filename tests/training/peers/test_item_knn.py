"""Item k-NN: the same neighbours and sums as loops over pairs of items."""

import numpy as np

from training.peers import item_knn
from training.peers.item_knn import ItemKnnOptions


def brute_force(counts, *, neighbours, shrinkage):
    """Scores of all users, item by item."""
    n_items = counts.shape[1]
    scores = np.zeros_like(counts)
    for item in range(n_items):
        similar = {}
        for other in range(n_items):
            mine, theirs = counts[:, item], counts[:, other]
            length = np.linalg.norm(mine) * np.linalg.norm(theirs)
            if other != item:
                similar[other] = mine @ theirs / (length + shrinkage)
        for other in sorted(similar, key=lambda other: -similar[other])[:neighbours]:
            scores[:, item] += similar[other] * counts[:, other]
    return scores


def test_scores_equal_brute_force(purchases, monkeypatch):
    """Cosines with shrinkage, the four nearest others of each item, summed over what the user bought."""
    monkeypatch.setattr(item_knn, "BLOCK", 4)  # several blocks, the last one smaller
    options = ItemKnnOptions(half_life_weeks=8, neighbours=4, shrinkage=1.5)
    expected = brute_force(purchases.log_counts(8).toarray(), neighbours=4, shrinkage=1.5)
    rows = np.arange(12, dtype=np.int32)[::-1]
    np.testing.assert_allclose(item_knn.fit(purchases, options).scores(rows), expected[rows], atol=1e-5)
