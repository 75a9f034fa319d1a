"""The contract's tables in BigQuery as frames: one query, one frame.

In: SQL that names tables as the contract does, with `?` for parameters. Out: a pandas frame.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.cloud import bigquery

from feature_repo.bigquery.client import connected, told
from feature_repo.settings import Settings


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
