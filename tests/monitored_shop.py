"""A made-up shop of ten weeks, as steady as a shop is: what a monitor sees every day, and what breaks it."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from table_files import first_part

from feature_repo.shop_calendar import ShopCalendar
from feature_repo.tables import TRANSACTIONS

CALENDAR = ShopCalendar("America/New_York", date(2024, 1, 1))
DAY = date(2024, 3, 6)  # a Wednesday
DAYS = (DAY - CALENDAR.first_day).days + 1
BUSY = (1.0, 0.9, 1.0, 1.0, 1.2, 1.5, 1.3)  # by weekday
BASKETS, LINES, ITEMS, SHOPPERS, STORES = 180, 4, 300, 400, 6
HOURS = np.array([0, 0, 0, 0, 0, 0, 1, 2, 4, 6, 8, 8, 8, 7, 7, 8, 9, 11, 9, 6, 4, 2, 1, 0], float)


def lines():
    """All lines as a frame with local time; the last day is DAY."""
    rng = np.random.default_rng(3)
    days = [CALENDAR.first_day + timedelta(days=n) for n in range(DAYS)]
    counts = [int(rng.poisson(BASKETS * BUSY[day.weekday()])) for day in days]
    n = sum(counts)
    paid_at = pd.to_datetime(np.repeat(days, counts)) + pd.to_timedelta(
        rng.choice(24, n, p=HOURS / HOURS.sum()) * 60 + rng.integers(0, 60, n), "min"
    )
    baskets = pd.DataFrame(
        {
            "user_id": [f"u{each}" for each in rng.integers(SHOPPERS, size=n)],
            "basket_id": [f"b{each}" for each in range(n)],
            "store_id": [f"s{each}" for each in rng.integers(STORES, size=n)],
            "paid_at": paid_at,
        }
    )
    found = baskets.loc[np.repeat(np.arange(n), LINES)].reset_index(drop=True)
    items = np.concatenate([rng.choice(ITEMS, LINES, replace=False) for _ in range(n)])
    quantity = np.where(rng.random(len(found)) < 0.01, -1.0, 1.0)
    return found.assign(
        item_id=[f"i{each}" for each in items],
        quantity=quantity,
        price_paid=np.round(rng.gamma(4, 0.75, len(found)), 2) * (quantity > 0),
        discount=0.0,
    )


def write(settings, found):
    """Tables of transactions and items, and the calendar."""
    zone = ZoneInfo(CALENDAR.timezone)
    found = found.assign(event_timestamp=found["paid_at"].dt.tz_localize(zone).dt.tz_convert("UTC"))
    names = [column.name for column in TRANSACTIONS.columns]
    table = pa.Table.from_pandas(found[names], preserve_index=False)
    pq.write_table(table, first_part(settings, "transactions"), coerce_timestamps="us")
    items = pa.table({"item_id": [f"i{n}" for n in range(ITEMS)], "title": ["soup"] * ITEMS})
    pq.write_table(items, first_part(settings, "items"))
    CALENDAR.save(settings.shop_calendar)


def of_day(found, day=DAY):
    """Whether each line is of one day."""
    return found["paid_at"].dt.date == day
