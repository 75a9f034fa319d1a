"""Ranking metrics: the values of a slow reading of their definitions, and of reference libraries, by user.

Conventions differ: trec_eval divides average precision by all that is relevant, also where the cutoff is
smaller, and takes a document's grade as its NDCG gain (grades 0 and 1 give ours); implicit divides
recall ("precision" there) and average precision by min(|T|, k) and sums over users.
"""

import doctest
import math
from itertools import pairwise

import numpy as np
import pytest

from training import metrics as module
from training.metrics import (
    CUTOFFS,
    METRICS,
    OUTSIDE,
    Metric,
    Truth,
    calc_per_user,
    coverage,
    novelty,
    self_information,
)

N_USERS, N_ITEMS, WIDTH = 60, 80, 30


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, Truth]:
    """Random rankings with empty slots, and truth that lies partly outside the catalogue."""
    rng = np.random.default_rng(7)
    ranked = np.stack([rng.permutation(N_ITEMS)[:WIDTH] for _ in range(N_USERS)])
    for row in range(0, N_USERS, 3):
        ranked[row, rng.integers(0, WIDTH) :] = OUTSIDE
    users, items = [], []
    for user in range(N_USERS):
        bought = rng.choice(N_ITEMS, rng.integers(1, 25), replace=False).tolist()
        bought += [OUTSIDE] * int(rng.integers(0, 3))
        users += [user] * len(bought)
        items += bought
    shuffled = rng.permutation(len(users))
    return ranked, Truth.from_pairs(
        N_USERS,
        users=np.array(users)[shuffled],
        items=np.array(items)[shuffled],
        weights=rng.gamma(2, size=len(users)),
    )


def slow_value(name: str, k: int, row: list[int], bought: list[int], paid: list[float]) -> float:
    """One user's value from the definition, without arrays."""
    worth = {item: weight for item, weight in zip(bought, paid, strict=True) if item != OUTSIDE}
    top = [item for item in row[:k] if item != OUTSIDE]
    if name == "recall":
        return len(set(top) & set(worth)) / len(bought)
    if name == "hit":
        return float(any(item in worth for item in top))
    if name == "revenue_recall":
        return sum(worth.get(item, 0.0) for item in top) / sum(paid)
    if name == "map":
        found = [rank for rank, item in enumerate(row[:k], 1) if item in worth]
        return sum(hits / rank for hits, rank in enumerate(found, 1)) / min(len(bought), k)
    dcg = sum(1 / math.log2(rank + 2) for rank, item in enumerate(row[:k]) if item in worth)
    return dcg / sum(1 / math.log2(rank + 2) for rank in range(min(k, len(bought))))


def test_examples_in_docstrings_hold():
    """Doctests of the module run."""
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", ["recall", "ndcg", "map", "hit", "revenue_recall"])
@pytest.mark.parametrize("k", [1, 3, 10, 30, 100])
def test_values_follow_the_definition(world: tuple[np.ndarray, Truth], name: str, k: int):
    """Every user's value equals the one computed slot by slot, also for k beyond the ranking."""
    ranked, truth = world
    bounds = list(zip(truth.indptr[:-1], truth.indptr[1:], strict=True))
    expected = [
        slow_value(name, k, row, truth.items[start:stop].tolist(), truth.weights[start:stop].tolist())
        for row, (start, stop) in zip(ranked.tolist(), bounds, strict=True)
    ]
    np.testing.assert_allclose(Metric(name, k).calc_per_user(ranked, truth), expected, atol=1e-12)


def test_ndcg_equals_that_of_scikit_learn():
    """On truth inside the catalogue, NDCG is sklearn's of 0/1 gains."""
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(3)
    gains = (rng.random((20, 40)) < 0.2).astype(int)
    gains[:, 0] = 1
    scores = rng.random((20, 40))
    users, items = gains.nonzero()
    truth = Truth.from_pairs(20, users=users, items=items)
    ours = Metric("ndcg", 10).calc_per_user(np.argsort(-scores, axis=1), truth)
    theirs = [ndcg_score([gain], [score], k=10) for gain, score in zip(gains, scores, strict=True)]
    np.testing.assert_allclose(ours, theirs)


def test_values_equal_those_of_trec_eval(world: tuple[np.ndarray, Truth]):
    """Recall, NDCG, MAP and hit are trec_eval's; its MAP is ours times min(|T|, k) / |T|."""
    from pytrec_eval import RelevanceEvaluator

    ranked, truth = world
    bounds = pairwise(truth.indptr)
    asked = {
        f"u{user}": {
            f"out{n}" if item == OUTSIDE else f"i{item}": 1 for n, item in enumerate(truth.items[a:b])
        }
        for user, (a, b) in enumerate(bounds)
    }
    runs = {
        f"u{user}": {f"i{item}": float(-rank) for rank, item in enumerate(row) if item != OUTSIDE}
        for user, row in enumerate(ranked)
    }
    names = {"recall": "recall", "ndcg": "ndcg_cut", "map": "map_cut", "hit": "success"}
    cutoffs = (1, 5, 10, 20, 100)
    measures = {f"{name}.{','.join(map(str, cutoffs))}" for name in names.values()}
    theirs = RelevanceEvaluator(asked, measures).evaluate(runs)
    for k in cutoffs:
        reachable = {"map": np.minimum(truth.sizes, k) / truth.sizes}
        for name, other in names.items():
            ours = Metric(name, k).calc_per_user(ranked, truth) * reachable.get(name, 1)
            # A user to whom nothing was shown has no run, and so no value there.
            expected = [theirs.get(f"u{user}", {}).get(f"{other}_{k}", 0.0) for user in range(N_USERS)]
            np.testing.assert_allclose(ours, expected, atol=1e-6, err_msg=f"{name}@{k}")


@pytest.mark.parametrize("k", [1, 5, 10, 20])
def test_values_equal_those_of_implicit(k: int):
    """MAP and NDCG of each user are implicit's; its precision is ours times |T| / min(|T|, k)."""
    from implicit.evaluation import ranking_metrics_at_k
    from scipy.sparse import csr_matrix

    class Recalls:
        """A model that recommends what it is told to."""

        def recommend(self, users, *_, N, **__):  # noqa: N803 - implicit's interface
            """The first N of the users' lists."""
            return ranked[np.asarray(users), :N].copy(), None

    rng = np.random.default_rng(11)
    ranked = np.stack([rng.permutation(N_ITEMS)[:WIDTH] for _ in range(N_USERS)]).astype(np.int32)
    bought = csr_matrix(rng.random((N_USERS, N_ITEMS)) < 0.15)
    users, items = bought.nonzero()
    truth = Truth.from_pairs(N_USERS, users=users, items=items)
    reachable = np.minimum(truth.sizes, k)
    for user in range(N_USERS):
        mine = users == user
        only = csr_matrix((np.ones(mine.sum()), (users[mine], items[mine])), shape=bought.shape)
        theirs = ranking_metrics_at_k(Recalls(), bought, only, K=k, show_progress=False)
        for name, other, factor in (
            ("map", "map", 1.0),
            ("ndcg", "ndcg", 1.0),
            ("recall", "precision", truth.sizes[user] / reachable[user]),
        ):
            ours = Metric(name, k).calc_per_user(ranked, truth)[user] * factor
            assert ours == pytest.approx(theirs[other], abs=1e-6), (user, name)


def test_a_perfect_ranking_scores_one():
    """Ranking exactly what was bought gives 1 for every metric whose cutoff holds it all."""
    truth = Truth.from_pairs(3, users=[0, 1, 1, 2], items=[4, 2, 9, 0], weights=[1, 2, 3, 4])
    ranked = np.array([[4, 1], [9, 2], [0, OUTSIDE]])
    for metric in METRICS:
        assert metric.calc_per_user(ranked, truth).tolist() == [1, 1, 1], metric.label


def test_truth_outside_the_catalogue_cannot_be_hit():
    """An empty slot (-1) does not hit an item outside the catalogue (-1)."""
    truth = Truth.from_pairs(2, users=[0, 0, 1], items=[OUTSIDE, OUTSIDE, OUTSIDE])
    ranked = np.array([[OUTSIDE, 3], [0, OUTSIDE]])
    assert all((values == 0).all() for values in calc_per_user(ranked, truth).values())


def test_items_numbered_beyond_the_truth_hit_no_other_user():
    """A ranked item whose number exceeds all bought ones is no hit, for no user."""
    truth = Truth.from_pairs(3, users=[0, 1, 2], items=[0, 0, 0])
    assert Metric("recall", 1).calc_per_user(np.array([[1], [2], [3]]), truth).tolist() == [0, 0, 0]


def test_who_paid_nothing_has_no_revenue_to_recall():
    """A user whose bought items were free gets 0, not nan."""
    truth = Truth.from_pairs(1, users=[0], items=[5], weights=[0.0])
    assert Metric("revenue_recall", 1).calc_per_user(np.array([[5]]), truth).tolist() == [0]


def test_all_at_once_equals_one_by_one(world: tuple[np.ndarray, Truth]):
    """`calc_per_user` gives every metric the value of its own calculation, under its label."""
    ranked, truth = world
    together = calc_per_user(ranked, truth)
    assert list(together) == [metric.label for metric in METRICS]
    assert len(together) == 5 * len(CUTOFFS)
    for metric in METRICS:
        np.testing.assert_array_equal(together[metric.label], metric.calc_per_user(ranked, truth))


def test_order_of_users_does_not_matter(world: tuple[np.ndarray, Truth]):
    """Users in reverse get the same values in reverse."""
    ranked, truth = world
    users = np.repeat(np.arange(N_USERS), truth.sizes)
    mirrored = Truth.from_pairs(N_USERS, users=N_USERS - 1 - users, items=truth.items, weights=truth.weights)
    for label, values in calc_per_user(ranked[::-1], mirrored).items():
        np.testing.assert_allclose(values[::-1], calc_per_user(ranked, truth)[label])


def test_coverage_counts_shown_items_once():
    """Coverage is the size of the union of all top k over the size of the catalogue."""
    ranked = np.array([[0, 1, 2], [0, 3, OUTSIDE]])
    assert coverage(ranked, 2, 10) == 0.3
    assert coverage(ranked, 3, 10) == 0.4
    assert coverage(np.full((2, 3), OUTSIDE), 3, 10) == 0


def test_novelty_is_the_mean_surprise_of_what_is_shown():
    """The mean of -log2(buyers / users) over the filled slots; nan for an empty list; never infinite."""
    rng = np.random.default_rng(5)
    buyers = np.concatenate([[0], rng.integers(1, 200, size=N_ITEMS - 1)])
    ranked = np.stack([rng.permutation(N_ITEMS)[:12] for _ in range(30)])
    ranked[0], ranked[1, 3:], ranked[2, 0] = OUTSIDE, OUTSIDE, 0
    found = novelty(ranked, 10, self_information(buyers, 200))
    assert np.isnan(found[0])
    for row, value in zip(ranked[1:].tolist(), found[1:], strict=True):
        surprise = [-math.log2(max(buyers[item], 1) / 200) for item in row[:10] if item != OUTSIDE]
        assert value == pytest.approx(sum(surprise) / len(surprise))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Truth.from_pairs(3, users=[0, 2], items=[1, 1]), "1 users without truth, first in row 1"),
        (lambda: Truth.from_pairs(1, users=[0, 0], items=[4, 4]), "item 4 twice for the user in row 0"),
        (lambda: Truth(np.array([0, 2]), np.array([1]), np.array([1.0])), "2 by indptr, 1 items, 1 weights"),
        (lambda: Metric("mrr", 10), "No metric 'mrr' at 10; use recall, ndcg"),
        (lambda: Metric("recall", 0), "No metric 'recall' at 0"),
    ],
)
def test_unusable_truth_and_metrics_are_refused(wrong, message: str):
    """The error names the row, the item or the name that is wrong."""
    with pytest.raises(ValueError, match=message):
        wrong()


def test_unusable_rankings_are_refused():
    """An item ranked twice would count twice; rankings of other users would count at all."""
    truth = Truth.from_pairs(2, users=[0, 1], items=[1, 2])
    with pytest.raises(ValueError, match="row 1 has item 5 twice"):
        Metric("recall", 3).calc_per_user(np.array([[1, 2, 3], [5, 0, 5]]), truth)
    with pytest.raises(ValueError, match="3 rankings for 2 users"):
        Metric("recall", 1).calc_per_user(np.array([[1], [2], [3]]), truth)
