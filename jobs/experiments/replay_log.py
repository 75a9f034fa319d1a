"""How far a replay has come, as its own logs have it: what goes on after a crash, goes on from there.

done = played(own, trips)               # those trips whose last event is in the log
shown = pages_shown(own, name, trip, nth=0)
shown[None], shown["engine"]            # the page of a trip that was cut off, and a tester's
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_repo.settings import Settings
from feature_repo.stores.packed.instants import microseconds
from jobs.experiments.trips import Trip


@dataclass(frozen=True)
class Page:
    """What was shown for a trip."""

    request_id: str
    item_ids: tuple[str, ...]


def rows(log: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of a log, none where there is no log yet."""
    if not log.is_file():
        return []
    with closing(sqlite3.connect(f"{log.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query, values).fetchall()


def played(settings: Settings, trips: Sequence[Trip]) -> list[Trip]:
    """Those trips that were played to their end: the last purchase is in the log."""
    logged = {name for (name,) in rows(settings.event_log, "SELECT event_id FROM events")}
    return [trip for trip in trips if trip.event_id(list(trip.items)[-1], "purchase") in logged]


def pages_shown(settings: Settings, experiment: str, trip: Trip, *, nth: int) -> Mapping[str | None, Page]:
    """The pages that a trip has by now: its own under None, a tester's under the arm of an experiment.

    It is the `nth` trip of its shopper at that instant, from 0.
    """
    query = "SELECT request_id, content FROM exposures WHERE user_id = ? AND shown_us = ? ORDER BY seq"
    found = defaultdict(list)
    for request_id, content in rows(settings.exposure_log, query, trip.user_id, microseconds(trip.paid_at)):
        told = json.loads(content)
        arm = told["arms"][experiment] if told["forced"] else None
        found[arm].append(Page(request_id, tuple(told["items"])))
    return {arm: pages[nth] for arm, pages in found.items() if len(pages) > nth}


def shown_so(settings: Settings) -> tuple[int, str] | None:
    """How many items of which task a replay's pages have, None before the first."""
    for (content,) in rows(settings.exposure_log, "SELECT content FROM exposures ORDER BY seq LIMIT 1"):
        told = json.loads(content)
        return told["k"], told["task"]
    return None
