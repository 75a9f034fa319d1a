"""item_coming_promotions: one row per item and week of its promotion that is known when the week begins.

A recorded announcement counts. Without one a promotion is ASSUMED to be announced at the instant at which it
starts: mailers are, but the data need not prove it, so the columns are named `_assumed`.
"""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

from feature_repo.shop_calendar import ShopCalendar
from jobs.features.item_stats import KINDS, exposure, shown_in

ASSUMED = "coalesce(announced_at, starts_at)"


def item_coming_promotions(promotions: DataFrame, ends: DataFrame, calendar: ShopCalendar) -> DataFrame:
    """Promotions of the week that begins at each of `ends`, the instants at which a week is over.

    What starts after that instant is in no row unless it was announced by then. An item without a row is,
    as far as anyone knows, not promoted.
    """
    starts = ends.select((F.col("week") + 1).alias("week"), "event_timestamp")
    return assumed(exposure(promotions, starts, calendar, ASSUMED))


def coming_snapshot(promotions: DataFrame, calendar: ShopCalendar, week: int) -> DataFrame:
    """The same as of the beginning of one `week`."""
    begin = calendar.start(week)
    shown = shown_in(promotions, calendar, week, begin, ASSUMED)
    return assumed(shown.withColumn("event_timestamp", F.lit(begin)))


def assumed(shown: DataFrame) -> DataFrame:
    """The feature columns of shares."""
    return shown.select(
        "item_id",
        "event_timestamp",
        *[
            F.coalesce(f"item_{kind}_share", F.lit(0.0)).alias(f"item_coming_{kind}_share_assumed")
            for kind in KINDS
        ],
    )
