"""What every source of raw data offers, and the error that names what is wrong with it.

A source renames: it brings a shop's own files into the columns of `feature_repo/tables.py`, as SQL.
It does not check, count or write; `jobs/ingest.py` does that, alike for all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import duckdb

from feature_repo.shop_calendar import ShopCalendar

EARLIEST = "1990-01-01 00:00:00+00"
"""A time before it is a zero, or a date that was never filled in."""
IS_PRODUCT = "is_product"
"""Column that raw items may carry beside the contract's: false for what is on the receipt but no product."""


class IngestError(ValueError):
    """Raw data that cannot be taken in; the message names table, file, column and what to do next."""


@dataclass(frozen=True)
class RawTable:
    """One table as the source has it: a SELECT with the contract's column names, and where it reads from."""

    sql: str
    where: str


@dataclass(frozen=True)
class Span:
    """From one UTC instant (inclusive) to another (exclusive)."""

    begin: datetime
    end: datetime

    def holds(self, column: str) -> str:
        """SQL: whether a column, in whatever form it is, lies in it."""
        when = f"TRY_CAST({column} AS TIMESTAMPTZ)"
        begin, end = (f"TIMESTAMPTZ '{each.isoformat()}'" for each in (self.begin, self.end))
        return f"({when} >= {begin} AND {when} < {end})"


class Source(Protocol):
    """A shop's raw data."""

    @property
    def name(self) -> str:
        """What `endcap ingest --source` calls it."""

    @property
    def recorded(self) -> bool:
        """Whether the data ended in the past: its clock then stands still at the release's instant."""

    @property
    def calendar(self) -> ShopCalendar:
        """The shop's weeks."""

    def relations(self, con: duckdb.DuckDBPyConnection, span: "Span | None" = None) -> Mapping[str, RawTable]:
        """Raw tables by the contract's names; tables that are not in files are created on `con`.

        With a `span` of time, what happened outside may be left out where that saves reading it.
        """


def quoted(text: str | Path) -> str:
    """Text as an SQL string literal.

    >>> quoted("Wendy's")
    "'Wendy''s'"
    """
    return "'" + str(text).replace("'", "''") + "'"
