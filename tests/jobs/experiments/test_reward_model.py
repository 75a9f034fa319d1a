"""What is earned from a slot on, where it is known what the line must find."""

import doctest

import numpy as np
import pytest

from jobs.experiments import reward_model as module
from jobs.experiments.off_policy import (
    Draws,
    OffPolicyError,
    doubly_robust,
    ips,
    softmax_policy,
    target_chances,
)
from jobs.experiments.reward_model import reward_to_go


def drawn(rng, scores, m, temperature=1.0):
    """Places drawn from pools without replacement, with who was eligible: (n, m), (n, m, n_pool)."""
    order = np.argsort(-(scores / temperature + rng.gumbel(size=scores.shape)), axis=1)
    left, eligible = np.ones(scores.shape, dtype=bool), []
    for draw in range(m):
        eligible.append(left.copy())
        np.put_along_axis(left, order[:, draw, None], False, axis=1)
    return order[:, :m], np.stack(eligible, axis=1)


def test_examples_in_docstrings_hold():
    """Doctests of the module run."""
    assert doctest.testmod(module).failed == 0


def test_a_reward_on_a_line_is_found():
    """A slot earns 1 + 2 score, the target draws evenly: what is to come is the mean of what is left."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(300, 6))
    chosen, eligible = drawn(rng, scores, 3)
    rewards = 1 + 2 * np.take_along_axis(scores, chosen, axis=1)
    even = eligible / eligible.sum(axis=-1, keepdims=True)
    found = reward_to_go(rewards, scores, even, chosen, rng.integers(0, 60, 300))
    for slot in range(3):
        left = (even[:, slot] * scores).sum(axis=1)
        assert found.target[:, slot] == pytest.approx((3 - slot) * (1 + 2 * left))
        own = np.take_along_axis(scores, chosen[:, slot, None], axis=1)[:, 0]
        after = (left * (6 - slot) - own) / (5 - slot)
        assert found.logged[:, slot] == pytest.approx(1 + 2 * own + (2 - slot) * (1 + 2 * after))


def test_nobody_is_told_from_what_they_earned():
    """Another reward of one user changes others' predictions, and none of their own."""
    rng = np.random.default_rng(1)
    scores, users = rng.normal(size=(60, 5)), np.repeat(np.arange(20), 3)
    chosen, eligible = drawn(rng, scores, 2)
    even, rewards = eligible / eligible.sum(axis=-1, keepdims=True), rng.random((60, 2))
    other = rewards.copy()
    other[users == 7] += 5
    before, after = (reward_to_go(each, scores, even, chosen, users) for each in (rewards, other))
    own = users == 7
    assert np.array_equal(before.target[own], after.target[own])
    assert np.array_equal(before.logged[own], after.logged[own])
    assert not np.allclose(before.target[~own], after.target[~own])


def test_places_that_a_pool_lacks_are_never_read():
    """Filled up with places without a score, whom nobody could draw, a pool is told as it is."""
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(50, 4))
    chosen, eligible = drawn(rng, scores, 2)
    even, rewards = eligible / eligible.sum(axis=-1, keepdims=True), rng.random((50, 2))
    plain = reward_to_go(rewards, scores, even, chosen, np.arange(50))
    wide = np.pad(even, ((0, 0), (0, 0), (0, 3)))
    filled = np.pad(scores, ((0, 0), (0, 3)), constant_values=np.nan)
    found = reward_to_go(rewards, filled, wide, chosen, np.arange(50))
    assert found.target == pytest.approx(plain.target)
    assert found.logged == pytest.approx(plain.logged)


def test_a_good_model_narrows_the_interval():
    """Clicks that follow the score: doubly robust holds the truth too, and is surer than IPS by a fifth."""
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(4_000, 8)) + rng.normal(size=(4_000, 1))
    chosen, eligible = drawn(rng, scores, 3)
    logged = softmax_policy(scores, eligible, chosen, 1.0)
    likely = 1 / (1 + np.exp(1 - 1.5 * np.take_along_axis(scores, chosen, axis=1)))
    clicks, users = (rng.random((4_000, 3)) < likely).astype(float), np.arange(4_000) // 2
    target = target_chances(scores, eligible, 0.5)
    draws = Draws(clicks, logged, np.take_along_axis(target, chosen[..., None], axis=-1)[..., 0], users)
    best, _ = drawn(rng, np.tile(scores, (50, 1)), 3, temperature=0.5)
    truth = (1 / (1 + np.exp(1 - 1.5 * np.take_along_axis(np.tile(scores, (50, 1)), best, axis=1)))).sum(
        axis=1
    )
    plain, robust = ips(draws), doubly_robust(draws, reward_to_go(clicks, scores, target, chosen, users))
    assert robust.low < truth.mean() < robust.high
    assert plain.low < truth.mean() < plain.high
    assert robust.high - robust.low < 0.8 * (plain.high - plain.low)


@pytest.mark.parametrize("folds", [1, 4])
def test_folds_that_cannot_be_are_refused(folds):
    """One fold leaves nobody to learn from, and more than there are users leaves some empty."""
    with pytest.raises(OffPolicyError, match=f"folds is {folds} for 3 users; use from 2"):
        reward_to_go(
            np.zeros((3, 1)),
            np.zeros((3, 2)),
            np.ones((3, 1, 2)),
            np.zeros((3, 1), int),
            np.arange(3),
            folds=folds,
        )
