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
from jobs.features.frames import (
    PROMOTION_SCHEMA,
    NoPurchasesError,
    department_slots,
    departments,
    whole_frames,
)
from jobs.result import Result
from jobs.spark import spark_session

SMALL = (
    4_000_000  # bytes of transactions: half a million lines, below which well compiled code is not worth it
)


def bytes_of(settings: Settings) -> int:
    """Size of the lines, which says how long this will take."""
    return sum(part.stat().st_size for part in settings.table("transactions").parent.glob("*.parquet"))


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
    slots = department_slots(known, departments(items))
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".aside")
    aside.write_text(json.dumps(slots, indent=1))
    aside.replace(path)
    return slots


def feature_tables(spark: Any, settings: Settings) -> dict[str, Callable[[], Any]]:
    """Each feature table's name with the function that describes its rows."""
    calendar = ShopCalendar.load(settings.shop_calendar)
    items, transactions = (read_table(spark, settings, name) for name in ("items", "transactions"))
    try:
        return whole_frames(
            spark,
            items,
            transactions,
            lambda: read_promotions(spark, settings),
            lambda: slots_of(settings, items),
            calendar,
        )
    except NoPurchasesError as error:
        raise ValueError(f"{error} in {settings.table('transactions')}; run `endcap ingest` again") from error


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
