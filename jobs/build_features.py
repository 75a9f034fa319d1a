"""Feature engineering in PySpark: the tables of the contract in, feature tables out.

    endcap build-features

Local on a laptop, unchanged on Dataproc. Weekly snapshots (user_stats, item_stats) are stamped with
the end of their window, histories with their basket, coming promotions with the start of their week. Needs
pyspark and what its Arrow paths need (NumPy, pandas, pyarrow).
"""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs.result import Result
from jobs.spark import spark_session

DEPARTMENT_SLOTS = 32
OTHER = "(other)"
SMALL = (
    4_000_000  # bytes of transactions: half a million lines, below which well compiled code is not worth it
)
PROMOTION_SCHEMA = (
    "item_id string, kind string, starts_at timestamp, ends_at timestamp, announced_at timestamp,"
    " store_share double"
)


def bytes_of(settings: Settings) -> int:
    """Size of the lines, which says how long this will take."""
    return sum(part.stat().st_size for part in settings.table("transactions").parent.glob("*.parquet"))


def department_slots(known: list[str], names: list[str], width: int = DEPARTMENT_SLOTS) -> list[str]:
    """Departments by slot: known ones keep theirs, new ones follow by name, the rest are "(other)"."""
    kept = [name for name in known if name != OTHER]
    slots = [*kept, *sorted({*names} - {*kept, OTHER})]
    fits = len(slots) <= width and OTHER not in (*known, *names)
    return slots if fits else [*slots[: width - 1], OTHER]


def read_table(spark: Any, settings: Settings, name: str) -> Any:
    """One table of the contract; FileNotFoundError names the command that writes it."""
    path = settings.table(name)
    if not path.exists():
        raise FileNotFoundError(f"No {name} in {path}; run `endcap ingest`")
    return spark.read.parquet(settings.table_parts(name))


def read_promotions(spark: Any, settings: Settings) -> Any:
    """Promotions; none where a shop has no such table."""
    if not settings.table("promotions").exists():
        return spark.createDataFrame([], PROMOTION_SCHEMA)
    return spark.read.parquet(settings.table_parts("promotions"))


def write_feature_table(rows: Any, folder: Path, created: datetime, parts: int) -> None:
    """Write one feature table aside, then put it in its place; a crash leaves the old one."""
    from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

    aside = folder.with_name(f".{folder.name}.aside")
    stamped = rows.withColumn("created_timestamp", F.lit(created).cast("timestamp"))
    stamped.coalesce(parts).write.mode("overwrite").parquet(str(aside))
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.replace(old)
    aside.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def slots_of(settings: Settings, items: Any) -> list[str]:
    """Department slots of this installation, written beside the feature tables."""
    path = settings.state / "features" / "departments.json"
    known = json.loads(path.read_text()) if path.exists() else []
    names = [row[0] for row in items.select("category_1").distinct().collect()]
    slots = department_slots(known, names)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".aside")
    aside.write_text(json.dumps(slots, indent=1))
    aside.replace(path)
    return slots


def feature_tables(spark: Any, settings: Settings) -> dict[str, Callable[[], Any]]:
    """Each feature table's name with the function that describes its rows."""
    from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

    from jobs.features.item_coming_promotions import item_coming_promotions
    from jobs.features.item_stats import item_stats
    from jobs.features.purchases import purchases, week_ends
    from jobs.features.user_history import user_history
    from jobs.features.user_stats import user_stats

    calendar = ShopCalendar.load(settings.shop_calendar)
    items = read_table(spark, settings, "items")
    bought = purchases(read_table(spark, settings, "transactions"), calendar)
    bought = bought.join(F.broadcast(items.select("item_id", "category_1")), "item_id").cache()
    last_week = bought.agg(F.max("week")).first()[0]
    if last_week is None:
        raise ValueError(f"No purchases in {settings.table('transactions')}; run `endcap ingest` again")
    ends = week_ends(spark, calendar, last_week).cache()
    slots = slots_of(settings, items)
    return {
        "user_stats": lambda: user_stats(bought, ends, slots, DEPARTMENT_SLOTS),
        "item_stats": lambda: item_stats(bought, read_promotions(spark, settings), ends, calendar),
        "user_history": lambda: user_history(bought),
        "item_coming_promotions": lambda: item_coming_promotions(
            read_promotions(spark, settings), ends, calendar
        ),
    }


def run(settings: Settings) -> Result:
    """Build and write all feature tables; `notes` has one line for each."""
    began = perf_counter()
    spark = spark_session(settings, "endcap build-features", short=bytes_of(settings) < SMALL)
    created = datetime.now(UTC)
    notes, total = [], 0
    try:
        for name, rows in feature_tables(spark, settings).items():
            start = perf_counter()
            folder = settings.feature_table(name)
            write_feature_table(rows(), folder, created, settings.threads)
            count = spark.read.parquet(str(folder)).count()
            total += count
            notes.append(f"{name}: {count:,} rows in {perf_counter() - start:.1f} s")
    finally:
        spark.stop()
        shutil.rmtree(settings.state / "spark", ignore_errors=True)
    return Result(
        step="build-features",
        rows=total,
        unit="rows",
        where=settings.state / "features",
        seconds=perf_counter() - began,
        notes=tuple(notes),
    )
