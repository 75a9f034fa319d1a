"""What stays the same through one training run: the items, their groups and their text vectors."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_repo.pair_features import Floats, Positions
from training.point_in_time import text_vectors
from training.warehouse import Warehouse


@dataclass(frozen=True)
class Grouping:
    """Codes of one attribute of the items and the names that they stand for."""

    codes: Positions  # (n_items,)
    names: NDArray[np.str_]


@dataclass(frozen=True)
class World:
    """Every item sold before the cut, sorted by id; positions point into it throughout training."""

    item_ids: NDArray[np.str_]
    titles: NDArray[np.str_]
    departments: Grouping
    categories: Grouping
    types: Grouping
    manufacturers: Grouping
    lines: Positions  # (n_items,) a manufacturer's items of one type
    variants: Positions  # (n_items,) items that differ in nothing but their number
    text_vectors: Floats  # (n_items, n_text)

    def __len__(self) -> int:
        return len(self.item_ids)


def grouping(values: NDArray[Any], names: NDArray[np.str_]) -> Grouping:
    """Codes of `values` in the sorted `names`."""
    return Grouping(codes=np.searchsorted(names, values).astype(np.int32), names=names)


LINE = ["category_2", "category_3", "manufacturer"]
VARIANT = ["category_1", *LINE, "brand", "size"]


def numbered(chosen: pd.DataFrame, columns: list[str]) -> Positions:
    """Number of the group that agrees in all of some columns: (n_items,)."""
    return np.asarray(chosen.groupby(columns, sort=True).ngroup(), dtype=np.int32)


def world_before(warehouse: Warehouse, store: Any, cut: datetime) -> World:
    """The items sold before `cut`; group names are those of the whole items table, so codes are stable."""
    table = warehouse.items()
    ids = warehouse.catalogue_ids(datetime(1970, 1, 1, tzinfo=cut.tzinfo), cut)
    unknown = sorted(set(ids) - set(table.index))
    if unknown:
        raise ValueError(
            f"{len(unknown)} sold items are not in the items table, first {unknown[0]!r}; ingest again"
        )
    chosen = table.loc[ids]
    groups = {
        column: grouping(
            chosen[column].to_numpy(dtype=np.str_), np.unique(table[column].to_numpy(dtype=np.str_))
        )
        for column in ("category_1", "category_2", "category_3", "manufacturer")
    }
    return World(
        item_ids=np.asarray(ids, dtype=np.str_),
        titles=chosen["title"].to_numpy(dtype=np.str_),
        departments=groups["category_1"],
        categories=groups["category_2"],
        types=groups["category_3"],
        manufacturers=groups["manufacturer"],
        lines=numbered(chosen, LINE),
        variants=numbered(chosen, VARIANT),
        text_vectors=text_vectors(store, ids, cut),
    )
