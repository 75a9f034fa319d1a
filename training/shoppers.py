"""Shoppers of point-in-time rows, as `bentos.shopper` makes them from online ones."""

from datetime import datetime

import numpy as np

from bentos.shopper import Shopper, past_purchases
from feature_repo.pair_features import Positions
from training.point_in_time import UserRows


def shopper_at(users: UserRows, row: int, now: datetime, place: Positions | None = None) -> Shopper:
    """The shopper of one point-in-time row, as `bentos.shopper.shopper` makes one from an online row.

    `place` maps the world's positions to the release's (-1: not in its catalogue); None keeps them.
    """
    span = slice(int(users.offsets[row]), int(users.offsets[row + 1]))
    positions = users.positions[span]
    if place is not None:
        positions = np.where(positions >= 0, place[positions], -1)
    tenure = float(users.numbers[row, users.names.index("user_tenure_days")])
    return Shopper(
        past=past_purchases(
            positions,
            users.counts[span],
            users.decayed[span],
            users.first_times[span],
            users.last_times[span],
            users.last_baskets[span],
            now,
        ),
        scalars=users.numbers[row],
        department_shares=users.department_shares[row],
        top_department=str(users.top_departments[row]),
        tenure_days=0.0 if np.isnan(tenure) else tenure,
    )
