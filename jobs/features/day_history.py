"""A day's rows of user_history: each shopper's history goes on from the newest row before the day."""

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

from feature_repo.transforms import HISTORY_WIDTH, History, empty_history, update_history
from jobs.features.user_history import SCHEMA, baskets

COLUMNS = ("items", "counts", "decayed", "first_times", "last_times", "last_baskets")
TYPES = (pa.string(), pa.int64(), pa.float32(), pa.int64(), pa.int64(), pa.int64())
TIME = pa.timestamp("us", tz="UTC")


def day_histories(
    bought: DataFrame, histories: DataFrame, begin: datetime, end: datetime, width: int = HISTORY_WIDTH
) -> DataFrame:
    """Histories after each basket from `begin` until `end`; `histories` has the rows before."""
    at = F.col("event_timestamp")
    today = baskets(bought.where((at >= F.lit(begin)) & (at < F.lit(end)) & (F.col("quantity") > 0)))
    before = newest(histories.where(at < F.lit(begin)).join(today.select("user_id"), "user_id", "left_semi"))

    def walk(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for row in range(batch.num_rows):
                yield continued(batch.slice(row, 1), width)

    return today.join(before, "user_id", "left").mapInArrow(walk, SCHEMA)


def newest(histories: DataFrame) -> DataFrame:
    """Each shopper's newest row, without its times."""
    latest = Window.partitionBy("user_id").orderBy(F.desc("event_timestamp"))
    last = histories.withColumn("place", F.row_number().over(latest)).where("place = 1")
    return last.select("user_id", *(f"history_{name}" for name in COLUMNS))


def continued(shopper: pa.RecordBatch, width: int) -> pa.RecordBatch:
    """The day's rows of one shopper: `lines` of the day, and the columns of the history before, or nulls."""
    history, lines = known(shopper), shopper.column("lines")[0].values
    at = lines.field("at").to_numpy(zero_copy_only=False)
    items = np.array(lines.field("item").to_pylist(), np.str_)
    instants, rows = np.unique(at).tolist(), []
    for instant in instants:
        history = update_history(history, items[at == instant], instant // 1_000_000, width=width)
        rows.append(history)
    columns = [
        pa.array([getattr(row, name).tolist() for row in rows], pa.list_(kind))
        for name, kind in zip(COLUMNS, TYPES, strict=True)
    ]
    users = pa.array(shopper.column("user_id").to_pylist() * len(rows), pa.string())
    names = ["user_id", "event_timestamp", *(f"history_{name}" for name in COLUMNS)]
    return pa.RecordBatch.from_arrays([users, pa.array(instants, TIME), *columns], names)


def known(shopper: pa.RecordBatch) -> History:
    """The history before, an empty one for a new shopper."""
    if not shopper.column("history_items")[0].is_valid:
        return empty_history()
    kinds = (np.str_, np.int64, np.float32, np.int64, np.int64, np.int64)
    values = (shopper.column(f"history_{name}")[0].as_py() for name in COLUMNS)
    return History(*(np.array(each, dtype=kind) for each, kind in zip(values, kinds, strict=True)))
