"""Take in one local day of a source, through the same rules as a full ingest: `endcap ingest --date DAY`.

In: a source, and the tables of a full ingest that ends before the day. Out, in state/tables: a part
DAY.parquet of transactions, and of promotions that start on that day; items and users anew if they changed;
and days/DAY.json, written last. It says what happened to the rows, and how to tell whether the source's rows
of that day have changed since. A run that is cut off leaves no such file and is done again.

A line of a basket that has rows on two days is kept on both: only within a day are lines united by their key.
"""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import duckdb

from feature_repo.settings import Settings
from feature_repo.tables import ITEMS, PROMOTIONS, TABLES, TRANSACTIONS, USERS, Table
from jobs.ingest import aside_in, warehouse, write_table
from jobs.ingest_tables import TIMED, take_all
from jobs.result import Result
from jobs.sources import IngestError, RawTable, Source, Span, open_source
from jobs.sources.source import quoted


@dataclass(frozen=True)
class DayFile:
    """What an ingest of a day has left word of."""

    day: date
    fingerprint: str
    rows: int

    @staticmethod
    def path(settings: Settings, day: date) -> Path:
        """Where it is kept."""
        return settings.state / "tables" / "days" / f"{day.isoformat()}.json"

    @classmethod
    def read(cls, settings: Settings, day: date) -> "DayFile | None":
        """That of a day; None where the day is not in."""
        path = cls.path(settings, day)
        if not path.exists():
            return None
        record = json.loads(path.read_text())
        return cls(day, record["fingerprint"], record["tables"]["transactions"]["written"])


def run(
    settings: Settings, day: date, source: str = "complete_journey", scale: float | None = None
) -> Result:
    """Take in the rows of a day; IngestError where the source has none of that day and none after it."""
    started = perf_counter()
    if not (settings.state / "tables" / "ingest.json").exists():
        raise FileNotFoundError(f"No tables in {settings.state / 'tables'}; run `endcap ingest --until DAY`")
    found, folder = open_source(source, scale), settings.state / "tables"
    with aside_in(folder) as aside, warehouse(settings, aside) as con:
        record = _take(con, found, settings, day, aside)
    rows = record["tables"]["transactions"]["written"]
    notes = tuple(
        f"{name}: {rule['rows']:,} {rule['action']}: {rule['reason']}"
        for name, table in record["tables"].items()
        for rule in table["rules"]
    )
    nothing = () if rows else (f"{day} has no rows at all: a day without data, if the shop was closed",)
    where = settings.table_part("transactions", day)
    return Result("ingest", rows, "transactions", where, perf_counter() - started, str(day), nothing + notes)


def _take(
    con: duckdb.DuckDBPyConnection, source: Source, settings: Settings, day: date, aside: Path
) -> dict[str, Any]:
    """Write the parts and the record of a day; the record."""
    span = span_of(source, day)
    raw = source.relations(con, span)
    fingerprint = fingerprints(con, raw["transactions"], {day: span})[day]
    latest = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    intake = take_all(con, within(raw, span), latest, may_be_empty=True)
    if not intake.read["transactions"] and not later(con, raw["transactions"], span):
        raise IngestError(
            f"{source.name} has no row of {day} and none after it; run the same command when it has"
        )
    for table in (ITEMS, USERS):
        _keep_known(con, settings, table)
    record = {
        "day": day.isoformat(),
        "source": source.name,
        "fingerprint": fingerprint,
        "tables": {summary.name: summary.record() for summary in intake.summaries()},
    }
    for table in (ITEMS, USERS):
        if _changed(con, settings, table):
            path = aside / f"{table.name}.parquet"
            write_table(con, table, path)
            path.replace(settings.table(table.name))
    for table in (PROMOTIONS, TRANSACTIONS):
        part = settings.table_part(table.name, day)
        if table.optional and not intake.number(f"SELECT count(*) FROM {table.name}"):
            part.unlink(missing_ok=True)
            continue
        path = aside / f"{table.name}.parquet"
        write_table(con, table, path)
        path.replace(part)
    file = DayFile.path(settings, day)
    file.parent.mkdir(exist_ok=True)
    (aside / file.name).write_text(json.dumps(record, indent=1) + "\n")
    (aside / file.name).replace(file)
    return record


def span_of(source: Source, day: date) -> Span:
    """A local day of the shop, in UTC."""
    return Span(source.calendar.day_start(day), source.calendar.day_end(day))


def within(raw: Any, span: Span) -> dict[str, RawTable]:
    """Raw tables with nothing that happened outside of a span."""
    return {
        name: RawTable(f"SELECT * FROM ({table.sql}) WHERE {span.holds(TIMED[name])}", table.where)
        if name in TIMED
        else table
        for name, table in raw.items()
    }


def later(con: duckdb.DuckDBPyConnection, transactions: RawTable, span: Span) -> bool:
    """Whether anything was bought after a span."""
    when, end = "TRY_CAST(event_timestamp AS TIMESTAMPTZ)", f"TIMESTAMPTZ '{span.end.isoformat()}'"
    query = f"SELECT 1 FROM ({transactions.sql}) WHERE {when} >= {end} LIMIT 1"
    return con.execute(query).fetchone() is not None


def fingerprints(
    con: duckdb.DuckDBPyConnection, transactions: RawTable, spans: dict[date, Span]
) -> dict[date, str]:
    """For each span what changes when the source's rows do: their number, a sum over their hashes."""
    cases = " ".join(f"WHEN {span.holds('event_timestamp')} THEN '{day}'" for day, span in spans.items())
    rows = con.execute(
        f"SELECT day, count(*), sum(hash(columns)::HUGEINT) FROM (SELECT CASE {cases} END AS day,"
        f" row_of AS columns FROM ({transactions.sql}) AS row_of) WHERE day IS NOT NULL GROUP BY day"
    ).fetchall()
    found = {date.fromisoformat(day): f"{n} rows {total}" for day, n, total in rows}
    return {day: found.get(day, "0 rows 0") for day in spans}


def _keep_known(con: duckdb.DuckDBPyConnection, settings: Settings, table: Table) -> None:
    """Add the rows that are known from before and that the source does not describe (any more)."""
    con.execute(f"""INSERT INTO {table.name} BY NAME
                    SELECT {columns(table)} FROM read_parquet({quoted(settings.table(table.name))})
                    WHERE {table.key[0]} NOT IN (SELECT {table.key[0]} FROM {table.name})""")


def _changed(con: duckdb.DuckDBPyConnection, settings: Settings, table: Table) -> bool:
    """Whether a table is another than the one that is written."""
    written = f"(SELECT {columns(table)} FROM read_parquet({quoted(settings.table(table.name))}))"
    taken = f"(SELECT {columns(table)} FROM {table.name})"
    query = f"SELECT 1 FROM (({taken} EXCEPT {written}) UNION ALL ({written} EXCEPT {taken})) LIMIT 1"
    return con.execute(query).fetchone() is not None


def columns(table: Table) -> str:
    """Select list of a table's columns in the contract's types."""
    return ", ".join(
        f"{column.name}::{column.type} AS {column.name}" for column in TABLES[table.name].columns
    )
