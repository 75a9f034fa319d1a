"""Bring your own data: a folder of Parquet files in the columns of `feature_repo/tables.py`.

    endcap ingest --source folder:/data/shop

In: `transactions.parquet` and `items.parquet`; `users.parquet` and `promotions.parquet` if there are any.
`calendar.json` beside them ({"timezone": "Europe/Berlin", "first_day": "2024-01-01"}) says when the shop's
weeks begin; without it they begin on Mondays at midnight UTC, the first one holding the first transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import duckdb

from feature_repo.shop_calendar import ShopCalendar
from feature_repo.tables import TABLES
from jobs.sources.source import EARLIEST, IngestError, RawTable, Span, quoted


@dataclass(frozen=True)
class Folder:
    """Parquet files that already have our column names; `recorded` is false: the shop goes on selling."""

    folder: Path
    name: str = "folder"
    recorded: bool = False

    @cached_property
    def calendar(self) -> ShopCalendar:
        """From calendar.json, else Mondays in UTC."""
        path = self.folder / "calendar.json"
        if not path.exists():
            first = self._first_transaction().date()
            return ShopCalendar("UTC", first - timedelta(days=first.weekday()))
        try:
            calendar = ShopCalendar.load(path)
            calendar.start(1)  # fails for a time zone that there is not
            return calendar
        except (KeyError, ValueError) as error:
            raise IngestError(
                f"{path} cannot be read ({error}); "
                f'write {{"timezone": "Europe/Berlin", "first_day": "2024-01-01"}}'
            ) from error

    def relations(
        self,
        con: duckdb.DuckDBPyConnection,  # noqa: ARG002 (files need no tables)
        span: Span | None = None,  # noqa: ARG002 (DuckDB reads no more than it must)
    ) -> Mapping[str, RawTable]:
        """Every table whose file exists; the required ones always, so that a missing file has a name."""
        return {
            name: RawTable(f"SELECT * FROM read_parquet({quoted(self._path(name))})", str(self._path(name)))
            for name, table in TABLES.items()
            if not table.optional or self._path(name).exists()
        }

    def _path(self, table: str) -> Path:
        return self.folder / f"{table}.parquet"

    def _first_transaction(self) -> datetime:
        """Earliest readable time; unreadable files are reported by ingest, which reads them first."""
        path = self._path("transactions")
        sql = f"""
            SELECT epoch_us(min(instant))
            FROM (SELECT try_cast(event_timestamp AS TIMESTAMPTZ) AS instant
                  FROM read_parquet({quoted(path)}))
            WHERE instant >= TIMESTAMPTZ {quoted(EARLIEST)}"""
        with duckdb.connect() as con:
            con.execute("SET TimeZone = 'UTC'")
            row = con.execute(sql).fetchone()
        if row is None or row[0] is None:
            raise IngestError(f"{path} has no readable event_timestamp; correct the column and ingest again")
        return datetime.fromtimestamp(row[0] / 1e6, UTC)


def open_source(argument: str, scale: float | None = None) -> Folder:
    """The folder `argument`; it cannot be scaled."""
    if scale is not None:
        raise IngestError(f"--scale is {scale}; a folder is taken as it is, leave --scale out")
    if not argument or not Path(argument).is_dir():
        raise IngestError(f"{argument!r} is no folder; use --source folder:/path/with/parquet")
    return Folder(Path(argument).absolute())
