"""Repeats and new items: their recalls apart, and together the whole."""

import doctest

import numpy as np
import pytest

from training import repeats as module
from training.metrics import OUTSIDE, Metric, Truth
from training.repeats import recall_among, repeat_share

N_USERS, N_ITEMS, WIDTH = 40, 50, 12


@pytest.fixture(scope="module")
def world():
    """Random lists, truth and pasts as sets; a user of repeats only, one of new items only, an empty list."""
    rng = np.random.default_rng(3)
    ranked = np.stack([rng.permutation(N_ITEMS)[:WIDTH] for _ in range(N_USERS)])
    ranked[2] = OUTSIDE
    ranked[3, 4:] = OUTSIDE
    bought = [rng.choice(N_ITEMS, rng.integers(2, 12), replace=False).tolist() for _ in range(N_USERS)]
    past = [set(rng.choice(N_ITEMS, 20, replace=False).tolist()) for _ in range(N_USERS)]
    past[0] |= set(bought[0])
    past[1] -= set(bought[1])
    past[1].add(next(item for item in range(N_ITEMS) if item not in bought[1]))
    return ranked, bought, past


def truth_of(rows):
    """Truth of lists of items."""
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return Truth.from_pairs(len(rows), users=users, items=np.concatenate([list(row) for row in rows]))


def test_examples_in_docstrings_hold():
    """Doctests of the module run."""
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("k", [1, 5, 12, 30])
def test_recall_of_a_kind_is_that_of_its_items_alone(world, k):
    """Each user's value is |top k ∩ kind| / |kind|; nan exactly for who has none of the kind."""
    ranked, bought, past = world
    truth = truth_of(bought)
    again = np.array([item in past[user] for user, items in enumerate(bought) for item in items])
    for chosen, kind_of in ((again, lambda mine, old: mine & old), (~again, lambda mine, old: mine - old)):
        kinds = [kind_of(set(mine), old) for mine, old in zip(bought, past, strict=True)]
        expected = [
            len(set(row[:k]) & kind) / len(kind) if kind else np.nan
            for row, kind in zip(ranked.tolist(), kinds, strict=True)
        ]
        assert np.isnan(expected).sum() >= 1
        np.testing.assert_allclose(recall_among(ranked, truth, chosen, k), expected)


def test_both_recalls_make_up_recall(world):
    """Weighed by what was bought of each kind, the two recalls are the recall of all."""
    ranked, bought, past = world
    truth = truth_of(bought)
    again = np.array([item in past[user] for user, items in enumerate(bought) for item in items])
    n_again = np.array([len(set(mine) & old) for mine, old in zip(bought, past, strict=True)])
    found = np.nan_to_num(recall_among(ranked, truth, again, 10)) * n_again
    found += np.nan_to_num(recall_among(ranked, truth, ~again, 10)) * (truth.sizes - n_again)
    np.testing.assert_allclose(found / truth.sizes, Metric("recall", 10).calc_per_user(ranked, truth))


def test_bought_items_outside_the_catalogue_count():
    """An item that no model can name is in the denominator of its kind."""
    truth = Truth.from_pairs(1, users=[0, 0, 0], items=[4, OUTSIDE, OUTSIDE])
    assert recall_among(np.array([[4, 7]]), truth, np.array([True, True, False]), 2).tolist() == [0.5]
    assert recall_among(np.array([[4, 7]]), truth, np.array([False, False, True]), 2).tolist() == [0]


def test_nobody_with_repeats_is_nobody_s_zero():
    """Where no user repeated anything, all are nan."""
    truth = truth_of([[1], [2, 3]])
    assert np.isnan(recall_among(np.array([[1], [2]]), truth, np.zeros(3, bool), 1)).all()


def test_share_of_repeats_is_of_what_is_shown(world):
    """The share of filled slots among the first k that the past holds; nan for an empty list."""
    ranked, _, past = world
    values = repeat_share(ranked, truth_of(past), 10)
    assert np.isnan(values[2])
    for row, old, value in zip(ranked.tolist(), past, values, strict=True):
        top = [item for item in row[:10] if item != OUTSIDE]
        if top:
            assert value == pytest.approx(sum(item in old for item in top) / len(top))
