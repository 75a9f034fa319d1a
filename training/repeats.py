"""Repeats and new items apart: how much of each is found, and how much of a list is what one bought before.

In: rankings and truth as in `training.metrics`, which items of the truth the user had bought before, and all
that the user had bought before. Out: one value per user; nan for who has nothing of a kind to find, so that
they are left out of its mean (`training.intervals`). With T = T_repeat + T_new, recall@k is the mean of both
recalls, weighed by what was bought of each kind.

    >>> truth = Truth.from_pairs(2, users=[0, 0, 0, 1], items=[1, 2, 3, 4])
    >>> again = np.array([True, False, False, False])   # user 0 had item 1 before, user 1 nothing
    >>> ranked = np.array([[1, 2, 9], [8, 4, 7]])
    >>> recall_among(ranked, truth, again, k=3)
    array([ 1., nan])
    >>> recall_among(ranked, truth, ~again, k=3)
    array([0.5, 1. ])
"""

import numpy as np
from numpy.typing import NDArray

from training.metrics import Floats, Ints, Metric, Truth, mean_of_known


def recall_among(ranked: Ints, truth: Truth, chosen: NDArray[np.bool_], k: int) -> Floats:
    """Recall@k of the truth's `chosen` items alone (in the order of `truth.items`); nan where there is none.

    As in recall@k, items outside the catalogue count as bought.
    """
    users = np.repeat(np.arange(len(truth.sizes)), truth.sizes)[chosen]
    having, row = np.unique(users, return_inverse=True)
    values = np.full(len(truth.sizes), np.nan)
    part = Truth.from_pairs(len(having), users=row, items=truth.items[chosen])
    values[having] = Metric("recall", k).calc_per_user(ranked[having], part)
    return values


def repeat_share(ranked: Ints, past: Truth, k: int) -> Floats:
    """Share of the items in the top k that the user bought before; nan for who is shown nothing."""
    top = ranked[:, :k]
    return mean_of_known(past.match(top)[0].sum(axis=1), (top >= 0).sum(axis=1))
