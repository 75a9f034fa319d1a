"""What was held out, of tests that only ask what was bought: one trip a shopper, everything new, paid 1."""

import numpy as np

from training.held_out import HeldOut


def held_of(user_ids, bought):
    """`bought` is one array of positions a shopper; each had bought item 0 before."""
    return HeldOut(
        user_ids=list(user_ids),
        bought=list(bought),
        revenue=[np.ones(len(items)) for items in bought],
        trips_with=[np.ones(len(items), np.int32) for items in bought],
        n_trips=np.ones(len(bought), np.int32),
        past=[np.zeros(1, np.int32) for _ in bought],
        repeat=[np.zeros(len(items), bool) for items in bought],
        information=np.zeros(1 + max(int(items.max()) for items in bought)),
    )
