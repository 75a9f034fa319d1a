"""All feature tables of a shop, whole or of one day: the tables of the contract in, frames out.

Nothing is read or written here, and only pyspark is needed: the same frames are made on a laptop, a cluster
and, for a day, by another engine behind PySpark's API. So pyspark is imported when a function is called.
"""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from feature_repo.shop_calendar import ShopCalendar

DEPARTMENT_SLOTS = 32
OTHER = "(other)"
WEEKS, QUARTER = 27, 13  # the longest window of items is 26 weeks, that of users 13
PROMOTION_SCHEMA = (
    "item_id string, kind string, starts_at timestamp, ends_at timestamp, announced_at timestamp,"
    " store_share double"
)


class NoPurchasesError(ValueError):
    """Transactions in which nobody has bought anything."""


def department_slots(known: list[str], names: list[str], width: int = DEPARTMENT_SLOTS) -> list[str]:
    """Departments by slot: known ones keep theirs, new ones follow by name, the rest are "(other)"."""
    kept = [name for name in known if name != OTHER]
    slots = [*kept, *sorted({*names} - {*kept, OTHER})]
    fits = len(slots) <= width and OTHER not in (*known, *names)
    return slots if fits else [*slots[: width - 1], OTHER]


def departments(items: Any) -> list[str]:
    """Names of the departments that items are of."""
    return [row[0] for row in items.select("category_1").distinct().collect()]


def whole_frames(
    spark: Any,
    items: Any,
    transactions: Any,
    promotions: Callable[[], Any],
    slots: Callable[[], list[str]],
    calendar: ShopCalendar,
) -> dict[str, Callable[[], Any]]:
    """Each feature table's name with the function that describes its rows, of all weeks.

    `promotions` and `slots` are asked for when there are purchases; NoPurchasesError where there are none.
    """
    from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

    from jobs.features.item_coming_promotions import item_coming_promotions
    from jobs.features.item_stats import item_stats
    from jobs.features.purchases import purchases, week_ends
    from jobs.features.user_history import user_history
    from jobs.features.user_stats import user_stats

    bought = purchases(transactions, calendar)
    bought = bought.join(F.broadcast(items.select("item_id", "category_1")), "item_id").cache()
    last_week = bought.agg(F.max("week")).first()[0]
    if last_week is None:
        raise NoPurchasesError("No purchases")
    ends = week_ends(spark, calendar, last_week).cache()
    names = slots()
    return {
        "user_stats": lambda: user_stats(bought, ends, names, DEPARTMENT_SLOTS),
        "item_stats": lambda: item_stats(bought, promotions(), ends, calendar),
        "user_history": lambda: user_history(bought),
        "item_coming_promotions": lambda: item_coming_promotions(promotions(), ends, calendar),
    }


def day_frames(
    items: Any, transactions: Any, promotions: Any, slots: list[str], calendar: ShopCalendar, day: date
) -> Mapping[str, Any]:
    """Frames by feature table: as of the end of a local day, and of the week that begins with it.

    Histories are not among them: they go on from the rows before.
    """
    from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

    from jobs.features.item_coming_promotions import coming_snapshot
    from jobs.features.item_stats import item_snapshot
    from jobs.features.user_stats import user_snapshot

    weeks, end = calendar.ending_with(day, WEEKS), F.lit(calendar.day_end(day))
    lines = transactions.where(F.col("event_timestamp") < end)
    bought = lines.where(F.col("quantity") > 0)
    lately = bought.where(F.col("event_timestamp") >= F.lit(weeks.start(1)))
    of_users = lately.where(F.col("event_timestamp") >= F.lit(weeks.start(WEEKS - QUARTER)))
    of_users = of_users.join(items.select("item_id", "category_1"), "item_id")
    users, sold = lives(bought, "user_id"), lives(bought, "item_id")
    found = {
        "user_stats": user_snapshot(of_users, users, weeks, WEEKS, slots, DEPARTMENT_SLOTS),
        "item_stats": item_snapshot(lately, sold.drop("last"), promotions, weeks, WEEKS),
    }
    begin = calendar.day_start(day)
    week = calendar.week_at(begin)
    if calendar.start(week) == begin:
        found["item_coming_promotions"] = coming_snapshot(promotions, calendar, week)
    return found


def lives(bought: Any, key: str) -> Any:
    """The times of the first and the last purchase of each user or item."""
    from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

    at = F.col("event_timestamp")
    return bought.groupBy(key).agg(F.min(at).alias("first"), F.max(at).alias("last"))
