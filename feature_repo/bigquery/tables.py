"""Tables in BigQuery: made as they are laid out, filled from Parquet, and asked for frames.

In: layouts and schemas; SQL that names tables as the contract does, with `?` for parameters. Out: tables, how
to load into them, and pandas frames.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from feature_repo.bigquery.client import connected, told
from feature_repo.bigquery.layouts import Layout
from feature_repo.settings import Settings


def laid_out(
    client: bigquery.Client, reference: str, schema: Sequence[bigquery.SchemaField], layout: Layout
) -> bigquery.Table:
    """The table PROJECT.DATASET.NAME, made where it is not there yet.

    One with partitions is made so that nobody can ask it without a span of its time.
    """
    try:
        return client.get_table(reference)
    except NotFound:
        table = bigquery.Table(reference, schema)
    if layout.time is not None:
        table.time_partitioning = bigquery.TimePartitioning(layout.unit, field=layout.time)
        table.require_partition_filter = True
    table.clustering_fields = list(layout.order)
    return client.create_table(table, exists_ok=True)


def from_parquet(
    table: bigquery.Table, schema: Sequence[bigquery.SchemaField], write: str
) -> bigquery.LoadJobConfig:
    """How Parquet is loaded into a table that is there; `write` is one of WriteDisposition's."""
    lists = bigquery.ParquetOptions()  # type: ignore[no-untyped-call]
    lists.enable_list_inference = True  # to arrays, not to records of a list
    return bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        parquet_options=lists,
        schema=schema,
        create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
        write_disposition=write,
        time_partitioning=table.time_partitioning,
        clustering_fields=table.clustering_fields,
    )


class BigQueryTables:
    """The tables of the dataset of some settings."""

    def __init__(self, settings: Settings) -> None:
        self.dataset = settings.dataset
        with told(f"be reached for {self.dataset}"):
            self.client = connected(settings)

    def frame(self, query: str, parameters: Sequence[object]) -> Any:
        """Rows of a query; BigQueryError with the reason where it fails."""
        how = bigquery.QueryJobConfig(
            default_dataset=self.dataset, query_parameters=[parameter(each) for each in parameters]
        )
        with told(f"answer a query of {self.dataset}"):
            return self.client.query(query, job_config=how).to_arrow().to_pandas()


def parameter(value: object) -> bigquery.ScalarQueryParameter:
    """A positional parameter: an instant, a whole number or text; TypeError for another kind."""
    for kind, name in ((datetime, "TIMESTAMP"), (int, "INT64"), (str, "STRING")):
        if isinstance(value, kind):
            return bigquery.ScalarQueryParameter(None, name, value)
    raise TypeError(f"{value!r} cannot be a parameter of a query; give an instant, an integer or text")
