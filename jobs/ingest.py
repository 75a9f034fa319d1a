"""Bring a shop's raw data to the tables of `feature_repo/tables.py`: `endcap ingest --source NAME`.

In: a source (jobs/sources). Out, in state/tables: a folder for each of transactions, items, users and
promotions with one part, base.parquet (microseconds, UTC), calendar.json, and ingest.json, written last:
without it the tables are not whole. Parts of single days (jobs/ingest_day.py) go.

Nothing is dropped silently: every row that is not written as it came is counted under a reason
(jobs/row_rules.py). Two things are wrong with a table rather than a row and end the ingest with an
`IngestError`: a file that cannot be read or lacks a column, and a table of which nothing is left.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb

from feature_repo.settings import Settings
from feature_repo.tables import TABLES, Table
from jobs.ingest_summary import Summary
from jobs.ingest_tables import take_all
from jobs.result import Result
from jobs.sources import IngestError, Source, open_source
from jobs.sources.source import quoted

__all__ = ["IngestError", "Summary", "ingest", "run"]

MANIFEST = "ingest.json"
MEMORY = "3GB"
SORTED_BY = {
    "transactions": "event_timestamp, user_id, basket_id, item_id",  # lets readers skip row groups
    "items": "item_id",
    "users": "user_id",
    "promotions": "starts_at, item_id, kind",
}


def run(
    settings: Settings,
    source: str = "complete_journey",
    scale: float | None = None,
    until: date | None = None,
) -> Result:
    """Ingest the named source; `scale`: share of a recording's households, factor of the synthetic shop.

    With `until`, nothing of what happened after that local day.
    """
    summary = ingest(open_source(source, scale), settings, until=until)
    return Result(
        step="ingest",
        rows=summary.table("transactions").written,
        unit="transactions",
        where=settings.state / "tables",
        detail=f"{summary.first[:10]} to {summary.last[:10]}",
        notes=summary.lines,
    )


def ingest(
    source: Source, settings: Settings, *, until: date | None = None, now: datetime | None = None
) -> Summary:
    """Check, correct and write all tables of `source`; what stood there before stays until all is written.

    Parameters
    ----------
    source
        Where raw relations come from.
    settings
        Where the tables go, and how many threads may be used.
    until
        Last local day that is taken in; what came after is left out, and counted. Default: all.
    now
        Time-zone-aware instant; transactions more than a day later are refused. Default: the clock.
    """
    latest = ((now or datetime.now(UTC)) + timedelta(days=1)).isoformat()
    folder = settings.state / "tables"
    with aside_in(folder) as aside, warehouse(settings, aside) as con:
        end = source.calendar.day_end(until) if until else None
        intake = take_all(con, source.relations(con), latest, end=end)
        for name in SORTED_BY:
            write_table(con, TABLES[name], aside / f"{name}.parquet")
        summary = Summary(
            source.name, source.recorded, source.calendar, *_period(con), intake.summaries(), until
        )
        source.calendar.save(aside / settings.shop_calendar.name)
        (aside / MANIFEST).write_text(json.dumps(summary.record(), indent=1) + "\n")
        _publish(aside, settings)
    return summary


@contextmanager
def aside_in(folder: Path) -> Iterator[Path]:
    """Empty folder to write in, on the same file system; gone afterwards, whatever happens."""
    aside = folder / ".aside"
    shutil.rmtree(aside, ignore_errors=True)  # what an interrupted ingest left
    aside.mkdir(parents=True)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def warehouse(settings: Settings, aside: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB in memory, in UTC, that spills into `aside`."""
    with duckdb.connect(config={"threads": settings.threads, "memory_limit": MEMORY}) as con:
        con.execute(f"SET temp_directory = {quoted(aside / 'spill')}; SET TimeZone = 'UTC'")
        con.execute("SET enable_progress_bar = false")  # its guesses ("5 hours remaining") are of no use
        yield con


def write_table(con: duckdb.DuckDBPyConnection, table: Table, path: Path) -> None:
    """Sorted Parquet; JSON is written as plain text, which every reader takes for a string."""
    columns = ", ".join(f"{column.name}::VARCHAR AS {column.name}" if column.type == "JSON" else column.name
                        for column in table.columns)  # fmt: skip
    order = SORTED_BY[table.name]
    con.execute(f"""COPY (SELECT {columns} FROM {table.name} ORDER BY {order}) TO {quoted(path)}
                    (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)""")


def _period(con: duckdb.DuckDBPyConnection) -> tuple[str, str]:
    """First and last transaction, as ISO text in UTC."""
    sql = "SELECT epoch_us(min(event_timestamp)), epoch_us(max(event_timestamp)) FROM transactions"
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    first, last = (
        (epoch + timedelta(microseconds=value)).isoformat() for value in con.execute(sql).fetchall()[0]
    )
    return first, last


def _publish(aside: Path, settings: Settings) -> None:
    """Rename all files into place: the old manifest goes first and the new one comes last."""
    folder = settings.state / "tables"
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in SORTED_BY:
        base = settings.table(name)
        base.parent.mkdir(exist_ok=True)
        for part in set(base.parent.iterdir()) - {base}:
            part.unlink()
        (aside / f"{name}.parquet").replace(base)
    for name in (settings.shop_calendar.name, MANIFEST):
        (aside / name).replace(folder / name)
