"""TIFU-KNN: the same vectors and predictions as the paper's definitions in plain loops."""

import numpy as np
import pytest

from training.peers import tifu_knn
from training.peers.tifu_knn import TifuOptions


def user_vector(baskets, n_items, options):
    """The paper's two-level average; `baskets` are sets of items, oldest first."""
    groups, rest = [], list(baskets)
    while rest:
        groups.insert(0, rest[-options.group_size :])
        rest = rest[: -options.group_size]
    total = np.zeros(n_items)
    for number, group in enumerate(groups, 1):
        vector = np.zeros(n_items)
        for place, basket in enumerate(group, 1):
            vector[list(basket)] += options.within_decay ** (len(group) - place)
        total += options.group_decay ** (len(groups) - number) * vector / len(group)
    return total / len(groups)


def vectors_of(purchases, options):
    """Vectors of all users by loops over their baskets."""
    entries = list(
        zip(
            purchases.users.tolist(),
            purchases.baskets_since.tolist(),
            purchases.items.tolist(),
            strict=True,
        )
    )
    rows = []
    for user in range(purchases.shape[0]):
        count = 1 + max(since for mine, since, _ in entries if mine == user)
        baskets = [
            {item for mine, since, item in entries if (mine, since) == (user, age)}
            for age in reversed(range(count))
        ]
        rows.append(user_vector(baskets, purchases.shape[1], options))
    return np.array(rows)


@pytest.mark.parametrize("options", [TifuOptions(3, 3, 0.9, 0.7, 0.6), TifuOptions(5, 4, 1.0, 0.5, 0.2)])
def test_scores_follow_the_paper(purchases, options):
    """Own vector and the mean of the nearest other users' by Euclidean distance, mixed."""
    vectors = vectors_of(purchases, options)
    expected = []
    for user, mine in enumerate(vectors):
        others = [other for other in range(len(vectors)) if other != user]
        nearest = sorted(others, key=lambda other: np.linalg.norm(mine - vectors[other]))
        near = np.mean([vectors[other] for other in nearest[: options.neighbours]], axis=0)
        expected.append(options.own_weight * mine + (1 - options.own_weight) * near)
    rows = np.arange(12, dtype=np.int32)
    found = tifu_knn.fit(purchases, options).scores(rows)
    np.testing.assert_allclose(found, expected, atol=1e-5)
