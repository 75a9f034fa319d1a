"""Events: how fast they are kept, and how soon they change an answer.

A server of our own over a copy of the online store, so that nobody has bought what a bench made up.
"""

import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import quantiles
from typing import Any

from feature_repo.settings import Settings
from jobs.benches.copies import copied
from jobs.benches.load import ask_all
from jobs.benches.serving import cpu_seconds, shoppers
from jobs.local_server import LocalServer, local_server

EVENTS, RECOMMEND = "/events", "/online/recommend"
VISITS, SINGLES, BATCHES, BATCH = 300, 5_000, 100, 100
CONCURRENCY = 32
APPLIED_WITHIN_S = 120.0
Record = dict[str, Any]
TAGS = {"report": "bench_serving", "design": "packed", "store": "sqlite"}


def records(settings: Settings) -> Iterator[Record]:
    """Read your own write, single events, batches of purchases; RuntimeError if one of them is lost."""
    users = shoppers(settings, SINGLES)
    with tempfile.TemporaryDirectory(dir=settings.state, prefix="events-") as folder:
        apart = copied(settings, Path(folder))
        with local_server(apart) as server:
            yield from own_writes(server, users[:VISITS])
            clicks = [[event(n, "click", user)] for n, user in enumerate(users)]
            yield from kept(server, clicks, "click", apart.event_log)
            yield from kept(server, list(purchases(users)), "purchase", apart.event_log)
        with closing(sqlite3.connect(apart.event_log)) as log:
            (count,) = log.execute("SELECT count(*) FROM events").fetchone()
    sent = VISITS + SINGLES + BATCHES * BATCH
    if count != sent:
        raise RuntimeError(f"{sent:,} events were sent and acknowledged, {count:,} are in the log")


def event(number: int, kind: str, user: str, item: str = "819063") -> Record:
    """An event as JSON; its number and kind are its id."""
    return {"event_id": f"{kind}-{number}", "kind": kind, "user_id": user, "item_id": item}


def purchases(users: Sequence[str]) -> Iterator[list[Record]]:
    """Batches of purchases of many shoppers."""
    for batch in range(BATCHES):
        numbers = range(batch * BATCH, (batch + 1) * BATCH)
        yield [event(n, "purchase", users[n % len(users)], str(1_000_000 + n)) for n in numbers]


def own_writes(server: LocalServer, users: Sequence[str]) -> Iterator[Record]:
    """Milliseconds from sending a basket to having the answer that knows of it."""
    spent = []
    for number, user in enumerate(users):
        asked = {"user_id": user, "k": 10}
        (before,) = ask_all(server.url, RECOMMEND, [asked], concurrency=1).answers
        first = before["items"][0]["item_id"]
        began = time.perf_counter()
        ask_all(server.url, EVENTS, [event(number, "add_to_cart", user, first)], concurrency=1)
        (after,) = ask_all(server.url, RECOMMEND, [asked], concurrency=1).answers
        spent.append((time.perf_counter() - began) * 1e3)
        if first in [item["item_id"] for item in after["items"]]:
            raise RuntimeError(f"User {user!r} is shown {first!r}, which is in their basket")
    cuts = quantiles(spent, n=100, method="inclusive")
    for p in (50, 99):
        yield {**TAGS, "metric": f"event_to_answer_p{p}_ms", "value": cuts[p - 1], "unit": "ms"}


def kept(server: LocalServer, requests: Sequence[Sequence[Record]], kind: str, log: Path) -> Iterator[Record]:
    """Events a second, kept and, of purchases, in the feature rows; and the server's CPU time until then."""
    size = len(requests[0])
    tags = {**TAGS, "kind": kind, "events_a_request": size, "concurrency": CONCURRENCY}
    bodies = [{"events": list(events)} for events in requests]
    before, began = cpu_seconds(server), time.perf_counter()
    load = ask_all(server.url, EVENTS, bodies, concurrency=CONCURRENCY)
    wait_until_applied(log)
    applied_s = time.perf_counter() - began
    cpu, n = cpu_seconds(server) - before, size * len(requests)
    if not all(answer["accepted"] == size for answer in load.answers):
        raise RuntimeError(f"Not all {kind} events were accepted")
    yield {**tags, "metric": "events_s", "value": n / load.seconds, "unit": "1/s"}
    yield {**tags, "metric": "events_applied_s", "value": n / applied_s, "unit": "1/s"}
    yield {**tags, "metric": "event_cpu_ms", "value": 1e3 * cpu / n, "unit": "ms"}
    for name, value in load.quantiles_ms():
        yield {**tags, "metric": name, "value": value, "unit": "ms"}


def wait_until_applied(log: Path) -> None:
    """Return when feature rows have every purchase; RuntimeError if they do not in time."""
    left, until = 1, time.monotonic() + APPLIED_WITHIN_S
    with closing(sqlite3.connect(log)) as connection:
        while left:
            query = "SELECT count(*) FROM events WHERE kind = 'purchase' AND applied = 0"
            (left,) = connection.execute(query).fetchone()
            if left and time.monotonic() > until:
                raise RuntimeError(f"{left:,} purchases are not in the feature rows")
            time.sleep(0.02 if left else 0.0)
