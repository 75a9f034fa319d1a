"""Where feature rows lie: one folder of Parquet parts for each table, below the state folder.

Paths are relative, so that the registry holds no path of this machine; `stores.asof` resolves them.
`event_timestamp` is when a row's values became known, `created_timestamp` when the row was written.
"""

from feast import FileSource
from feast.data_format import ParquetFormat

from feature_repo.stores.parquet_parts import WRITTEN_BY


def feature_source(name: str, written_by: str) -> FileSource:
    """Source of the feature table `name`, which the command `written_by` writes."""
    return FileSource(
        name=name,
        path=f"features/{name}",
        file_format=ParquetFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
        tags={WRITTEN_BY: written_by},
    )


user_stats_source = feature_source("user_stats", "endcap build-features")
user_history_source = feature_source("user_history", "endcap build-features")
item_stats_source = feature_source("item_stats", "endcap build-features")
item_coming_promotions_source = feature_source("item_coming_promotions", "endcap build-features")
item_text_source = feature_source("item_text", "endcap embed-items")
