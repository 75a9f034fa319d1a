"""Purchases: the lines that count, with the shop week they fall into."""

from datetime import datetime

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

from feature_repo.shop_calendar import ShopCalendar


def week_of(timestamp: Column, calendar: ShopCalendar) -> Column:
    """Shop week of an instant, by its local date: a fixed UTC grid would misplace late purchases."""
    local_date = F.to_date(F.from_utc_timestamp(timestamp, calendar.timezone))
    return (F.floor(F.datediff(local_date, F.lit(calendar.first_day)) / 7) + 1).cast("int")


def purchases(transactions: DataFrame, calendar: ShopCalendar) -> DataFrame:
    """Lines with a quantity above zero (returns are no purchases), with their `week`."""
    bought = transactions.where(F.col("quantity") > 0)
    return bought.withColumn("week", week_of(F.col("event_timestamp"), calendar))


def week_ends(spark: SparkSession, calendar: ShopCalendar, last_week: int) -> DataFrame:
    """(week, event_timestamp): the UTC instant at which each week of the data is over."""
    rows: list[tuple[int, datetime]] = [(week, calendar.end(week)) for week in range(1, last_week + 1)]
    return spark.createDataFrame(rows, "week int, event_timestamp timestamp")
