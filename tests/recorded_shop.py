"""A made-up recording: a few weeks of baskets with all that may be odd about them, as the contract has it."""

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from experiment_log import SCHEMAS

from feature_repo.shop_calendar import ShopCalendar

FIRST_DAY = date(2024, 1, 1)
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
CALENDAR = ShopCalendar("UTC", FIRST_DAY)


def line(user, basket, item, minutes, quantity=1.0, paid=2.5):
    """A row of transactions, so many minutes after the beginning."""
    where = {"user_id": user, "basket_id": basket, "item_id": item, "store_id": "s", "discount": 0.0}
    when = BEGIN + timedelta(minutes=minutes)
    return {**where, "event_timestamp": when, "quantity": quantity, "price_paid": paid}


def random_lines(seed, n_baskets=60, n_users=8, days=20):
    """Baskets of up to six lines, in no order: items twice, some given back, some baskets at one time."""
    rng = np.random.default_rng(seed)
    lines, minutes = [], 0
    for basket in range(n_baskets):
        minutes = minutes if rng.random() < 0.1 else int(rng.integers(days * 1440))
        user = f"u{rng.integers(n_users)}"
        for _ in range(int(rng.integers(1, 7))):
            quantity = float(rng.choice([1, 2, 0, -1], p=[0.6, 0.2, 0.1, 0.1]))
            paid = float(rng.integers(0, 40)) / 8
            lines.append(line(user, f"b{basket}", f"i{rng.integers(9)}", minutes, quantity, paid))
    return [lines[n] for n in rng.permutation(len(lines))]


def write(settings, lines):
    """Transactions and calendar of a state folder."""
    path = settings.table("transactions")
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(lines, pa.schema(SCHEMAS["transactions"])), path)
    CALENDAR.save(settings.shop_calendar)


def baskets(lines, after):
    """(paid at, user, basket) of what was bought at or after an instant, in order, with sums by item."""
    found = defaultdict(lambda: defaultdict(float))
    for each in lines:
        if each["quantity"] > 0 and each["event_timestamp"] >= after:
            found[each["event_timestamp"], each["user_id"], each["basket_id"]][each["item_id"]] += each[
                "price_paid"
            ]
    return [(key, dict(found[key])) for key in sorted(found)]
