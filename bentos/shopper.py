"""Who asks: a user's feature row, aligned with a release's catalogue as of one instant.

In: a row by feature name, read online or point-in-time. Out: arrays that candidates, towers and
scoring share. The same code stands in training and in the service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bentos.item_positions import positions_in
from bentos.release import Release
from feature_repo.compiled import compiled
from feature_repo.pair_features import Floats, PastPurchases, Positions
from feature_repo.transforms import HALF_LIFE_DAYS

SECONDS_PER_DAY = 86_400.0
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Shopper:
    """What is known of one user: purchases in the catalogue, and the plain numbers of their row."""

    past: PastPurchases
    scalars: Floats  # (n_user_features,) in the order of manifest["features"]["user"], NaN where unknown
    department_shares: Floats  # (n_department_slots,)
    top_department: str
    tenure_days: float
    interest: PastPurchases | None = None  # the past and what the shopper does now; None: the past alone

    @property
    def known(self) -> bool:
        """False for a user of whom nothing is stored: they are served top sellers."""
        return bool(self.past.items.size) or not np.isnan(self.scalars).all()

    @property
    def heard(self) -> "Shopper":
        """The shopper as the sources hear them: with their interest for a past."""
        return self if self.interest is None else replace(self, past=self.interest, interest=None)


def decay_since(days: Floats) -> Floats:
    """Weight left of a purchase after `days`: halves every HALF_LIFE_DAYS."""
    halvings = -np.asarray(days, dtype=np.float32) / np.float32(HALF_LIFE_DAYS)
    return np.asarray(np.exp2(halvings), dtype=np.float32)


def past_purchases(
    positions: Positions,
    counts: ArrayLike,
    decayed: ArrayLike,
    first_times: ArrayLike,
    last_times: ArrayLike,
    last_baskets: ArrayLike,
    now: datetime,
) -> PastPurchases:
    """History slots as of `now`, in catalogue order; slots outside the catalogue (-1) are left out.

    IndexError where one column has not as many slots as the others.
    """
    held = np.flatnonzero(positions >= 0)
    items = positions[held].astype(np.int32)
    order = np.argsort(items)
    numbers, times = partial(np.array, dtype=np.float32), partial(np.array, dtype=np.float64)
    some = of_slots(
        held[order],
        len(positions),
        numbers(counts),
        numbers(decayed),
        times(first_times),
        times(last_times),
        times(last_baskets),
        now.timestamp(),
    )
    return PastPurchases(
        items=items[order],
        counts=some[0],
        decayed=some[1] * decay_since(some[2]),
        days_since=some[2],
        days_since_first=some[3],
        baskets_since=some[4],
    )


@compiled
def of_slots(
    held: NDArray[np.intp],
    n_slots: int,
    counts: Floats,
    decayed: Floats,
    first_times: Doubles,
    last_times: Doubles,
    last_baskets: Doubles,
    now_s: float,
) -> Floats:
    """Counts, decayed counts, days since the last and the first purchase and baskets since: (5, n_held).

    `held` are some of `n_slots` slots; times are in seconds, and what lies after now is 0 days ago.
    """
    for column in (first_times, last_times, last_baskets):
        if len(column) != n_slots or len(counts) != n_slots or len(decayed) != n_slots:
            raise IndexError("a history whose columns are of different lengths")
    found, newest = np.empty((5, len(held)), np.float32), 0.0
    for slot in range(len(last_baskets)):
        newest = max(newest, last_baskets[slot])
    for place in range(len(held)):
        slot = held[place]
        found[0, place], found[1, place] = counts[slot], decayed[slot]
        found[2, place] = max(now_s - last_times[slot], 0.0) / SECONDS_PER_DAY
        found[3, place] = max(now_s - first_times[slot], 0.0) / SECONDS_PER_DAY
        found[4, place] = newest - last_baskets[slot]
    return found


NOBODY = PastPurchases(
    items=np.empty(0, np.int32),
    counts=np.empty(0, np.float32),
    decayed=np.empty(0, np.float32),
    days_since=np.empty(0, np.float32),
    days_since_first=np.empty(0, np.float32),
    baskets_since=np.empty(0, np.float32),
)


def scalar(value: object) -> float:
    """A feature value as a number: NaN for a missing one."""
    return float(value) if isinstance(value, (int, float, np.integer, np.floating)) else float("nan")


def shopper(row: Mapping[str, Any] | None, release: Release, now: datetime) -> Shopper:
    """Align one feature row with the release; `None` is a user of whom nothing is known."""
    names = release.manifest["features"]["user"]
    slots = len(release.arrays["department_slots"])
    row = row or {}
    past = NOBODY
    if row.get("history_items") is not None and len(row["history_items"]):
        past = past_purchases(
            positions_in(release, row["history_items"]),
            row["history_counts"],
            row["history_decayed"],
            row["history_first_times"],
            row["history_last_times"],
            row["history_last_baskets"],
            now,
        )
    shares = row.get("user_department_shares_91d")
    tenure = scalar(row.get("user_tenure_days"))
    return Shopper(
        past=past,
        scalars=np.array([scalar(row.get(name)) for name in names], dtype=np.float32),
        department_shares=np.zeros(slots, np.float32) if shares is None else np.asarray(shares, np.float32),
        top_department=str(row.get("user_top_department") or ""),
        tenure_days=0.0 if np.isnan(tenure) else tenure,
    )
