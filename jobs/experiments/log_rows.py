"""What the rows of the service's logs are as tables: their columns, and how they are made.

In: rows of a log, `seq` first. Out: tuples in the order of a table's columns.

    made = EXPOSURE_ROWS.made(rows)
    made["slots"][0]        # request_id, position, item_id, ...
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

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
        "shown_at": STAMP,
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
        "shown_at": STAMP,
        "temperature": pa.float64(),
        "pool": pa.list_(pa.string()),  # item ids that could be drawn, in the ranker's order
        "scores": pa.list_(pa.float64()),  # of each, log odds
        "eligible": pa.list_(pa.bool_()),  # who of the pool could be drawn, slot after slot
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
TIMES: Mapping[str, str] = {  # when a row of each table was made
    "exposures": "shown_at",
    "slots": "shown_at",
    "draws": "shown_at",
    "events": "happened_at",
}
TABLES: Mapping[str, pa.Schema] = {
    "exposures": EXPOSURES,
    "slots": SLOTS,
    "draws": DRAWS,
    "events": EVENTS,
}
Tuples = list[tuple[Any, ...]]


class NoLogsError(RuntimeError):
    """Nothing has been logged; the message says what would."""


@dataclass(frozen=True)
class Rows:
    """What is read of a log: its table in SQLite, the columns after `seq`, and the tables made of them.

    The last of the tables is written last, as it tells how far all are; it begins with the log's `key`.
    """

    of: str
    key: str
    columns: str
    tables: tuple[str, ...]
    made: Callable[[Tuples], Mapping[str, Tuples]]


def exposed(rows: Tuples) -> Mapping[str, Tuples]:
    """The rows of `exposures`, `slots` and `draws` of some answers."""
    exposures, slots, draws = [], [], []
    for seq, request_id, user_id, shown_us, content in rows:
        told = answer_of(seq, content)
        about = tuple(told[name] for name in ("task", "k"))
        served = (told["release"], told["rules"], told["latency_ms"], bool(told["degraded"]))
        for experiment, arm in told["arms"].items() or [(None, None)]:
            exposures.append(
                (request_id, user_id, experiment, arm, told["forced"], *about, shown_us, *served)
            )
        names = ("items", "scores", "propensities", "explored", "bought_before")
        page = zip(*(told[name] for name in names), strict=True)
        slots += [(request_id, shown_us, position, *slot) for position, slot in enumerate(page, start=1)]
        drawn = told.get("exploration")
        if drawn and drawn["eligible"]:  # else the page was too short to draw any
            eligible = [able for slot in drawn["eligible"] for able in slot]
            draws.append(
                (request_id, shown_us, told["temperature"], drawn["pool"], drawn["scores"], eligible)
            )
    return {"exposures": exposures, "slots": slots, "draws": draws}


def answer_of(seq: int, content: bytes) -> dict[str, Any]:
    """What a row of the log tells of an answer; NoLogsError where it tells nothing."""
    try:
        told: dict[str, Any] = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise NoLogsError(f"Row {seq} of the log of exposures cannot be read ({error})") from error
    return told


def happened(rows: Tuples) -> Mapping[str, Tuples]:
    """The rows of `events`."""
    return {"events": [row[1:] for row in rows]}


EXPOSURE_ROWS = Rows(
    of="exposures",
    key="request_id",
    columns="request_id, user_id, shown_us, content",
    tables=("slots", "draws", "exposures"),
    made=exposed,
)
EVENT_ROWS = Rows(
    of="events",
    key="event_id",
    columns="event_id, kind, user_id, item_id, amount, request_id, received_us",
    tables=("events",),
    made=happened,
)
