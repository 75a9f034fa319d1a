"""Where feature rows lie: one folder of Parquet parts for each table, below the state folder.

Paths are relative, so that the registry holds no path of this machine; `stores.asof` resolves them. Under the
gcp profile rows are asked for in BigQuery: a table for each folder, which `endcap load` fills from it.
`event_timestamp` is when a row's values became known, `created_timestamp` when the row was written.
"""

from typing import Any

from feast import FileSource
from feast.data_format import ParquetFormat

from feature_repo.settings import Settings
from feature_repo.stores.parquet_parts import WRITTEN_BY

SETTINGS = Settings.from_environment()  # `feast apply` has no other way to say where rows lie


def feature_source(name: str, written_by: str) -> Any:
    """Source of the feature table `name`, which the command `written_by` writes."""
    told = {
        "name": name,
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": "created_timestamp",
        "tags": {WRITTEN_BY: written_by},
    }
    if SETTINGS.in_bigquery:
        from feast import BigQuerySource

        return BigQuerySource(table=f"{SETTINGS.dataset}.{name}", **told)
    return FileSource(path=f"features/{name}", file_format=ParquetFormat(), **told)


user_stats_source = feature_source("user_stats", "endcap build-features")
user_history_source = feature_source("user_history", "endcap build-features")
item_stats_source = feature_source("item_stats", "endcap build-features")
item_coming_promotions_source = feature_source("item_coming_promotions", "endcap build-features")
item_text_source = feature_source("item_text", "endcap embed-items")
