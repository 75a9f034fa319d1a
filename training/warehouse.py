"""Labels and facts straight from the contract's tables: purchases, the catalogue, segments.

Features never come from here: they are retrieved point-in-time by `training.point_in_time`. Queries are SQL
that DuckDB and BigQuery both understand, and ask for a span of event times: its partitions are all that
BigQuery reads.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import duckdb
import pandas as pd

from feature_repo.settings import Settings
from training.split import Window


class Tables(Protocol):
    """Tables of the contract that can be asked."""

    def frame(self, query: str, parameters: Sequence[object]) -> Any:
        """Rows of a query, with `?` for each parameter, as a pandas frame."""


class ParquetTables:
    """The tables as Parquet, asked by DuckDB."""

    def __init__(self, settings: Settings) -> None:
        self.connection = duckdb.connect(config={"threads": str(settings.threads), "memory_limit": "2GB"})
        self.connection.execute("SET TimeZone = 'UTC'")
        for name in ("transactions", "items"):
            path = settings.table_parts(name).replace("'", "''")
            self.connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{path}')")

    def frame(self, query: str, parameters: Sequence[object]) -> pd.DataFrame:
        """Rows of a query."""
        return self.connection.execute(query, list(parameters)).df()


class Warehouse:
    """Read-only view of the tables of one installation: in BigQuery if it has them there, else in Parquet."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables

    @classmethod
    def of(cls, settings: Settings) -> "Warehouse":
        """That of an installation; FileNotFoundError where it has no tables."""
        for name in ("transactions", "items"):
            if not settings.table(name).exists():
                raise FileNotFoundError(f"No {name} in {settings.table(name)}; run `endcap ingest`")
        return cls(tables_of(settings))

    def frame(self, query: str, parameters: Sequence[object]) -> pd.DataFrame:
        """Result of one query as a frame."""
        found: pd.DataFrame = self.tables.frame(query, parameters)
        return found

    def purchases(self, window: Window) -> pd.DataFrame:
        """Distinct (user_id, item_id) bought in a window, what was paid, on how many trips: the labels.

        A basket at the very instant is a feature (point-in-time joins are `<=`), so it is no label.
        """
        return self.frame(
            "SELECT user_id, item_id, sum(price_paid) AS revenue, count(DISTINCT basket_id) AS trips"
            " FROM transactions WHERE quantity > 0 AND event_timestamp > ? AND event_timestamp <= ?"
            " GROUP BY user_id, item_id ORDER BY user_id, item_id",
            [window.instant, window.end],
        )

    def trip_counts(self, window: Window) -> pd.DataFrame:
        """Trips per user_id in a window: baskets with something bought."""
        return self.frame(
            "SELECT user_id, count(DISTINCT basket_id) AS trips FROM transactions"
            " WHERE quantity > 0 AND event_timestamp > ? AND event_timestamp <= ?"
            " GROUP BY user_id ORDER BY user_id",
            [window.instant, window.end],
        )

    def user_ids(self, before: datetime) -> list[str]:
        """Users with at least one purchase before an instant."""
        found = self.frame(
            "SELECT DISTINCT user_id FROM transactions WHERE quantity > 0 AND event_timestamp < ? ORDER BY 1",
            [before],
        )
        return [str(user_id) for user_id in found["user_id"]]

    def catalogue_ids(self, since: datetime, before: datetime) -> list[str]:
        """Items sold between two instants, sorted."""
        found = self.frame(
            "SELECT DISTINCT item_id FROM transactions"
            " WHERE quantity > 0 AND event_timestamp >= ? AND event_timestamp < ?",
            [since, before],
        )
        return sorted(found["item_id"].tolist())

    def first_sold(self, after: datetime, until: datetime) -> list[str]:
        """Items whose first sale falls after one instant and up to another, sorted."""
        found = self.frame(
            "SELECT item_id FROM transactions WHERE quantity > 0 AND event_timestamp <= ? GROUP BY item_id"
            " HAVING min(event_timestamp) > ?",
            [until, after],
        )
        return sorted(found["item_id"].tolist())

    def rarely_sold(self, since: datetime, before: datetime, *, fewer_than: int) -> list[str]:
        """Items sold between two instants, but in fewer baskets than some ever before the second; sorted."""
        basket = "concat(CAST(length(user_id) AS STRING), ' ', user_id, basket_id)"  # no two are alike
        found = self.frame(
            "SELECT item_id FROM transactions WHERE quantity > 0 AND event_timestamp < ? GROUP BY item_id"
            f" HAVING max(event_timestamp) >= ? AND count(DISTINCT {basket}) < ?",
            [before, since, fewer_than],
        )
        return sorted(found["item_id"].tolist())

    def items(self) -> pd.DataFrame:
        """The items table by item_id: titles, groups, brand, manufacturer, size."""
        return self.frame(
            "SELECT item_id, title, category_1, category_2, category_3,"
            " coalesce(brand, '') AS brand, coalesce(manufacturer, '') AS manufacturer,"
            " coalesce(size, '') AS size FROM items ORDER BY item_id",
            [],
        ).set_index("item_id")

    def ever_bought(self, until: datetime) -> pd.DataFrame:
        """Distinct (user_id, item_id) bought up to an instant: what `discover` leaves out of the truth."""
        return self.frame(
            "SELECT DISTINCT user_id, item_id FROM transactions WHERE quantity > 0 AND event_timestamp <= ?",
            [until],
        )

    def basket_counts(self, since: datetime, before: datetime) -> pd.DataFrame:
        """Baskets per (user_id, item_id) between two instants."""
        return self.frame(
            "SELECT user_id, item_id, count(DISTINCT basket_id) AS baskets FROM transactions"
            " WHERE quantity > 0 AND event_timestamp >= ? AND event_timestamp < ?"
            " GROUP BY user_id, item_id ORDER BY user_id, item_id",
            [since, before],
        )

    def examples(self, window: Window) -> pd.DataFrame:
        """Purchases of a window for the retrieval model, repeats within the window once."""
        return self.purchases(window)[["user_id", "item_id"]]

    def span(self, before: datetime) -> tuple[datetime, datetime]:
        """First and last purchase before an instant."""
        found = self.frame(
            "SELECT min(event_timestamp) AS first, max(event_timestamp) AS last FROM transactions"
            " WHERE event_timestamp < ?",
            [before],
        )
        if found["first"].isna().any():
            raise ValueError(f"No transactions before {before}; choose a later cut or run `endcap ingest`")
        return found["first"][0].to_pydatetime(), found["last"][0].to_pydatetime()


def tables_of(settings: Settings) -> Tables:
    """Where the tables of an installation are asked."""
    if settings.in_bigquery:
        from feature_repo.bigquery.tables import BigQueryTables

        return BigQueryTables(settings)
    return ParquetTables(settings)
