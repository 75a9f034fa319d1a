"""The service's logs as tables that can be analysed: SQLite in, Parquet out, each time a part of what is new.

    state/logs/exposures/   a row for each answer and each experiment that it is part of
    state/logs/slots/       a row for each item shown
    state/logs/draws/       a row for each answer whose last slots were drawn
    state/logs/events/      a row for each thing that a shopper did

A part is named by the rows of the log that it holds, written aside and renamed: a crash leaves no half of
one, and the next call goes on behind the last. Times are the shop's, UTC, in microseconds.

    endcap export-logs
"""

import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.settings import Settings
from jobs.result import Result

BATCH = 20_000  # rows of a log in one part
STAMP = pa.timestamp("us", tz="UTC")
EXPOSURES = pa.schema(
    {
        "request_id": pa.string(),
        "user_id": pa.string(),
        "experiment": pa.string(),  # null: in none
        "arm": pa.string(),
        "forced": pa.bool_(),
        "task": pa.string(),
        "k": pa.int64(),
        "shown_at": STAMP,
        "release": pa.string(),
        "rules": pa.string(),
        "latency_ms": pa.float64(),
        "degraded": pa.bool_(),
    }
)
SLOTS = pa.schema(
    {
        "request_id": pa.string(),
        "position": pa.int64(),  # from 1
        "item_id": pa.string(),
        "score": pa.float64(),
        "propensity": pa.float64(),  # with which it was shown, given the slots above it
        "explored": pa.bool_(),
        "bought_before": pa.bool_(),
    }
)
DRAWS = pa.schema(
    {
        "request_id": pa.string(),
        "temperature": pa.float64(),
        "pool": pa.list_(pa.string()),  # item ids that could be drawn, in the ranker's order
        "scores": pa.list_(pa.float64()),  # of each, log odds
        "eligible": pa.list_(pa.list_(pa.bool_())),  # of each drawn slot: who could be drawn
    }
)
EVENTS = pa.schema(
    {
        "event_id": pa.string(),
        "kind": pa.string(),
        "user_id": pa.string(),
        "item_id": pa.string(),
        "amount": pa.float64(),
        "request_id": pa.string(),
        "happened_at": STAMP,
    }
)
TABLES: Mapping[str, pa.Schema] = {
    "exposures": EXPOSURES,
    "slots": SLOTS,
    "draws": DRAWS,
    "events": EVENTS,
}
PART = re.compile(r"part-(\d{12})-(\d{12})\.parquet")
Rows = list[tuple[Any, ...]]


class NoLogsError(RuntimeError):
    """Nothing has been logged; the message says what would."""


def logs_folder(settings: Settings) -> Path:
    """Where the tables lie."""
    return settings.state / "logs"


def run(settings: Settings) -> Result:
    """Write what the logs have and the tables have not."""
    started, folder = time.perf_counter(), logs_folder(settings)
    n_exposures = grow(settings.exposure_log, EXPOSURE_ROWS, folder, ("slots", "draws", "exposures"), exposed)
    n_events = grow(settings.event_log, EVENT_ROWS, folder, ("events",), happened)
    detail = f"answers {n_exposures:,}, events {n_events:,}"
    seconds = time.perf_counter() - started
    return Result("export-logs", n_exposures + n_events, "new rows", folder, seconds, detail)


def table(settings: Settings, name: str) -> Path:
    """Folder of a table with at least one part; NoLogsError without."""
    folder = logs_folder(settings) / name
    if not any(folder.glob("part-*.parquet")):
        raise NoLogsError(
            f"No {name} are logged in {settings.state}; serve an experiment, or `endcap replay` one"
        )
    return folder


EXPOSURE_ROWS = (
    "SELECT seq, request_id, user_id, shown_us, content FROM exposures WHERE seq > ? ORDER BY seq LIMIT ?"
)
EVENT_ROWS = (
    "SELECT seq, event_id, kind, user_id, item_id, amount, request_id, received_us FROM events"
    " WHERE seq > ? ORDER BY seq LIMIT ?"
)


def grow(
    log: Path,
    query: str,
    folder: Path,
    names: Sequence[str],
    tables_of: Callable[[Rows], Mapping[str, Rows]],
) -> int:
    """Bring the tables of one log up to it: the last of `names` last, as it tells how far all are."""
    done, count = reached(folder / names[-1]), 0
    for rows in batches(log, query, done):
        found = tables_of(rows)
        for name in names:
            write_part(folder / name, TABLES[name], found[name], rows[0][0], rows[-1][0])
        count += len(rows)
    return count


def reached(folder: Path) -> int:
    """The last row of the log that a table's parts hold, 0 for none."""
    return max((int(PART.fullmatch(path.name)[2]) for path in parts(folder)), default=0)  # type: ignore[index]


def parts(folder: Path) -> list[Path]:
    """A table's parts, in order."""
    return sorted(path for path in folder.glob("part-*") if PART.fullmatch(path.name))


def batches(log: Path, query: str, after: int) -> Iterator[Rows]:
    """Rows of a log behind one, up to BATCH at a time; none where there is no log."""
    if not log.is_file():
        return
    try:
        with closing(sqlite3.connect(f"{log.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            while rows := connection.execute(query, (after, BATCH)).fetchall():
                yield rows
                after = rows[-1][0]
    except sqlite3.Error as error:
        raise NoLogsError(f"{log} cannot be read ({error})") from error


def write_part(folder: Path, schema: pa.Schema, rows: Rows, first: int, last: int) -> None:
    """One part, aside and renamed; `rows` are tuples in the schema's order."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    path = folder / f"part-{first:012d}-{last:012d}.parquet"
    aside = path.with_suffix(".aside")
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), aside)
    aside.replace(path)


def exposed(rows: Rows) -> Mapping[str, Rows]:
    """The rows of `exposures`, `slots` and `draws` of some answers."""
    exposures, slots, draws = [], [], []
    for _, request_id, user_id, shown_us, content in rows:
        told = orjson.loads(content)
        about = tuple(told[name] for name in ("task", "k"))
        served = (told["release"], told["rules"], told["latency_ms"], bool(told["degraded"]))
        for experiment, arm in told["arms"].items() or [(None, None)]:
            exposures.append(
                (request_id, user_id, experiment, arm, told["forced"], *about, shown_us, *served)
            )
        names = ("items", "scores", "propensities", "explored", "bought_before")
        page = zip(*(told[name] for name in names), strict=True)
        slots += [(request_id, position, *slot) for position, slot in enumerate(page, start=1)]
        if drawn := told.get("exploration"):
            draws.append((request_id, told["temperature"], drawn["pool"], drawn["scores"], drawn["eligible"]))
    return {"exposures": exposures, "slots": slots, "draws": draws}


def happened(rows: Rows) -> Mapping[str, Rows]:
    """The rows of `events`."""
    return {"events": [row[1:] for row in rows]}
