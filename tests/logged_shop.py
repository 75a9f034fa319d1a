"""Answers and events of a made-up shop in a service's own logs, and these read by plain Python."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import chain

import numpy as np
import pyarrow.parquet as pq

from bentos.assignment import Assigned
from bentos.event_log import Event, EventLog
from bentos.exploration import Exploration
from bentos.exposure_log import Exposure, ExposureLog
from bentos.recommend import Recommendation
from bentos.slots import Slot
from feature_repo.settings import Settings
from jobs.experiments import logs
from jobs.experiments.log_rows import TABLES

SINCE_US = 1_512_363_600_000_001  # 2017-12-04 05:00:00.000001 UTC
ARMS = ({}, {"engine": "a"}, {"engine": "b"}, {"engine": "a", "rules": "on"})
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def slot(rng, rank, drawn):
    """One item."""
    return Slot(
        item_id=f"i{rng.integers(99)}",
        title="",
        score=float(rng.normal()),
        rank=rank,
        sources=(),
        reason="",
        bought_before=bool(rng.random() < 0.5),
        propensity=float(rng.uniform(0.1, 1)) if drawn else 1.0,
        explored=drawn,
    )


def exposure(rng, name):
    """An answer in none, one or two experiments; some were forced, degraded or explored."""
    pool = int(rng.integers(2, 5)) if rng.random() < 0.5 else 0
    slots = tuple(slot(rng, rank, pool > 0 and rank > 2) for rank in range(1, int(rng.integers(1, 6))))
    who = [(rng.random(pool) < 0.7).tolist() for each in slots if each.explored]
    draws = Exploration([f"i{n}" for n in range(pool)], rng.normal(size=pool).tolist(), who) if who else None
    late = ("the ranker is late",) if rng.random() < 0.3 else ()
    found = Recommendation(f"u{rng.integers(9)}", "all", "r:1", slots, late, exploration=draws)
    arms = ARMS[rng.integers(len(ARMS))]
    return Exposure(
        name,
        found,
        len(slots),
        shown_us=SINCE_US + int(rng.integers(10**12)),
        latency_ms=float(rng.uniform(1, 30)),
        assigned=Assigned(arms, forced=bool(arms) and bool(rng.random() < 0.3)),
        temperature=0.5 if who else None,
    )


def event(rng, name):
    """A click or a purchase, with and without the answer that led to it."""
    bought = bool(rng.random() < 0.5)
    told = f"r{rng.integers(9)}" if rng.random() < 0.5 else None
    paid = float(rng.uniform(1, 9)) if bought else None
    kind = "purchase" if bought else "click"
    return Event(name, kind, f"u{rng.integers(9)}", f"i{rng.integers(99)}", paid, told)


def log_answers(settings, first, n):
    """Answers r{first} and so on, each by its own seed; n of them."""
    log = ExposureLog(settings.exposure_log)
    log.append([exposure(np.random.default_rng(number), f"r{number}") for number in range(first, first + n)])
    log.close()


def log_events(settings, first, n):
    """Events e{first} and so on, n of them."""
    log = EventLog(settings.event_log)
    events = [event(np.random.default_rng(number), f"e{number}") for number in range(first, first + n)]
    log.append([events], now_us=SINCE_US, arrived_s=0.0)
    log.close()


def empty_logs(folder):
    """Settings over logs without a row."""
    settings = Settings(state=folder / "state", reports=folder / "reports")
    log_answers(settings, 0, 0)
    log_events(settings, 0, 0)
    return settings


def rows(path, query):
    """Rows of a log."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def instant(microseconds):
    """A time as Arrow gives it."""
    return EPOCH + timedelta(microseconds=microseconds)


def expected(settings):
    """What the tables should hold, by name: dicts, in the logs' order."""
    found = {"exposures": [], "slots": [], "draws": [], "events": []}
    query = "SELECT request_id, user_id, shown_us, content FROM exposures ORDER BY seq"
    for name, user, shown_us, content in rows(settings.exposure_log, query):
        told, key = json.loads(content), {"request_id": name, "shown_at": instant(shown_us)}
        row = {**key, "user_id": user, "degraded": len(told["degraded"]) > 0}
        row |= {what: told[what] for what in ("forced", "task", "k", "release", "rules", "latency_ms")}
        arms = list(told["arms"].items()) if told["arms"] else [(None, None)]
        found["exposures"] += [{**row, "experiment": experiment, "arm": arm} for experiment, arm in arms]
        for place in range(len(told["items"])):
            columns = {"item_id": "items", "score": "scores", "propensity": "propensities"}
            columns |= {"explored": "explored", "bought_before": "bought_before"}
            of_slot = {ours: told[theirs][place] for ours, theirs in columns.items()}
            found["slots"].append({**key, "position": place + 1, **of_slot})
        if told["exploration"] is not None:
            drawn = {**told["exploration"], "eligible": [*chain(*told["exploration"]["eligible"])]}
            found["draws"].append({**key, "temperature": told["temperature"], **drawn})
    columns = ("event_id", "kind", "user_id", "item_id", "amount", "request_id")
    for *row, us in rows(
        settings.event_log, f"SELECT {', '.join(columns)}, received_us FROM events ORDER BY seq"
    ):
        found["events"].append({**dict(zip(columns, row, strict=True)), "happened_at": instant(us)})
    return found


def exported(settings):
    """What the tables hold, by name: the parts one after the other."""
    return {
        name: [
            row
            for part in logs.parts(settings.state / "logs" / name)
            for row in pq.read_table(part).to_pylist()
        ]
        for name in TABLES
    }
