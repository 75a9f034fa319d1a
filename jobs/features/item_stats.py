"""item_stats: one row per item and week end while the item was bought within the last 26 weeks."""

from datetime import datetime

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

from feature_repo.shop_calendar import ShopCalendar
from jobs.features.purchases import week_of
from jobs.features.user_stats import days_between
from jobs.features.windows import WEEKS, distinct_changes, rolling_sums, running

SPANS = ("7d", "28d", "91d", "182d")
KINDS = ("mailer", "display")
KNOWN = "coalesce(announced_at, ends_at)"  # without an announcement, when it is over


def weekly_sales(bought: DataFrame) -> DataFrame:
    """What was sold of each item in each week: (item_id, week)."""
    return bought.groupBy("item_id", "week").agg(
        F.count_distinct("user_id", "basket_id").alias("baskets"),
        F.sum("price_paid").alias("paid"),
        F.sum("quantity").alias("units"),
        F.sum("discount").alias("discount"),
    )


def repeat_changes(bought: DataFrame, last_week: int) -> DataFrame:
    """Changes, by item and week, of the number of shoppers with two baskets or more within 13 weeks.

    A shopper counts from a week n in which the last basket but one lies at `second` >= n - 12, until the
    next purchase's week takes over or `second` leaves the window.
    """
    weekly = bought.groupBy("item_id", "user_id", "week").agg(F.count_distinct("basket_id").alias("baskets"))
    ordered = Window.partitionBy("item_id", "user_id").orderBy("week")
    second = F.when(F.col("baskets") > 1, F.col("week")).otherwise(F.lag("week").over(ordered))
    following = F.coalesce(F.lead("week").over(ordered), F.lit(last_week + 99))
    repeats = weekly.select(
        "item_id", "week", F.least(following, second + WEEKS["91d"]).alias("until"), second.alias("second")
    ).where(F.col("second").isNotNull() & (F.col("until") > F.col("week")))
    begins = repeats.groupBy("item_id", "week").agg(F.count(F.lit(1)).alias("repeats"))
    ends = repeats.groupBy("item_id", F.col("until").alias("week")).agg((-F.count(F.lit(1))).alias("repeats"))
    changes = begins.unionByName(ends).where(F.col("week") <= last_week)
    return changes.groupBy("item_id", "week").agg(F.sum("repeats").alias("repeats"))


def exposure(
    promotions: DataFrame, instants: DataFrame, calendar: ShopCalendar, known: str = KNOWN
) -> DataFrame:
    """Widest share of stores per item, week and kind of promotion, of what was known at the week's instant.

    `instants` has a `week` and its event_timestamp, `known` says in SQL from when a promotion is known.
    """
    last_moment = F.expr("ends_at - INTERVAL 1 MICROSECOND")
    first, last = week_of(F.col("starts_at"), calendar), week_of(last_moment, calendar)
    weeks = F.explode(F.sequence(first, last)).alias("week")
    weekly = promotions.select("item_id", "kind", "store_share", F.expr(known).alias("known_at"), weeks)
    seen = weekly.join(F.broadcast(instants), "week").where(F.col("known_at") <= F.col("event_timestamp"))
    return seen.groupBy("item_id", "week", "event_timestamp").agg(*widest())


def widest() -> list[Column]:
    """The widest share of stores of each kind of promotion."""
    return [
        F.max(F.when(F.col("kind") == kind, F.col("store_share"))).alias(f"item_{kind}_share")
        for kind in KINDS
    ]


def shown_in(
    promotions: DataFrame, calendar: ShopCalendar, week: int, instant: datetime, known: str = KNOWN
) -> DataFrame:
    """`exposure` of one week alone, of what was known at an instant: shares by item_id."""
    overlaps = (F.col("starts_at") < F.lit(calendar.end(week))) & (
        F.col("ends_at") > F.lit(calendar.start(week))
    )
    return promotions.where(overlaps & (F.expr(known) <= F.lit(instant))).groupBy("item_id").agg(*widest())


def ratio(part: Column, whole: Column) -> Column:
    """`part / whole`, 0 where there is no whole."""
    return F.when(whole > 0, part / whole).otherwise(0.0)


def sales_grid(bought: DataFrame, ends: DataFrame, last_week: int) -> DataFrame:
    """Every item at every week end from its first sale to half a year after its last."""
    lives = bought.groupBy("item_id").agg(
        F.min("week").alias("since"),
        F.least(F.max("week") + WEEKS["182d"] - 1, F.lit(last_week)).alias("until"),
        F.min("event_timestamp").alias("first_sale"),
    )
    weeks = F.explode(F.sequence("since", "until")).alias("week")
    return lives.select("item_id", "first_sale", weeks).join(F.broadcast(ends), "week")


def item_stats(
    bought: DataFrame, promotions: DataFrame, ends: DataFrame, calendar: ShopCalendar
) -> DataFrame:
    """Features of items as of each week end."""
    last_week = ends.agg(F.max("week")).first()[0]
    key = ["item_id", "week"]
    buyers = distinct_changes(
        bought.select("item_id", "user_id", "week").distinct(),
        "item_id",
        "user_id",
        {"91d": "buyers"},
        last_week,
    )
    dense = (
        sales_grid(bought, ends, last_week)
        .join(weekly_sales(bought), key, "left")
        .join(buyers, key, "left")
        .join(repeat_changes(bought, last_week), key, "left")
        .join(exposure(promotions, ends, calendar).drop("event_timestamp"), key, "left")
    )
    sums = {"paid": "paid", "units": "units", "discounted": "discount"}
    rolled = dense.select(
        "item_id",
        "event_timestamp",
        *rolling_sums("item_id", {"item_baskets": "baskets"}, SPANS),
        *rolling_sums("item_id", sums, ["91d", "182d"]),
        running("buyers", "item_id").alias("item_users_91d"),
        running("repeats", "item_id").alias("repeats"),
        *[F.coalesce(f"item_{kind}_share", F.lit(0.0)).alias(f"item_{kind}_share") for kind in KINDS],
        days_between(F.col("event_timestamp"), F.col("first_sale")).alias("item_age_days"),
    ).where(F.col("item_baskets_182d") > 0)
    return described(rolled)


def item_snapshot(
    bought: DataFrame, lives: DataFrame, promotions: DataFrame, calendar: ShopCalendar, week: int
) -> DataFrame:
    """The same features as of the end of one `week`, without the weeks before it.

    `bought` are purchases of the longest span; `lives` has the `first` purchase ever of each item_id.
    """
    end, at = F.lit(calendar.end(week)), F.col("event_timestamp")
    span = {name: at >= F.lit(calendar.start(week + 1 - WEEKS[name])) for name in SPANS}
    columns = {"paid": "price_paid", "units": "quantity", "discounted": "discount"}
    sums = [(f"{what}_{s}", F.sum(F.when(span[s], F.col(column)))) for what, column in columns.items()
            for s in ("91d", "182d")]  # fmt: skip
    totals = [F.sum(name).alias(name) for name, _ in sums]
    by_basket = bought.groupBy("item_id", "user_id", "basket_id")
    by_user = (
        by_basket.agg(F.max(at).alias("event_timestamp"), *[total.alias(name) for name, total in sums])
        .groupBy("item_id", "user_id")
        .agg(*[F.count(F.when(span[s], F.lit(1))).alias(f"item_baskets_{s}") for s in SPANS], *totals)
    )
    lately = F.col("item_baskets_91d")
    sold = by_user.groupBy("item_id").agg(
        F.count(F.when(lately > 0, F.lit(1))).alias("item_users_91d"),
        F.count(F.when(lately > 1, F.lit(1))).alias("repeats"),
        *[F.sum(f"item_baskets_{s}").alias(f"item_baskets_{s}") for s in SPANS],
        *totals,
    )
    shown = shown_in(promotions, calendar, week, calendar.end(week))
    rolled = sold.where(F.col("item_baskets_182d") > 0).join(lives, "item_id").join(shown, "item_id", "left")
    none = {**dict.fromkeys((name for name, _ in sums), 0), **{f"item_{kind}_share": 0.0 for kind in KINDS}}
    known = rolled.select(
        "item_id",
        end.alias("event_timestamp"),
        days_between(end, F.col("first")).alias("item_age_days"),
        *[f"item_baskets_{s}" for s in SPANS],
        "item_users_91d",
        "repeats",
        *[F.coalesce(F.col(name), F.lit(value)).alias(name) for name, value in none.items()],
    )
    return described(known)


def described(rolled: DataFrame) -> DataFrame:
    """Features from sums over the spans."""
    paid, discount = F.col("paid_91d"), F.col("discounted_91d")
    recent = F.when(F.col("units_91d") > 0, paid / F.col("units_91d"))
    return rolled.select(
        "item_id",
        "event_timestamp",
        *[f"item_baskets_{span}" for span in SPANS],
        "item_users_91d",
        ratio(F.col("repeats"), F.col("item_users_91d")).alias("item_repeat_rate_91d"),
        F.coalesce(recent, F.col("paid_182d") / F.col("units_182d")).alias("item_price_91d"),
        ratio(discount, discount + paid).alias("item_discount_share_91d"),
        *[f"item_{kind}_share" for kind in KINDS],
        "item_age_days",
    )
