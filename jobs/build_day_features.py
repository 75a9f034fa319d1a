"""Feature rows of one local day: `endcap build-features --date DAY`, after the day's rows are in.

In: the tables, and the feature tables up to the day before. Out: a part day-DAY.parquet in each of
user_stats and item_stats, a snapshot as of the day's end over the weeks that end with it; in user_history,
the rows of the day's baskets; in item_coming_promotions, on the first day of a shop week, that week's rows.

The statistics have the formulas of the full build; only how their sums over weeks come about differs: they
are sums over the lines of the longest window. When a shopper or item was first seen takes one pass over the
tables. Histories go on from each shopper's last row.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.transforms import History, empty_history, update_history
from jobs.build_features import read_promotions, read_table, slots_of
from jobs.day_engine import DayEngine, day_engine
from jobs.features.frames import day_frames
from jobs.result import Result

COLUMNS = ("items", "counts", "decayed", "first_times", "last_times", "last_baskets")


def run(settings: Settings, day: date) -> Result:
    """Write the day's parts, each aside and then renamed; FileNotFoundError names a missing step."""
    began, created = perf_counter(), datetime.now(UTC)
    calendar = ShopCalendar.load(settings.shop_calendar)
    if not settings.table_part("transactions", day).exists():
        raise FileNotFoundError(f"No rows of {day} in the tables; run `endcap ingest --date {day}`")
    notes, total = [], 0
    with day_engine(settings, f"endcap build-features --date {day}") as engine:
        for name, rows in snapshots(engine.session, settings, calendar, day).items():
            start = perf_counter()
            count = write_part(engine, rows, part_of(settings, name, day), created)
            total += count
            notes.append(f"{name}: {count:,} rows in {perf_counter() - start:.1f} s ({engine.name})")
    count = write_histories(settings, calendar, day, created)
    notes.append(f"user_history: {count:,} rows")
    where = settings.state / "features"
    return Result(
        "build-features", total + count, "rows", where, perf_counter() - began, str(day), tuple(notes)
    )


def part_of(settings: Settings, name: str, day: date) -> Path:
    """Where a feature table's rows of a day lie."""
    return settings.feature_table(name) / f"day-{day.isoformat()}.parquet"


def snapshots(spark: Any, settings: Settings, calendar: ShopCalendar, day: date) -> Mapping[str, Any]:
    """Frames by feature table: as of the day's end, and of the week that begins with it."""
    items, transactions = (read_table(spark, settings, name) for name in ("items", "transactions"))
    promotions = read_promotions(spark, settings)
    return day_frames(items, transactions, promotions, slots_of(settings, items), calendar, day)


def write_part(engine: DayEngine, rows: Any, part: Path, created: datetime) -> int:
    """Write a frame as one Parquet file, aside and then renamed; how many rows it has."""
    from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

    aside = part.with_name(f".{part.name}.aside")
    engine.write(rows.withColumn("created_timestamp", F.lit(created).cast("timestamp")), aside)
    aside.replace(part)
    return rows_in(part)


def rows_in(part: Path) -> int:
    """Rows of a Parquet file, from its footer."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(part).num_rows)


def write_histories(settings: Settings, calendar: ShopCalendar, day: date, created: datetime) -> int:
    """Write a row for each basket of the day; how many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(history_rows(settings, calendar, day))
    times, lists = pa.timestamp("us", tz="UTC"), {"items": pa.string(), "decayed": pa.float32()}
    columns = {
        "user_id": pa.array([user for user, _, _ in rows], pa.string()),
        "event_timestamp": pa.array([at for _, at, _ in rows], times),
        **{
            f"history_{name}": pa.array(
                [getattr(history, name).tolist() for _, _, history in rows],
                pa.list_(pa.field("element", lists.get(name, pa.int64()))),
            )
            for name in COLUMNS
        },
        "created_timestamp": pa.array([int(created.timestamp() * 1e6)] * len(rows), times),
    }
    part = part_of(settings, "user_history", day)
    aside = part.with_name(f".{part.name}.aside")
    pq.write_table(pa.table(columns), aside, compression="zstd")
    aside.replace(part)
    return len(rows)


def history_rows(settings: Settings, calendar: ShopCalendar, day: date) -> Iterator[tuple[str, int, History]]:
    """(user_id, microsecond, history after that basket) of the day's baskets, shopper by shopper."""
    import duckdb

    begin, end = calendar.day_start(day), calendar.day_end(day)
    with duckdb.connect(config={"threads": settings.threads}) as con:
        con.execute("SET TimeZone = 'UTC'")
        baskets = con.execute(
            "SELECT user_id, epoch_us(event_timestamp) AS at, list(DISTINCT item_id ORDER BY item_id)"
            " FROM read_parquet($1) WHERE quantity > 0 AND event_timestamp >= $2 AND event_timestamp < $3"
            " GROUP BY ALL ORDER BY ALL",
            [settings.table_parts("transactions"), begin, end],
        ).fetchall()
        known = histories_before(con, settings, sorted({user for user, _, _ in baskets}), begin)
    for user, at, items in baskets:
        history = known.get(user) or empty_history()
        known[user] = update_history(history, np.array(items, dtype=np.str_), at // 1_000_000)
        yield user, at, known[user]


def histories_before(con: Any, settings: Settings, users: Sequence[str], now: datetime) -> dict[str, History]:
    """The newest history of each of some shoppers before an instant; those who have one."""
    names = ", ".join(f"history_{name}" for name in COLUMNS)
    parts = str(settings.feature_table("user_history") / "*.parquet")
    rows = con.execute(
        f"WITH last AS (SELECT user_id, max(event_timestamp) AS event_timestamp FROM read_parquet($1)"
        f" WHERE user_id IN (SELECT unnest($2::VARCHAR[])) AND event_timestamp < $3 GROUP BY user_id)"
        f" SELECT user_id, {names} FROM read_parquet($1) JOIN last USING (user_id, event_timestamp)",
        [parts, list(users), now],
    ).fetchall()
    types = (np.str_, np.int64, np.float32, np.int64, np.int64, np.int64)
    return {
        user: History(*(np.array(values, dtype=kind) for values, kind in zip(columns, types, strict=True)))
        for user, *columns in rows
    }
