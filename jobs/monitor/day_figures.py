"""What the rows of each local day are like: counts, sums, shares, hours, stores.

In: the transactions and the items of the installation. Out: figures by local day, of days that have rows.

    figures = day_figures(settings, date(2017, 10, 9), date(2017, 12, 4))
    figures[date(2017, 12, 4)].values["rows"]

A day costs a read of the trailing weeks, and of two columns of all earlier rows for items never sold before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.tables import TRANSACTIONS

NULL = "null_"  # before a column's name: share of its values that are missing
FIGURES = {
    "rows": "count(*)",
    "baskets": "count(DISTINCT basket_id)",
    "basket_lines": "count(*) / nullif(count(DISTINCT basket_id), 0)",
    "users": "count(DISTINCT user_id)",
    "items": "count(DISTINCT item_id)",
    "revenue": "coalesce(sum(price_paid) FILTER (quantity > 0), 0)",
    "line_price": "avg(price_paid) FILTER (quantity > 0)",
    "return_share": "avg((quantity <= 0)::INT)",
    "unknown_item_share": "1 - avg((item_id IN (SELECT item_id FROM known))::INT)",
    "repeated_key_share": f"1 - count(DISTINCT ({', '.join(TRANSACTIONS.key)})) / count(*)",
    "new_item_share": "avg((item_id IN (SELECT item_id FROM first WHERE first.day = rows.day))::INT)",
    **{f"{NULL}{name}": f"avg(({name} IS NULL)::INT)" for name in TRANSACTIONS.column_names},
}


@dataclass(frozen=True)
class DayFigures:
    """One local day: figures by name, baskets by local hour (24,), and by store."""

    values: Mapping[str, float]
    hours: tuple[int, ...]
    stores: Mapping[str, int]


def day_figures(settings: Settings, first: date, last: date) -> dict[date, DayFigures]:
    """Figures of each day from `first` to `last` that has rows, in order."""
    import duckdb

    calendar = ShopCalendar.load(settings.shop_calendar)
    since, until = calendar.day_start(first), calendar.day_end(last)
    with duckdb.connect(config={"threads": str(settings.threads), "memory_limit": "2GB"}) as con:
        con.execute("SET TimeZone = 'UTC'")
        _make_views(con, settings, calendar.timezone, since, until)
        shares = f"SELECT day, {', '.join(f'{sql} AS {name}' for name, sql in FIGURES.items())}"
        values = _by_day(con, f"{shares} FROM rows GROUP BY day")
        largest = _by_day(con, _LARGEST)
        hours = con.execute(_COUNTS.format("hour(local)")).fetchall()
        stores = con.execute(_COUNTS.format("store_id")).fetchall()
    return {
        day: DayFigures(
            {**values[day], **largest[day]},
            tuple(dict(_of(hours, day)).get(hour, 0) for hour in range(24)),
            {str(store): count for store, count in _of(stores, day) if store is not None},
        )
        for day in sorted(values)
    }


_LARGEST = (
    "SELECT day, max(n) / sum(n) AS largest_user_share"
    " FROM (SELECT day, user_id, count(*) AS n FROM rows GROUP BY ALL) GROUP BY day"
)
_COUNTS = "SELECT day, {} AS name, count(DISTINCT basket_id) AS n FROM rows GROUP BY ALL ORDER BY ALL"


def _make_views(con: Any, settings: Settings, timezone: str, since: datetime, until: datetime) -> None:
    """`rows` of the days with their local time, the `known` items, and the `first` day of each item."""
    transactions = con.from_parquet(settings.table_parts("transactions"))
    con.register("transactions", transactions)
    con.register("described", con.from_parquet(settings.table_parts("items")))
    con.execute(
        "CREATE TEMP TABLE known AS SELECT item_id FROM described WHERE title NOT LIKE 'Unknown product%'"
    )
    con.execute(
        "CREATE TEMP TABLE rows AS SELECT *, local::DATE AS day FROM (SELECT *, timezone(?, event_timestamp)"
        " AS local FROM transactions WHERE event_timestamp >= ? AND event_timestamp < ?)",
        [timezone, since, until],
    )
    con.execute(
        "CREATE TEMP TABLE first AS SELECT item_id, timezone(?, min(event_timestamp))::DATE AS day"
        " FROM transactions WHERE event_timestamp < ? GROUP BY item_id",
        [timezone, until],
    )


def _by_day(con: Any, query: str) -> dict[date, dict[str, float]]:
    found = con.execute(query)
    names = [column[0] for column in found.description][1:]
    return {
        day: {name: float("nan") if v is None else float(v) for name, v in zip(names, values, strict=True)}
        for day, *values in found.fetchall()
    }


def _of(rows: list[Any], day: date) -> list[tuple[Any, int]]:
    return [(name, count) for each, name, count in rows if each == day]
