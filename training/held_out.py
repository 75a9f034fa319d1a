"""What was held out: what the shoppers of a test window bought, by task. The truth of every model.

In: the window's purchases and who was known before it. Out: `HeldOut`, one entry a shopper, sorted by id.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.pair_features import Positions
from feature_repo.positions import positions_of
from training.metrics import Truth
from training.split import Window
from training.warehouse import Warehouse


@dataclass(frozen=True)
class HeldOut:
    """Shoppers with something to find, and what they bought: OUTSIDE for items not in the catalogue."""

    user_ids: list[str]
    bought: list[Positions]
    revenue: list[NDArray[np.float64]]

    def __len__(self) -> int:
        return len(self.user_ids)

    @property
    def truth(self) -> Truth:
        """What each shopper bought, weighed by what they paid (returns of money count as nothing)."""
        sizes = [len(bought) for bought in self.bought]
        return Truth.from_pairs(
            len(sizes),
            users=np.repeat(np.arange(len(sizes)), sizes),
            items=np.concatenate(self.bought),
            weights=np.maximum(np.concatenate(self.revenue), 0.0),
        )


def held_out(
    purchases: pd.DataFrame,
    ever_bought: pd.DataFrame,
    *,
    known: Sequence[str],
    item_ids: NDArray[np.str_],
    task: str,
) -> HeldOut:
    """Purchases of the `known` shoppers; for `discover`, only of what they never bought before.

    `item_ids` is the catalogue, sorted. Who was never seen before the cut is left out: nobody knows them.
    """
    if task == "discover":
        before = pd.MultiIndex.from_frame(ever_bought[["user_id", "item_id"]])
        purchases = purchases[~pd.MultiIndex.from_frame(purchases[["user_id", "item_id"]]).isin(before)]
    purchases = purchases[purchases["user_id"].isin(set(known))]
    # What positions_of finds nowhere is OUTSIDE to the metrics: both are -1.
    held = purchases.assign(position=positions_of(item_ids, purchases["item_id"].to_numpy(dtype=np.str_)))
    found = HeldOut([], [], [])
    for user_id, rows in held.groupby("user_id", sort=True):
        found.user_ids.append(str(user_id))
        found.bought.append(rows["position"].to_numpy(dtype=np.int32))
        found.revenue.append(rows["revenue"].to_numpy(dtype=np.float64))
    return found


def held_out_of(warehouse: Warehouse, test: Window, item_ids: NDArray[np.str_], task: str) -> HeldOut:
    """The held-out purchases of one test window; ValueError where there are none."""
    found = held_out(
        warehouse.purchases(test),
        warehouse.ever_bought(test.instant),
        known=warehouse.user_ids(test.instant),
        item_ids=item_ids,
        task=task,
    )
    if not len(found):
        raise ValueError(f"Nobody bought anything in weeks {test.first}-{test.last}; lower the cut")
    return found
