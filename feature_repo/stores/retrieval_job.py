"""A Feast retrieval job around one function that gives an Arrow table."""

from collections.abc import Callable, Sequence
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa
from feast.infra.offline_stores.duckdb import _write_data_source
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView


class ArrowRetrievalJob(RetrievalJob):  # type: ignore[misc]
    """Runs `retrieve` when its result is asked for; `to_arrow` makes no Python object of a value."""

    def __init__(
        self,
        retrieve: Callable[[], pa.Table],
        *,
        repo_path: str,
        metadata: RetrievalMetadata | None = None,
        full_feature_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
    ) -> None:
        super().__init__()
        self._retrieve = retrieve
        self._repo_path = repo_path
        self._metadata = metadata
        self._full_feature_names = full_feature_names
        self._on_demand = list(on_demand)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        _refuse_timeout(timeout)
        return self._retrieve()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        _refuse_timeout(timeout)
        return self._retrieve().to_pandas()

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named view__feature."""
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Views that Feast computes from the result."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for, and the first and last instant."""
        return self._metadata

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result as Parquet to `storage`."""
        table = ibis.memtable(self.to_arrow(timeout=timeout))
        _write_data_source(table, storage.to_data_source(), self._repo_path, "overwrite", allow_overwrite)


def _refuse_timeout(timeout: int | None) -> None:
    if timeout is not None:
        raise NotImplementedError(f"timeout is {timeout}; this store has none: leave it out")
