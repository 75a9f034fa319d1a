"""Transforms that the offline job and the online push share, so that their rows are the same thing.

Pure NumPy: a Spark executor has it, and so has the service.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Slots kept of a shopper's history. Half the households of a real grocer have bought more than 256 items
# within a year, one 1,919: a shorter history would recommend as new what a shopper has long known.
HISTORY_WIDTH = 2_048
HALF_LIFE_DAYS = 91  # a purchase weighs half after a quarter: 13 weeks (measured best of 13 and 26)
SECONDS_PER_DAY = 86_400

Times = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class History:
    """A shopper's kept purchases, best first by decayed count as of the last basket; no padding.

    `decayed` is each item's decayed count at the item's own last time; times are epoch seconds. The
    shopper's baskets are numbered from 1, each one more than the latest that the history still holds.
    """

    items: NDArray[Any]  # (n,) any sortable type
    counts: Times  # (n,) baskets that held the item
    decayed: Floats  # (n,)
    first_times: Times  # (n,) of the first basket that held the item
    last_times: Times  # (n,) of the last one
    last_baskets: Times  # (n,) the last one's number


def empty_history(item_type: Any = np.str_) -> History:
    """The history of a shopper who has bought nothing yet."""
    return History(
        items=np.empty(0, dtype=item_type),
        counts=np.empty(0, dtype=np.int64),
        decayed=np.empty(0, dtype=np.float32),
        first_times=np.empty(0, dtype=np.int64),
        last_times=np.empty(0, dtype=np.int64),
        last_baskets=np.empty(0, dtype=np.int64),
    )


def decay(decayed: Floats, seconds: Times) -> NDArray[np.float64]:
    """Decayed counts after some more seconds: half after HALF_LIFE_DAYS."""
    return decayed.astype(np.float64) * np.exp2(-seconds / (SECONDS_PER_DAY * HALF_LIFE_DAYS))


def update_history(
    history: History, basket: NDArray[Any], timestamp: int, *, width: int = HISTORY_WIDTH
) -> History:
    """The history after one more basket at `timestamp` (epoch seconds, not before the last one).

    Items of the basket count once each. Counts round to float32 at every basket, so that a row that was
    read from a store continues exactly as one that was never stored. Beyond `width` items the one with
    the least decayed count leaves; ties go by item, ascending.
    """
    bought = np.unique(basket)
    again = np.isin(history.items, bought, assume_unique=True)
    new = bought[~np.isin(bought, history.items, assume_unique=True)]
    grown = (decay(history.decayed[again], timestamp - history.last_times[again]) + 1.0).astype(np.float32)
    old_decayed = history.decayed.copy()
    old_decayed[again] = grown
    items = np.concatenate([history.items, new])
    counts = np.concatenate([history.counts + again, np.ones(len(new), dtype=np.int64)])
    decayed = np.concatenate([old_decayed, np.ones(len(new), dtype=np.float32)])
    first_times = np.concatenate([history.first_times, np.full(len(new), timestamp, dtype=np.int64)])
    last_times = np.concatenate([np.where(again, timestamp, history.last_times), first_times[len(again) :]])
    number = int(history.last_baskets.max(initial=0)) + 1
    last_baskets = np.concatenate(
        [np.where(again, number, history.last_baskets), np.full(len(new), number, dtype=np.int64)]
    )
    order = np.lexsort((items, -decay(decayed, timestamp - last_times)))[:width]
    columns = (items, counts, decayed, first_times, last_times, last_baskets)
    return History(*(column[order] for column in columns))
