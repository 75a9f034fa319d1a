"""What was held out: what the shoppers of a test window bought, by task. The truth of every model.

In: the window's purchases and trips, and what was bought before it. Out: `HeldOut`, one entry a shopper,
sorted by id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.pair_features import Positions
from feature_repo.positions import positions_of
from training.metrics import Truth, self_information
from training.split import Window
from training.warehouse import Warehouse


@dataclass(frozen=True)
class HeldOut:
    """Shoppers with something to find, what they bought, and what they had bought before.

    Lists have one array a shopper; an item that is not in the catalogue is OUTSIDE.
    """

    user_ids: list[str]
    bought: list[Positions]
    revenue: list[NDArray[np.float64]]  # of each item bought
    trips_with: list[Positions]  # of each item bought, the trips of the window whose basket had it
    n_trips: Positions  # (n_shoppers,) all trips of the window, whatever was bought
    past: list[Positions]  # what the shopper ever bought before the window
    repeat: list[NDArray[np.bool_]]  # of each item bought, whether it was ever bought before
    information: NDArray[np.float64]  # (n_items,) bits, by the known shoppers who ever bought it

    def __len__(self) -> int:
        return len(self.user_ids)

    @cached_property
    def truth(self) -> Truth:
        """What each shopper bought, weighed by what they paid (returns of money count as nothing)."""
        return truth_of(self.bought, [np.maximum(paid, 0.0) for paid in self.revenue])

    @cached_property
    def truth_by_trips(self) -> Truth:
        """What each shopper bought, weighed by the number of trips that had it."""
        return truth_of(self.bought, self.trips_with)

    @cached_property
    def truth_before(self) -> Truth:
        """What each shopper ever bought before the window."""
        return truth_of(self.past)


def truth_of(items: Sequence[Positions], weights: Sequence[NDArray[np.generic]] | None = None) -> Truth:
    """Truth of one array of items, and of their weights, a shopper."""
    sizes = [len(mine) for mine in items]
    return Truth.from_pairs(
        len(sizes),
        users=np.repeat(np.arange(len(sizes)), sizes),
        items=np.concatenate(items),
        weights=None if weights is None else np.concatenate(weights),
    )


def held_out(
    purchases: pd.DataFrame,
    ever_bought: pd.DataFrame,
    trip_counts: pd.DataFrame,
    *,
    known: Sequence[str],
    item_ids: NDArray[np.str_],
    task: str,
) -> HeldOut:
    """Purchases of the `known` shoppers; for `discover`, only of what they never bought before.

    `item_ids` is the catalogue, sorted. Who was never seen before the cut is left out: nobody knows them.
    """
    before = pd.MultiIndex.from_frame(ever_bought[["user_id", "item_id"]])
    repeat = pd.MultiIndex.from_frame(purchases[["user_id", "item_id"]]).isin(before)
    # What positions_of finds nowhere is OUTSIDE to the metrics: both are -1.
    held = purchases.assign(repeat=repeat, position=positions_in(item_ids, purchases))
    held = held[held["user_id"].isin(set(known)) & ~(held["repeat"] & (task == "discover"))]
    by_user = {str(user_id): rows for user_id, rows in held.groupby("user_id", sort=True)}
    user_ids = list(by_user)
    bought_before = ever_bought.assign(position=positions_in(item_ids, ever_bought))
    theirs = bought_before[bought_before["user_id"].isin(by_user)].groupby("user_id")["position"]
    past = {str(user_id): rows.to_numpy() for user_id, rows in theirs}
    buyers = bought_before.loc[bought_before["position"] >= 0, "position"]
    return HeldOut(
        user_ids,
        bought=[rows["position"].to_numpy(dtype=np.int32) for rows in by_user.values()],
        revenue=[rows["revenue"].to_numpy(dtype=np.float64) for rows in by_user.values()],
        trips_with=[rows["trips"].to_numpy(dtype=np.int32) for rows in by_user.values()],
        n_trips=trip_counts.set_index("user_id")["trips"].reindex(user_ids).to_numpy(dtype=np.int32),
        past=[past[user_id] for user_id in user_ids],
        repeat=[rows["repeat"].to_numpy(dtype=np.bool_) for rows in by_user.values()],
        information=self_information(np.bincount(buyers, minlength=len(item_ids)), len(known)),
    )


def positions_in(item_ids: NDArray[np.str_], rows: pd.DataFrame) -> Positions:
    """Position in the catalogue of each row's item."""
    return positions_of(item_ids, rows["item_id"].to_numpy(dtype=np.str_))


def held_out_of(warehouse: Warehouse, test: Window, item_ids: NDArray[np.str_], task: str) -> HeldOut:
    """The held-out purchases of one test window; ValueError where there are none."""
    found = held_out(
        warehouse.purchases(test),
        warehouse.ever_bought(test.instant),
        warehouse.trip_counts(test),
        known=warehouse.user_ids(test.instant),
        item_ids=item_ids,
        task=task,
    )
    if not len(found):
        raise ValueError(f"Nobody bought anything in weeks {test.first}-{test.last}; lower the cut")
    return found
