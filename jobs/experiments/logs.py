"""The service's logs as tables that can be analysed: SQLite in, Parquet out, each time a part of what is new.

    state/logs/exposures/   a row for each answer and each experiment that it is part of
    state/logs/slots/       a row for each item shown
    state/logs/draws/       a row for each answer whose last slots were drawn
    state/logs/events/      a row for each thing that a shopper did

A part is named by the rows of the log that it holds, written aside and renamed: a crash leaves no half of
one, and the next call goes on behind the last whole batch. Calls take turns. Times are the shop's, UTC, in
microseconds. Under the gcp profile the parts are then loaded into BigQuery (`bigquery_log.py`) or, with
--watch, streamed (`bigquery_stream.py`).

    endcap export-logs
    endcap export-logs --watch 5
"""

import fcntl
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.settings import Settings
from jobs.experiments.log_rows import EVENT_ROWS, EXPOSURE_ROWS, TABLES, NoLogsError, Rows, Tuples
from jobs.result import Result

BATCH = 20_000  # rows of a log in one part
PART = re.compile(r"part-(\d{12})-(\d{12})\.parquet")


def logs_folder(settings: Settings) -> Path:
    """Where the tables lie."""
    return settings.state / "logs"


def run(settings: Settings) -> Result:
    """Write what the logs have and the tables have not."""
    return exported(settings)[0]


def watched(
    settings: Settings, every_s: float, *, ended: Callable[[float], bool], say: Callable[[str], None]
) -> Iterator[Result]:
    """The rounds that moved something, one every so many seconds until `ended`, which waits as long, says so.

    What goes wrong in a later round is said, and the next one goes on where it stopped.
    """
    result, moved = exported(settings, stream=True)
    while True:
        if moved:
            yield result
        if ended(every_s):
            return
        moved = 0
        try:
            result, moved = exported(settings, stream=True)
        except (ValueError, RuntimeError, OSError) as error:
            say(f"could not export: {error}")


def exported(settings: Settings, *, stream: bool = False) -> tuple[Result, int]:
    """What one round did, and how many rows and parts it moved; after one with `stream`, parts are streamed.

    Events first: the answers that they name were on the disk before them, and so are in the tables, too.
    """
    started, folder = time.perf_counter(), logs_folder(settings)
    n_parts = 0
    with alone(folder):
        n_events = grow(settings.event_log, EVENT_ROWS, folder)
        n_exposures = grow(settings.exposure_log, EXPOSURE_ROWS, folder)
        detail = f"answers {n_exposures:,}, events {n_events:,}"
        if settings.in_bigquery:
            from jobs.experiments.bigquery_log import load

            n_parts = load(settings, stream=stream)
            detail += f", parts loaded into BigQuery {n_parts:,}"
    n_rows, seconds = n_exposures + n_events, time.perf_counter() - started
    return Result("export-logs", n_rows, "new rows", folder, seconds, detail), n_rows + n_parts


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until nobody else writes the tables; the lock is the kernel's and ends with its holder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def table(settings: Settings, name: str) -> Path:
    """Folder of a table with at least one part; NoLogsError without."""
    folder = logs_folder(settings) / name
    if not any(folder.glob("part-*.parquet")):
        raise NoLogsError(
            f"No {name} are logged in {settings.state}; serve an experiment, or `endcap replay` one"
        )
    return folder


def grow(log: Path, rows: Rows, folder: Path) -> int:
    """Bring the tables of one log up to it; how many rows were new. None where there is no log."""
    done, count = reached(folder / rows.tables[-1]), 0
    remove_beyond(done, [folder / name for name in rows.tables])
    if not log.is_file():
        return 0
    try:
        with closing(sqlite3.connect(f"{log.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            check_same(connection, rows, log, folder)
            for batch in batches(connection, rows, done):
                found = rows.made(batch)
                for name in rows.tables:
                    write_part(folder / name, TABLES[name], found[name], batch[0][0], batch[-1][0])
                count += len(batch)
    except sqlite3.Error as error:
        raise NoLogsError(
            f"{log} cannot be read ({error}); `endcap serve` brings one of an older version up to date,"
            f" a broken one move away, and {folder} with it"
        ) from error
    return count


def remove_beyond(done: int, folders: Sequence[Path]) -> None:
    """Take away what a call that was cut off has left: parts that not all tables have, and halves."""
    for folder in folders:
        for path in (*folder.glob("*.aside"), *parts(folder)):
            if path.suffix == ".aside" or rows_of(path)[0] > done:
                path.unlink()


def check_same(connection: sqlite3.Connection, rows: Rows, log: Path, folder: Path) -> None:
    """NoLogsError where the tables were made of another log: its rows would be passed over."""
    found = parts(folder / rows.tables[-1])
    if found:
        last = pq.read_table(found[-1], columns=[rows.key])[0][-1].as_py()
        query = f"SELECT {rows.key} FROM {rows.of} WHERE seq = ?"
        if connection.execute(query, (rows_of(found[-1])[1],)).fetchone() != (last,):
            raise NoLogsError(
                f"{log} is not the log that {folder} was made of; move {folder} away, and export again"
            )


def reached(folder: Path) -> int:
    """The last row of the log that a table's parts hold, 0 for none."""
    return max((rows_of(path)[1] for path in parts(folder)), default=0)


def rows_of(part: Path) -> tuple[int, int]:
    """First and last row of the log that a part holds, by its name."""
    first, last = PART.fullmatch(part.name).groups()  # type: ignore[union-attr]
    return int(first), int(last)


def parts(folder: Path) -> list[Path]:
    """A table's parts, in order."""
    return sorted(path for path in folder.glob("part-*") if PART.fullmatch(path.name))


def batches(connection: sqlite3.Connection, rows: Rows, after: int) -> Iterator[Tuples]:
    """Rows of a log behind one, up to BATCH at a time; those that come meanwhile are for the next call."""
    (newest,) = connection.execute(f"SELECT coalesce(max(seq), 0) FROM {rows.of}").fetchone()
    query = f"SELECT seq, {rows.columns} FROM {rows.of} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
    while batch := connection.execute(query, (after, newest, BATCH)).fetchall():
        yield batch
        after = batch[-1][0]


def write_part(folder: Path, schema: pa.Schema, rows: Tuples, first: int, last: int) -> None:
    """One part, aside and renamed; `rows` are tuples in the schema's order."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    path = folder / f"part-{first:012d}-{last:012d}.parquet"
    aside = path.with_suffix(".aside")
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), aside)
    aside.replace(path)
