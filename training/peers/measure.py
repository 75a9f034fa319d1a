"""Measure the peers at a cut, on the shoppers, the catalogue and the metrics of the stack's evaluation.

In: the tables and the catalogue of the cut's release. Out: values per shopper, as `training.evaluate` gives.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from training.held_out import held_out_of
from training.peers.lists import TASKS, peer_lists
from training.peers.purchases import purchases_before
from training.per_shopper import DEPTH, summary, values_of
from training.split import Window
from training.warehouse import Warehouse


def measured(
    warehouse: Warehouse, test: Window, item_ids: NDArray[np.str_], report: Callable[[str], None]
) -> pd.DataFrame:
    """Values per shopper of every peer; `item_ids` is the catalogue, sorted."""
    purchases = purchases_before(warehouse, test.instant, item_ids)
    report(f"{len(purchases.users):,} purchases of {len(purchases.user_ids):,} users before the cut")
    found = []
    for task in TASKS:
        held = held_out_of(warehouse, test, item_ids, task)
        for model, lists in peer_lists(purchases, held.user_ids, task, depth=DEPTH):
            values = values_of(model, task, held, lists, len(item_ids))
            report(summary(values))
            found.append(values)
    return pd.concat(found, ignore_index=True)
