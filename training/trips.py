"""CTR proxy: had the list been shown at each recorded trip, how many of its slots were bought there.

Purchases are recorded, impressions are not. So each trip of the test window stands for one view of the
shopper's list, as it was at the cut, and a slot counts as clicked where that trip's basket holds its item.
It is no click-through rate: nobody saw the list, and what is bought without it would be bought anyway.

    >>> bought = Truth.from_pairs(2, users=[0, 0, 1], items=[1, 2, 3], weights=[2, 1, 1])
    >>> n_trips = np.array([2, 4])          # user 0 bought item 1 on both trips, item 2 on one of them
    >>> ctr_proxy(np.array([[1, 2], [3, 5]]), 2, bought, n_trips)
    array([0.75 , 0.125])
"""

import numpy as np

from training.metrics import Floats, Ints, Truth


def ctr_proxy(ranked: Ints, k: int, bought: Truth, n_trips: Ints) -> Floats:
    """CTR proxy@k = mean over a user's trips of |top k ∩ basket| / k; empty slots count as not clicked.

    The weights of `bought` are the number of trips whose basket had the item, which is all that the mean
    needs: Σ over trips of |top k ∩ basket| = Σ over the top k of trips with the item. `n_trips` (n_users,)
    are all of the user's trips, also those whose baskets have nothing of `bought`.
    """
    _, trips_with = bought.match(ranked[:, :k])
    return np.asarray(trips_with.sum(axis=1) / (k * n_trips))
