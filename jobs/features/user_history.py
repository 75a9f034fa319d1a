"""user_history: one row per shopper and basket, that basket included; the online push makes the same rows."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name that Spark users know

from feature_repo.transforms import HISTORY_WIDTH, History, empty_history, update_history

SCHEMA = (
    "user_id string, event_timestamp timestamp, history_items array<string>, history_counts array<bigint>,"
    " history_decayed array<float>, history_first_times array<bigint>, history_last_times array<bigint>,"
    " history_last_baskets array<bigint>"
)
USERS_PER_BATCH = 64


def baskets(bought: DataFrame) -> DataFrame:
    """One row per shopper: all (microsecond, item) pairs they bought, baskets at one instant merged."""
    line = F.struct(F.unix_micros("event_timestamp").alias("at"), F.col("item_id").alias("item"))
    return bought.groupBy("user_id").agg(F.collect_set(line).alias("lines"))


def history_rows(at: NDArray[np.int64], items: NDArray[np.int64], width: int) -> list[tuple[int, History]]:
    """(microsecond, history) after each basket, in time order; `items` are numbers in the order of ids."""
    order = np.lexsort((items, at))
    at, items = at[order], items[order]
    starts = np.flatnonzero(np.concatenate([[True], at[1:] != at[:-1]]))
    history, rows = empty_history(np.int64), []
    for start, stop in zip(starts, [*starts[1:], len(at)], strict=True):
        instant = int(at[start])
        history = update_history(history, items[start:stop], instant // 1_000_000, width=width)
        rows.append((instant, history))
    return rows


def lists(columns: list[NDArray[np.generic]]) -> pa.ListArray:
    """One list for each column, without a Python object for any value."""
    offsets = np.cumsum([0, *map(len, columns)], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, np.concatenate(columns))


def history_batch(user_id: str, at: NDArray[np.int64], items: pa.Array, width: int) -> pa.RecordBatch:
    """All history rows of one shopper as Arrow; no slot becomes a Python object."""
    names, numbers = np.unique(items.to_numpy(zero_copy_only=False).astype(np.str_), return_inverse=True)
    rows = history_rows(at, numbers.astype(np.int64), width)
    numbered = lists([history.items for _, history in rows])
    return pa.RecordBatch.from_arrays(
        [
            pa.array([user_id] * len(rows)),
            pa.array([instant for instant, _ in rows], type=pa.timestamp("us", tz="UTC")),
            pa.ListArray.from_arrays(numbered.offsets, pa.array(names.tolist()).take(numbered.values)),
            lists([history.counts for _, history in rows]),
            lists([history.decayed for _, history in rows]),
            lists([history.first_times for _, history in rows]),
            lists([history.last_times for _, history in rows]),
            lists([history.last_baskets for _, history in rows]),
        ],
        names=[column.strip().split()[0] for column in SCHEMA.split(",")],
    )


def user_history(bought: DataFrame, width: int = HISTORY_WIDTH) -> DataFrame:
    """Histories after every basket. A shopper's baskets are walked in time order by `update_history`."""

    def walk(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for row in range(batch.num_rows):
                lines = batch.column("lines")[row].values
                at = lines.field("at").to_numpy(zero_copy_only=False)
                yield history_batch(batch.column("user_id")[row].as_py(), at, lines.field("item"), width)

    return baskets(bought).mapInArrow(walk, SCHEMA)
