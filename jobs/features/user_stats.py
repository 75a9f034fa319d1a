"""user_stats: one row per shopper and week end, from the week of the first purchase."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

from feature_repo.shop_calendar import ShopCalendar
from jobs.features.windows import WEEKS, distinct_changes, rolling_sums, running

SPANS = ("7d", "28d", "91d")
DISTINCT = {"baskets": "basket_id", "items": "item_id"}  # counted once a window; a basket may span a week end
LIFE = ("first", "last")
DAY = 86_400.0
MICROSECONDS = 1e6


def slot_of(slots: Sequence[str]) -> Column:
    """Place of a line's department among the slots, the last one for all others."""
    places = [F.when(F.col("category_1") == name, F.lit(place)) for place, name in enumerate(slots)]
    return F.coalesce(*places, F.lit(len(slots) - 1))


def weekly_sums(bought: DataFrame, slots: Sequence[str]) -> DataFrame:
    """What each shopper did in each week: (user_id, week), money, times, lines per department slot."""
    placed = bought.withColumn("slot", slot_of(slots))
    return placed.groupBy("user_id", "week").agg(
        F.sum("price_paid").alias("spend"),
        F.sum("discount").alias("discount"),
        F.min("event_timestamp").alias("first"),
        F.max("event_timestamp").alias("last"),
        *[
            F.count(F.when(F.col("slot") == place, F.lit(1))).alias(f"lines_{place}")
            for place in range(len(slots))
        ],
    )


def days_between(later: Column, earlier: Column) -> Column:
    """Days between two instants, to the microsecond."""
    return (F.unix_micros(later) - F.unix_micros(earlier)) / F.lit(MICROSECONDS * DAY)


def department_shares(lines: Sequence[Column], width: int) -> Column:
    """(width,) shares of the lines per slot; zeros where nothing was bought."""
    total = sum(lines[1:], start=lines[0])
    shares = [F.when(total > 0, count / total).otherwise(0.0).cast("float") for count in lines]
    return F.array(*shares, *[F.lit(0.0).cast("float")] * (width - len(lines)))


def top_department(lines: Sequence[Column], slots: Sequence[str]) -> Column:
    """Name of the department with most lines, ties by name, '' where nothing was bought."""
    most = F.greatest(*lines) if len(lines) > 1 else lines[0]
    by_name = sorted(range(len(slots)), key=lambda place: slots[place])
    named = [F.when((lines[place] == most) & (most > 0), F.lit(slots[place])) for place in by_name]
    return F.coalesce(*named, F.lit(""))


def user_stats(bought: DataFrame, ends: DataFrame, slots: Sequence[str], width: int) -> DataFrame:
    """Features of shoppers as of each week end.

    `bought` are purchases with `week` and `category_1`, `ends` the weeks' ends, `slots` the department
    of each slot of the shares, which are `width` long.
    """
    last_week = ends.agg(F.max("week")).first()[0]
    weekly = weekly_sums(bought, slots)
    firsts = weekly.groupBy("user_id").agg(F.min("week").alias("since"), F.min("first").alias("first_ever"))
    grid = firsts.join(ends, F.col("week") >= F.col("since"))
    dense = grid.join(weekly, ["user_id", "week"], "left")
    for what, thing in DISTINCT.items():
        occurrences = bought.select("user_id", thing, "week").distinct()
        names = {span: f"user_{what}_{span}" for span in SPANS}
        changes = distinct_changes(occurrences, "user_id", thing, names, last_week)
        dense = dense.join(changes, ["user_id", "week"], "left")
    so_far = Window.partitionBy("user_id").orderBy("week").rowsBetween(Window.unboundedPreceding, 0)
    lines = {f"lines_{place}": f"lines_{place}" for place in range(len(slots))}
    rolled = dense.select(
        "user_id",
        "event_timestamp",
        *rolling_sums("user_id", {"user_spend": "spend"}, SPANS),
        *[
            running(f"user_{what}_{span}", "user_id").alias(f"user_{what}_{span}")
            for what in DISTINCT
            for span in SPANS
        ],
        *rolling_sums("user_id", {"discounted": "discount", **lines}, ["91d"]),
        days_between(F.col("event_timestamp"), F.max("last").over(so_far)).alias("user_recency_days"),
        days_between(F.col("event_timestamp"), F.col("first_ever")).alias("user_tenure_days"),
    )
    return described(rolled, slots, width)


def user_snapshot(
    bought: DataFrame, lives: DataFrame, calendar: ShopCalendar, week: int, slots: Sequence[str], width: int
) -> DataFrame:
    """The same features as of the end of one `week`, without the weeks before it.

    `bought` are purchases of the longest span, with `category_1`; `lives` has the `first` and the `last`
    purchase ever of each user_id.
    """
    end, at = F.lit(calendar.end(week)), F.col("event_timestamp")
    span = {name: at >= F.lit(calendar.start(week + 1 - WEEKS[name])) for name in SPANS}
    of_user = bought.withColumn("slot", slot_of(slots))
    sums = of_user.groupBy("user_id").agg(
        *[F.sum(F.when(span[s], F.col("price_paid"))).alias(f"user_spend_{s}") for s in SPANS],
        F.sum(F.when(span["91d"], F.col("discount"))).alias("discounted_91d"),
        *[
            F.count(F.when(span["91d"] & (F.col("slot") == place), F.lit(1))).alias(f"lines_{place}_91d")
            for place in range(len(slots))
        ],
    )
    rolled = lives.join(sums, "user_id", "left")
    for what, thing in DISTINCT.items():  # when a thing was bought last says which spans it counts in
        latest = of_user.groupBy("user_id", thing).agg(F.max("event_timestamp").alias("event_timestamp"))
        counts = [F.count(F.when(span[s], F.lit(1))).alias(f"user_{what}_{s}") for s in SPANS]
        rolled = rolled.join(latest.groupBy("user_id").agg(*counts), "user_id", "left")
    known = rolled.select(
        "user_id",
        end.alias("event_timestamp"),
        days_between(end, F.col("last")).alias("user_recency_days"),
        days_between(end, F.col("first")).alias("user_tenure_days"),
        *[
            F.coalesce(F.col(name), F.lit(0)).alias(name)
            for name in rolled.columns
            if name not in ("user_id", *LIFE)
        ],
    )
    return described(known, slots, width)


def described(rolled: DataFrame, slots: Sequence[str], width: int) -> DataFrame:
    """Features from sums over the spans."""
    counts = [F.col(f"lines_{place}_91d") for place in range(len(slots))]
    shelf_price = F.col("discounted_91d") + F.col("user_spend_91d")
    return rolled.select(
        "user_id",
        "event_timestamp",
        *[f"user_{what}_{span}" for what in ("spend", "baskets", "items") for span in SPANS],
        F.when(shelf_price > 0, F.col("discounted_91d") / shelf_price)
        .otherwise(0.0)
        .alias("user_discount_share_91d"),
        "user_recency_days",
        "user_tenure_days",
        department_shares(counts, width).alias("user_department_shares_91d"),
        top_department(counts, slots).alias("user_top_department"),
    )
