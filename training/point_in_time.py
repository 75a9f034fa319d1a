"""Training sets, point-in-time, at the grain of the entity.

The distinct (user, instant) rows and the distinct (item, instant) rows are retrieved from Feast's
offline store, each once; pairs index into them afterwards. So a million pairs cost a join of thousands
of rows, and a history array is never copied per candidate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from feature_repo.pair_features import Floats


class PointInTimeError(RuntimeError):
    """The offline store did not give one row for each row that was asked for."""


def entity_frame(key: str, ids: Sequence[str], instants: Sequence[datetime]) -> pd.DataFrame:
    """Every id at every instant, instants slowest: (n_instants * n_ids) rows with a row number."""
    stamps = pd.DatetimeIndex(instants).as_unit("us")
    frame = pd.DataFrame(
        {key: np.tile(np.asarray(ids, dtype=object), len(stamps)), "event_timestamp": stamps.repeat(len(ids))}
    )
    frame["row_number"] = np.arange(len(frame), dtype=np.int64)
    return frame


def pair_frame(key: str, ids: Sequence[str], instants: pd.Series) -> pd.DataFrame:
    """One row per (id, instant) given, in that order, with a row number."""
    stamps = pd.DatetimeIndex(instants).as_unit("us")
    frame = pd.DataFrame({key: np.asarray(ids, dtype=object), "event_timestamp": stamps})
    frame["row_number"] = np.arange(len(frame), dtype=np.int64)
    return frame


def historical_features(store: Any, entities: pd.DataFrame, service: str) -> pa.Table:
    """Feature rows of `entities` as of each row's event_timestamp, in the order of the entities.

    Raises PointInTimeError when rows were lost or doubled (the `file` store does that silently).
    """
    job = store.get_historical_features(entity_df=entities, features=store.get_feature_service(service))
    table = job.to_arrow()
    if table.num_rows != len(entities):
        raise PointInTimeError(f"{service}: asked for {len(entities)} rows. Received: {table.num_rows}")
    table = table.sort_by("row_number")
    if not np.array_equal(table["row_number"].to_numpy(), np.arange(len(entities))):
        raise PointInTimeError(f"{service}: some of the {len(entities)} rows were lost and others doubled")
    return table


def feature_names(store: Any, service: str) -> list[tuple[str, Any]]:
    """(name, type) of every feature of a service, in the order of its views."""
    projections = store.get_feature_service(service).feature_view_projections
    return [(field.name, field.dtype) for projection in projections for field in projection.features]


def number_names(store: Any, service: str) -> list[str]:
    """Names of the features of a service that are single numbers: the columns of a matrix."""
    numeric = {"Float32", "Float64", "Int32", "Int64"}
    return [name for name, dtype in feature_names(store, service) if str(dtype) in numeric]


def number_matrix(table: pa.Table, names: Sequence[str]) -> Floats:
    """Columns as (n_rows, n_names) float32, NaN where a value is missing."""
    columns = [table[name].cast(pa.float64()).to_numpy(zero_copy_only=False) for name in names]
    return np.column_stack(columns).astype(np.float32)


def list_column(table: pa.Table, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """A list column as its flat values and (n_rows + 1,) offsets; a null row is an empty one."""
    column = table[name].combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    flat = column.flatten()
    if pa.types.is_string(flat.type) or pa.types.is_large_string(flat.type):
        values = flat
    else:
        values = flat.to_numpy(zero_copy_only=False)
    return values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


SLOT_COLUMNS = ("positions", "counts", "decayed", "first_times", "last_times", "last_baskets")


@dataclass(frozen=True)
class UserRows:
    """Users as of instants; row i is one (user, instant).

    History slots hold positions in `item_ids` (-1: no item, or one that is not in it).
    """

    names: tuple[str, ...]  # of the columns of `numbers`
    user_ids: NDArray[np.str_]
    instants: NDArray[np.int64]  # (n,) UTC microseconds
    numbers: Floats  # (n, n_user_features)
    department_shares: Floats  # (n, n_slots)
    top_departments: NDArray[Any]
    offsets: NDArray[np.int64]  # (n + 1,) into all below
    positions: NDArray[np.int32]
    counts: NDArray[np.int64]
    decayed: Floats
    first_times: NDArray[np.int64]
    last_times: NDArray[np.int64]
    last_baskets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user_ids)

    def with_slots(self, kept: NDArray[np.bool_]) -> "UserRows":
        """The same rows with some of their history slots; `kept` is as long as each column of slots."""
        return replace(
            self,
            offsets=np.concatenate([[0], np.cumsum(kept)])[self.offsets],
            **{name: getattr(self, name)[kept] for name in SLOT_COLUMNS},
        )


def item_positions(ids: pa.Array, item_ids: Sequence[str]) -> NDArray[np.int32]:
    """Positions of Arrow strings in `item_ids`, -1 where they are not in it."""
    import pyarrow.compute as pc

    encoded = ids.dictionary_encode()
    place = pc.index_in(encoded.dictionary, value_set=pa.array(item_ids, type=encoded.dictionary.type))
    table = place.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.where(codes >= 0, table[codes], -1).astype(np.int32)


def user_rows(store: Any, entities: pd.DataFrame, item_ids: Sequence[str]) -> UserRows:
    """Features of (user, instant) rows; `item_ids` are the items that history positions point to."""
    table = historical_features(store, entities, "user_ranking")
    items, offsets = list_column(table, "history_items")
    shares, share_offsets = list_column(table, "user_department_shares_91d")
    width = int(np.diff(share_offsets).max(initial=0))
    department_shares = np.zeros((len(entities), width), dtype=np.float32)
    present = np.diff(share_offsets) > 0
    department_shares[present] = shares.reshape(-1, width) if width else 0
    names = number_names(store, "user_ranking")
    return UserRows(
        names=tuple(names),
        user_ids=entities["user_id"].to_numpy(dtype=np.str_),
        instants=entities["event_timestamp"].astype("int64").to_numpy(),
        numbers=number_matrix(table, names),
        department_shares=department_shares,
        top_departments=table["user_top_department"].fill_null("").to_numpy(zero_copy_only=False),
        offsets=offsets,
        positions=item_positions(items, item_ids),
        counts=list_column(table, "history_counts")[0],
        decayed=list_column(table, "history_decayed")[0].astype(np.float32),
        first_times=list_column(table, "history_first_times")[0],
        last_times=list_column(table, "history_last_times")[0],
        last_baskets=list_column(table, "history_last_baskets")[0],
    )


@dataclass(frozen=True)
class ItemRows:
    """Items as of instants: `numbers` is (n_instants, n_items, n_item_features), NaN where missing."""

    item_ids: NDArray[np.str_]
    instants: tuple[datetime, ...]
    names: tuple[str, ...]
    numbers: Floats


def item_rows(
    store: Any, item_ids: Sequence[str], instants: Sequence[datetime], service: str = "item_ranking"
) -> ItemRows:
    """Items' features at every instant."""
    table = historical_features(store, entity_frame("item_id", item_ids, instants), service)
    names = number_names(store, service)
    numbers = number_matrix(table, names).reshape(len(instants), len(item_ids), len(names))
    return ItemRows(
        item_ids=np.asarray(item_ids, dtype=np.str_),
        instants=tuple(instants),
        names=tuple(names),
        numbers=numbers,
    )


def text_vectors(store: Any, item_ids: Sequence[str], instant: datetime) -> Floats:
    """Text embeddings of items, (n_items, n_text); zero for an item without one."""
    table = historical_features(store, entity_frame("item_id", item_ids, [instant]), "item_retrieval")
    values, offsets = list_column(table, "text_embedding")
    lengths = np.diff(offsets)
    vectors = np.zeros((len(item_ids), int(lengths.max(initial=0))), dtype=np.float32)
    vectors[lengths > 0] = values.reshape(-1, vectors.shape[1])
    return vectors
