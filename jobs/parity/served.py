"""Answers of the log of features, as the audit reads them.

In: state/features.db (`bentos.feature_log`). Out: `Served`, one an answer.

    for answer in served(settings.feature_log, most=1000):
        answer.users["user_stats"].values["user_spend_7d"]
"""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from feature_repo.pair_features import Floats

FOREVER = 2**62


class NoReadsError(RuntimeError):
    """No answer's features are logged; the message says what would."""


@dataclass(frozen=True)
class ReadRow:
    """A shopper's row of one view as it was read, by feature; event time in microseconds since 1970."""

    event_us: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class ReadItems:
    """Rows of some items as they were read; event_us is 0 where there was none."""

    names: Sequence[str]
    ids: Sequence[str]
    event_us: NDArray[np.int64]  # (n_items,)
    values: Floats  # (n_items, n_names)


@dataclass(frozen=True)
class Served:
    """What one answer read: when, as of when, and up to when the job's rows told all, by view."""

    request_id: str
    user_id: str
    asked_us: int
    as_of_us: int
    known_us: Mapping[str, int | None]
    users: Mapping[str, ReadRow | None]
    items: Sequence[ReadItems]


def served(
    path: Path, *, since_us: int = -FOREVER, until_us: int = FOREVER, most: int = FOREVER
) -> list[Served]:
    """Up to `most` answers asked at (since, until], the newest of them, in the order they were given.

    Raises NoReadsError where there are none.
    """
    why = f"No features are logged in {path} for that time; serve with ENDCAP_LOG_FEATURES above 0"
    if not path.is_file():
        raise NoReadsError(why)
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT request_id, user_id, asked_us, content FROM reads"
            " WHERE asked_us > ? AND asked_us <= ? ORDER BY seq DESC LIMIT ?",
            (since_us, until_us, most),
        ).fetchall()
    if not rows:
        raise NoReadsError(why)
    return [served_of(*row) for row in reversed(rows)]


def served_of(request_id: str, user_id: str, asked_us: int, content: bytes) -> Served:
    """One row of the log."""
    told = orjson.loads(content)
    users = {
        view: None if row is None else ReadRow(row["event_us"], row["values"])
        for view, row in told["users"].items()
    }
    items = [
        ReadItems(
            each["names"],
            each["ids"],
            np.array(each["event_us"], np.int64),
            np.array(each["values"], np.float32).reshape(len(each["ids"]), len(each["names"])),
        )
        for each in told["items"]
    ]
    return Served(request_id, user_id, asked_us, told["as_of_us"], told["known_us"], users, items)
