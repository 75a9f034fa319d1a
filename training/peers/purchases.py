"""What was bought before the cut, as sparse matrices of users by catalogue items: the input of every peer.

In: the tables and a catalogue. Out: `Purchases`, from which a peer takes counts, decayed or not.
Row = user, column = position in the catalogue, both in ascending order of their ids.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.positions import positions_of
from training.warehouse import Warehouse

SECONDS_PER_WEEK = 7 * 86_400.0

Floats = NDArray[np.float32]
Rows = NDArray[np.int32]
Sparse = Any  # scipy.sparse.csr_array; SciPy ships no types


@dataclass(frozen=True)
class Purchases:
    """One entry for each item in each basket; entries of an item outside the catalogue are left out."""

    user_ids: NDArray[np.str_]  # (n_users,) sorted
    item_ids: NDArray[np.str_]  # (n_items,) sorted: the catalogue
    users: Rows  # (n,) row of the entry's user
    items: Rows  # (n,) column of the entry's item
    baskets_since: Rows  # (n,) the user's baskets after this one: 0 is the latest
    weeks_ago: Floats  # (n,) from the basket to the cut

    @property
    def shape(self) -> tuple[int, int]:
        """Users and items."""
        return len(self.user_ids), len(self.item_ids)

    def matrix(self, weights: Floats) -> Sparse:
        """(n_users, n_items) sums of the entries' weights; explicit zeros are dropped."""
        from scipy.sparse import csr_array

        found = csr_array((weights.astype(np.float32), (self.users, self.items)), shape=self.shape)
        found.eliminate_zeros()
        return found

    @cached_property
    def binary(self) -> Sparse:
        """1 where the user ever bought the item."""
        found = self.matrix(np.ones(len(self.users), np.float32))
        found.data[:] = 1.0
        return found

    def counts(self, half_life_weeks: float) -> Sparse:
        """Baskets, each weighing half as much after every half-life; infinity leaves them whole."""
        return self.matrix(np.exp2(-self.weeks_ago / np.float32(half_life_weeks)))

    def log_counts(self, half_life_weeks: float) -> Sparse:
        """log(1 + decayed count): the tenth purchase says less than the second."""
        found = self.counts(half_life_weeks)
        np.log1p(found.data, out=found.data)
        return found

    def popularity(self, weeks: float) -> Floats:
        """(n_items,) baskets of the last `weeks`, everybody's."""
        recent = self.items[self.weeks_ago <= weeks]
        return np.bincount(recent, minlength=self.shape[1]).astype(np.float32)

    def rows_of(self, user_ids: list[str]) -> Rows:
        """Row of each user; ValueError for one who bought nothing before the cut."""
        rows = positions_of(self.user_ids, user_ids)
        if len(strange := np.flatnonzero(rows < 0)):
            raise ValueError(f"User {user_ids[strange[0]]!r} bought nothing before the cut; leave them out")
        return rows


def purchases_before(warehouse: Warehouse, now: datetime, item_ids: NDArray[np.str_]) -> Purchases:
    """All that is known at `now`, restricted to the catalogue's items (sorted ids)."""
    entries = warehouse.frame(
        "WITH bought AS (SELECT user_id, basket_id, item_id, max(event_timestamp) OVER basket AS latest"
        " FROM transactions WHERE quantity > 0 AND event_timestamp <= $1"
        " WINDOW basket AS (PARTITION BY user_id, basket_id)),"
        " numbered AS (SELECT *, dense_rank() OVER (PARTITION BY user_id ORDER BY latest DESC, basket_id) - 1"
        " AS since FROM bought)"
        " SELECT DISTINCT user_id, item_id, since, epoch($1::TIMESTAMPTZ) - epoch(latest) AS seconds"
        " FROM numbered ORDER BY user_id, since, item_id",
        [now],
    )
    items = positions_of(item_ids, entries["item_id"].to_numpy(dtype=np.str_))
    held = items >= 0
    user_ids, users = np.unique(entries["user_id"].to_numpy(dtype=np.str_), return_inverse=True)
    return Purchases(
        user_ids=user_ids,
        item_ids=item_ids,
        users=users[held].astype(np.int32),
        items=items[held],
        baskets_since=entries["since"].to_numpy(dtype=np.int32)[held],
        weeks_ago=(entries["seconds"].to_numpy()[held] / SECONDS_PER_WEEK).astype(np.float32),
    )
