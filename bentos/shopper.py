"""Who asks: a user's feature row, aligned with a release's catalogue as of one instant.

In: a row by feature name, read online or point-in-time. Out: arrays that candidates, towers and
scoring share. The same code stands in training and in the service.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from bentos.item_positions import positions_in
from bentos.release import Release
from feature_repo.pair_features import Floats, PastPurchases
from feature_repo.transforms import HALF_LIFE_DAYS

SECONDS_PER_DAY = 86_400.0


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


def days_until(now: datetime, times: np.ndarray[Any, Any]) -> Floats:
    """Days from epoch seconds to `now`, 0 for those that lie after it."""
    seconds = np.maximum(now.timestamp() - times.astype(np.float64), 0.0)
    return np.asarray(seconds / SECONDS_PER_DAY, dtype=np.float32)


def past_purchases(
    positions: np.ndarray[Any, Any],
    counts: np.ndarray[Any, Any],
    decayed: np.ndarray[Any, Any],
    first_times: np.ndarray[Any, Any],
    last_times: np.ndarray[Any, Any],
    last_baskets: np.ndarray[Any, Any],
    now: datetime,
) -> PastPurchases:
    """History slots as of `now`, in catalogue order; slots outside the catalogue (-1) are left out."""
    held = np.flatnonzero(positions >= 0)
    held = held[np.argsort(positions[held], kind="stable")]
    days = days_until(now, last_times[held])
    return PastPurchases(
        items=positions[held].astype(np.int32),
        counts=counts[held].astype(np.float32),
        decayed=(decayed[held].astype(np.float32) * decay_since(days)),
        days_since=days,
        days_since_first=days_until(now, first_times[held]),
        baskets_since=(last_baskets.max(initial=0) - last_baskets[held]).astype(np.float32),
    )


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
            np.asarray(row["history_counts"]),
            np.asarray(row["history_decayed"]),
            np.asarray(row["history_first_times"]),
            np.asarray(row["history_last_times"]),
            np.asarray(row["history_last_baskets"]),
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
