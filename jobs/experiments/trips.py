"""Recorded trips to play again: what each shopper bought in one go, in the order of time.

trips = recorded_trips(transactions, after=as_of)
trips[0].items["819063"]        # what was paid for it
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from feature_repo.settings import all_parts
from feature_repo.stores.packed.instants import time_of


class NoTripsError(ValueError):
    """There is nothing to play; the message says where it was looked for."""


@dataclass(frozen=True)
class Trip:
    """One basket: who, when, and what was paid for each item."""

    user_id: str
    basket_id: str
    paid_at: datetime
    items: Mapping[str, float]

    def event_id(self, item_id: str, kind: str) -> str:
        """Of one event of it: the same each time that it is played."""
        return f"{self.basket_id}/{item_id}/{kind}"


def recorded_trips(transactions: Path, *, after: datetime, most: int | None = None) -> list[Trip]:
    """Trips paid at or after an instant, the first `most` of them; returns and refunds are no purchases.

    NoTripsError where there are none.
    """
    import duckdb

    if not transactions.is_file():
        raise NoTripsError(f"No transactions in {transactions}; run `endcap ingest`")
    rows = duckdb.execute(
        "with lines as (select user_id, basket_id, item_id, sum(price_paid) as paid,"
        " min(event_timestamp) as paid_at from read_parquet($1)"
        " where quantity > 0 and event_timestamp >= $2 group by all)"
        " select user_id, basket_id, epoch_us(min(paid_at)) as paid_us, list(item_id order by item_id),"
        " list(paid order by item_id) from lines group by user_id, basket_id"
        " order by paid_us, user_id, basket_id limit $3",
        [all_parts(transactions), after, most if most is not None else 2**62],
    ).fetchall()
    if not rows:
        raise NoTripsError(
            f"{transactions} has no trips from {after.isoformat()} on; choose an earlier release"
        )
    return [
        Trip(user_id, basket_id, time_of(paid_us), dict(zip(items, paid, strict=True)))
        for user_id, basket_id, paid_us, items, paid in rows
    ]
