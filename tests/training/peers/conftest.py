"""Purchases that tests of the peers share: a small random shop, and one with a known answer."""

import numpy as np
import pytest

from training.peers.purchases import Purchases

CLUB = 10  # users, and items, of each of the two clubs of the checkerboard


@pytest.fixture
def purchases():
    """12 users, 15 items; user u has 3 + u baskets in as many weeks, of up to four items each."""
    rng = np.random.default_rng(1)
    entries = [
        (user, item, since, 1.5 + since)
        for user in range(12)
        for since in range(3 + user)
        for item in rng.choice(15, rng.integers(1, 5), replace=False)
    ]
    return made_of(entries, n_users=12, n_items=15)


@pytest.fixture
def checkerboard():
    """Two clubs: a user buys all of their own club's items, twice over, but the one with their own number."""
    entries = [
        (user, item, since, 1.0 + since)
        for user in range(2 * CLUB)
        for item in range(2 * CLUB)
        for since in range(2)
        if user // CLUB == item // CLUB and user != item
    ]
    return made_of(entries, n_users=2 * CLUB, n_items=2 * CLUB)


def made_of(entries, *, n_users, n_items):
    """Purchases of (user, item, baskets since, weeks ago)."""
    users, items, since, weeks = map(np.array, zip(*entries, strict=True))
    return Purchases(
        user_ids=np.array([f"u{user:02d}" for user in range(n_users)]),
        item_ids=np.array([f"i{item:02d}" for item in range(n_items)]),
        users=users.astype(np.int32),
        items=items.astype(np.int32),
        baskets_since=since.astype(np.int32),
        weeks_ago=weeks.astype(np.float32),
    )
