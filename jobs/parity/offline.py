"""Feature rows as training reads them, with their event times.

In: an installation's feature tables and registry. Out: for entities as of instants, when the newest row was
(DuckDB over the tables), and that row (Feast's offline store, point-in-time).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from bentos.online_features import ITEM_VIEW, USER_VIEWS
from feature_repo.settings import Settings
from feature_repo.store import open_store
from feature_repo.stores.packed.instants import time_of
from feature_repo.stores.packed.layout import ARRAYS, SCALARS, TEXT_LISTS, Layout

KEYS = {**dict.fromkeys(USER_VIEWS, "user_id"), ITEM_VIEW: "item_id"}
SERVICES = {"user_id": "user_ranking", "item_id": "item_ranking"}
Asked = tuple[str, int]  # an entity and an instant, microseconds since 1970
Row = dict[str, Any]


@dataclass(frozen=True)
class Offline:
    """The offline side of one installation."""

    settings: Settings
    store: Any
    _rows: dict[tuple[str, Asked], Row] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> "Offline":
        """Open an installation's store."""
        return cls(settings, open_store(settings))

    @cached_property
    def layouts(self) -> Mapping[str, Layout]:
        """What packed rows of each view hold, and for how long."""
        from feature_repo.stores.packed.values import layout_of

        return {view: layout_of(self.store.get_feature_view(view)) for view in KEYS}

    def times(self, view: str, asked: Sequence[Asked]) -> list[int | None]:
        """When the newest row of each entity as of each instant was; None where there is none yet."""
        import duckdb
        import pyarrow as pa

        from feature_repo.stores.parquet_parts import kept_parts

        if not asked:
            return []
        source = self.store.get_feature_view(view).batch_source
        ids, instants = [one for one, _ in asked], [when for _, when in asked]
        asked_of = pa.table(
            {
                "place": np.arange(len(asked)),
                "id": pa.array(ids, pa.string()),
                "us": pa.array(instants, pa.int64()),
            }
        )
        with duckdb.connect() as con:
            con.register("asked_of", asked_of)
            rows = con.execute(
                f"WITH rows AS (SELECT {KEYS[view]} AS id, epoch_us({source.timestamp_field}) AS us"
                " FROM read_parquet($1))"
                " SELECT rows.us FROM asked_of ASOF LEFT JOIN rows ON asked_of.id = rows.id"
                " AND asked_of.us >= rows.us ORDER BY place",
                [list(kept_parts(source, str(self.settings.state)))],
            ).fetchall()
        return [us for (us,) in rows]

    def snapshots(self, view: str) -> list[int]:
        """Event times of a view's rows, each once, in order."""
        import duckdb

        from feature_repo.stores.parquet_parts import kept_parts

        source = self.store.get_feature_view(view).batch_source
        rows = duckdb.execute(
            f"SELECT DISTINCT epoch_us({source.timestamp_field}) AS us FROM read_parquet($1) ORDER BY us",
            [list(kept_parts(source, str(self.settings.state)))],
        ).fetchall()
        return [us for (us,) in rows]

    def rows(self, view: str, asked: Sequence[Asked]) -> dict[Asked, Row]:
        """The rows of a view that hold at (entity, event time of a row), by feature; lost values are None."""
        missing = sorted({each for each in asked if (view, each) not in self._rows})
        for each, row in zip(missing, self._retrieved(view, missing), strict=True):
            self._rows[view, each] = row
        return {each: self._rows[view, each] for each in asked}

    def _retrieved(self, view: str, asked: Sequence[Asked]) -> list[Row]:
        import pandas as pd

        from training.point_in_time import historical_features, pair_frame

        if not asked:
            return []
        key = KEYS[view]
        instants = pd.Series([pd.Timestamp(time_of(us)) for _, us in asked])
        table = historical_features(
            self.store, pair_frame(key, [one for one, _ in asked], instants), SERVICES[key]
        )
        rows: list[Row] = table.select(list(self.layouts[view].names)).to_pylist()
        return rows


def bits(kind: str, value: Any) -> bytes | None:
    """A value as its type's bytes, None for a missing one: to Feast a number that is NaN is missing too."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if kind in SCALARS:
        return np.asarray(value, SCALARS[kind]).tobytes()
    if kind in ARRAYS:
        return np.asarray(value, ARRAYS[kind]).tobytes()
    return repr(list(value) if kind in TEXT_LISTS else value).encode()
