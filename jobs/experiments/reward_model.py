"""A model of what is earned from a drawn slot on: the predictions of `direct` and `doubly_robust`.

In: a log's rewards, the scores of its pools, and a target policy's probabilities. Out: `Predicted`, each
user's from the others only (cross-fitting: Chernozhukov et al. 2018), so that no answer is explained by what
was learnt from it. The model is a least-squares line (fitted Q evaluation: Le, Voloshin & Yue 2019): what is
earned from a slot on is no yes or no that a logistic one could learn, and `doubly_robust` takes no harm from
a line where a curve would fit better, only less help.

    >>> scores, draws = np.array([[2.0, 1.0], [2.0, 1.0]]), np.ones((2, 1, 2), dtype=bool)
    >>> even, first = draws / 2, np.array([[0], [0]])
    >>> found = reward_to_go(np.array([[1.0], [0.0]]), scores, even, first, np.array([7, 8]), folds=2)
    >>> found.logged.round(9).tolist()      # user 7 is told from user 8, who earned nothing
    [[0.0], [1.0]]
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.experiments.off_policy import Floats, Ints, Mask, OffPolicyError, Predicted

FOLDS = 5  # of users, of which each is predicted from the others


def reward_to_go(
    rewards: Floats,
    scores: Floats,
    target: Floats,
    chosen: Ints,
    users: NDArray[Any],
    *,
    folds: int = FOLDS,
    seed: int = 0,
) -> Predicted:
    """Reward from each slot on, expected of its logged item and of the target's draw.

    Parameters
    ----------
    rewards
        (n, m), as in `Draws`.
    scores
        (n, n_pool), log odds that a reward may depend on; not finite where a pool has no such place.
    target
        (n, m, n_pool), the target's probabilities, of `target_chances`.
    chosen
        (n, m), places of the logged items in the pool.
    users
        (n,), whose answer it is. OffPolicyError for fewer of them than folds.
    """
    code = np.unique(users, return_inverse=True)[1]
    n_users = int(code.max()) + 1
    if not 2 <= folds <= n_users:
        raise OffPolicyError(
            f"folds is {folds} for {n_users} users; use from 2 to as many as there are users"
        )
    fold = (np.random.default_rng(seed).permutation(n_users) % folds)[code]
    found = Predicted(np.empty(rewards.shape), np.empty(rewards.shape))
    for number in range(folds):
        held = fold == number
        told = learnt(rewards, np.where(np.isfinite(scores), scores, 0.0), target, chosen, ~held)
        found.logged[held], found.target[held] = told.logged[held], told.target[held]
    return found


def learnt(rewards: Floats, scores: Floats, target: Floats, chosen: Ints, known: Mask) -> Predicted:
    """Predictions for all answers, learnt from those that are `known` (n,): the last slot first."""
    found, then = Predicted(np.empty(rewards.shape), np.empty(rewards.shape)), np.zeros(len(rewards))
    for slot in reversed(range(rewards.shape[1])):
        columns = inputs(scores, target[:, slot])
        own = np.take_along_axis(columns, chosen[:, slot, None, None], axis=1)[:, 0]
        line = np.linalg.lstsq(own[known], (rewards[:, slot] + then)[known])[0]
        then = (target[:, slot] * (columns @ line)).sum(axis=1)
        found.logged[:, slot], found.target[:, slot] = own @ line, then
    return found


def inputs(scores: Floats, chance: Floats) -> Floats:
    """What the line reads of each place in the pool, (n, n_pool, 4).

    One, the score, its square, and the score that the target expects of the slot by its `chance` (n, n_pool):
    how good it is what is left.
    """
    expected = np.broadcast_to((chance * scores).sum(axis=1, keepdims=True), scores.shape)
    return np.stack([np.ones_like(scores), scores, scores**2, expected], axis=-1)
