"""The feature tables of a lake, whole or of one day, as `endcap build-features` makes them of a state folder.

In: the contract's tables. Out: the same parts with the same rows, and a line for each feature table. Each is
written aside and then put in its place, so that a crash leaves the one before.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from time import perf_counter

from jobs.features.frames import NoPurchasesError, day_frames, whole_frames
from jobs.lake import Lake

NAMES = ("user_stats", "item_stats", "user_history", "item_coming_promotions")
Counted = tuple[str, int, float]  # a feature table, its rows, and the seconds that they took


def build_whole(lake: Lake) -> Iterator[Counted]:
    """Write all feature tables anew; FileNotFoundError or ValueError says what is missing."""
    created, calendar = datetime.now(UTC), lake.calendar()
    settle(lake)
    items = lake.table("items")
    try:
        frames = whole_frames(
            lake.spark,
            items,
            lake.table("transactions"),
            lake.promotions,
            lambda: lake.slots(items),
            calendar,
        )
    except NoPurchasesError as error:
        raise ValueError(f"{error} in {lake.root}/tables/transactions; run `endcap ingest` again") from error
    for name, rows in frames.items():
        began = perf_counter()
        yield name, lake.write_features(name, rows(), created), perf_counter() - began


def build_day(lake: Lake, day: date) -> Iterator[Counted]:
    """Write the parts of a local day; its rows and the feature tables up to the day before must be there."""
    from jobs.features.day_history import day_histories

    created, calendar = datetime.now(UTC), lake.calendar()
    if not lake.files.exists(f"{lake.root}/tables/transactions/{day.isoformat()}.parquet"):
        raise FileNotFoundError(f"No rows of {day} in the tables; run `endcap ingest --date {day}`")
    settle(lake)
    if not lake.files.names(lake.feature_table("user_history"), ".parquet"):
        raise FileNotFoundError(f"No features in {lake.root}/features; run `endcap build-features`")
    items, transactions = lake.table("items"), lake.table("transactions")
    frames = dict(day_frames(items, transactions, lake.promotions(), lake.slots(items), calendar, day))
    histories = lake.spark.read.parquet(f"{lake.feature_table('user_history')}/*.parquet")
    begin, end = calendar.day_start(day), calendar.day_end(day)
    frames["user_history"] = day_histories(transactions, histories, begin, end)
    for name, rows in frames.items():
        began = perf_counter()
        yield name, lake.write_day(name, day, rows, created), perf_counter() - began


def settle(lake: Lake) -> None:
    """Put back what a crash has left aside."""
    for name in NAMES:
        lake.files.settle(lake.feature_table(name))
