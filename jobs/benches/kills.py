"""Kills: whether what was acknowledged is kept, and counts once, whenever the server dies.

A server of our own over a copy of the online store is killed again and again, with all of its processes,
while clients buy. What was not acknowledged they send again, under the same id, as soon as somebody listens.
When all is over the log is held against what was acknowledged, and the buyers' feature rows against the log.
"""

import http.client
import json
import os
import random
import signal
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from feature_repo.settings import Settings
from jobs.benches.copies import copied
from jobs.benches.events import EVENTS, TAGS
from jobs.benches.serving import processes
from jobs.local_server import LocalServer, local_server

KILLS, CLIENTS, SEED = 20, 8, 7
LIFE_S = (0.1, 2.0)  # from ready to killed, drawn evenly
ITEMS = [str(1_000_000 + number) for number in range(20)]
RETRY_S, ANSWER_S, APPLY_S = 0.05, 10.0, 60.0
PENDING = "SELECT count(*) FROM events WHERE kind = 'purchase' AND applied = 0"
BOUGHT = """SELECT user_id, item_id, count(DISTINCT received_us) FROM events
            WHERE kind = 'purchase' GROUP BY user_id, item_id"""
NOT_ONE = ("lost_events", "doubled_events", "missing_purchases", "surplus_purchases")
Record = dict[str, Any]
Bought = Counter[tuple[str, str]]  # baskets by shopper and item


@dataclass
class Clients:
    """Buyers, each under its own name, and the ids of what was acknowledged to them."""

    names: Sequence[str]
    url: str = ""
    acknowledged: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """All buy for as long as the block lasts, and each has its last purchase acknowledged."""
        threads = [threading.Thread(target=self.buy_on, args=(name,), daemon=True) for name in self.names]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(ANSWER_S)

    def buy_on(self, name: str) -> None:
        """Baskets of one to three items and a click, until told to stop."""
        rng = random.Random(f"{SEED} {name}")  # noqa: S311 - the same baskets in every run
        for number in count():
            if self.stop.is_set():
                return
            kinds = ["click"] + ["purchase"] * rng.randint(1, 3)
            self.send_until_acknowledged(
                [
                    {"event_id": f"{name} {number} {n}", "kind": kind, "user_id": name, "item_id": item}
                    for n, (kind, item) in enumerate(zip(kinds, rng.sample(ITEMS, len(kinds)), strict=True))
                ]
            )

    def send_until_acknowledged(self, events: Sequence[Record]) -> None:
        """Send events to whoever listens, again and again, until they are kept or all is over."""
        ids = [each["event_id"] for each in events]
        while True:
            try:
                status, answer = posted(self.url, {"events": list(events)})
            except (OSError, http.client.HTTPException):
                if self.stop.is_set():
                    return
                time.sleep(RETRY_S)
                continue
            if status == 200 and answer["accepted"] + answer["duplicates"] == len(events):
                self.acknowledged.update(ids)
            else:
                self.refused.append(f"{status} {answer}")
            return


def posted(url: str, body: Record) -> tuple[int, Record]:
    """(status, answer) of one request on a connection of its own; OSError where nobody listens."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_S)
    with closing(connection):
        connection.request("POST", EVENTS, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def records(settings: Settings) -> Iterator[Record]:
    """Kills, what was acknowledged, lost and doubled, and seconds until ready; RuntimeError for a loss."""
    clients = Clients([f"killed-{number}" for number in range(CLIENTS)])
    with tempfile.TemporaryDirectory(dir=settings.state, prefix="kills-") as folder:
        apart = copied(settings, Path(folder))
        ready_s = killed_again_and_again(apart, clients, kills=KILLS)
        found = list(accounts(apart, clients, ready_s))
    yield from found
    wrong = {each["metric"]: each["value"] for each in found if each["metric"] in NOT_ONE and each["value"]}
    acknowledged = next(each["value"] for each in found if each["metric"] == "acknowledged_events")
    if wrong or clients.refused or not acknowledged:
        raise RuntimeError(f"After {KILLS} kills the accounts are wrong: {wrong}, {clients.refused[:3]}")


def killed_again_and_again(settings: Settings, clients: Clients, *, kills: int) -> list[float]:
    """Kill servers while clients buy, let a last one apply what is left; seconds from kill to ready."""
    rng = random.Random(SEED)  # noqa: S311 - the same moments in every run
    ready_s, killed_at = [], 0.0
    with ExitStack() as stack:  # the last server outlives the clients
        with clients.at_work():
            for life in range(kills + 1):
                server = stack.enter_context(local_server(settings))
                if life:
                    ready_s.append(time.perf_counter() - killed_at)
                clients.url = server.url
                time.sleep(rng.uniform(*LIFE_S))
                if life < kills:
                    kill(server)
                    killed_at = time.perf_counter()
                    stack.close()
        wait_until_applied(settings)
    return ready_s


def kill(server: LocalServer) -> None:
    """SIGKILL for the server's process group and everything below it, which gets no chance to finish."""
    ours = processes(server)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    for pid in ours:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_until_applied(settings: Settings) -> None:
    """Until no purchase is pending; RuntimeError if that takes too long."""
    deadline = time.monotonic() + APPLY_S
    while (waiting := rows_of(settings, PENDING)[0][0]) and time.monotonic() < deadline:
        time.sleep(RETRY_S)
    if waiting:
        raise RuntimeError(f"{waiting:,} purchases are not applied {APPLY_S:.0f} s after the last start")


def accounts(settings: Settings, clients: Clients, ready_s: Sequence[float]) -> Iterator[Record]:
    """The log against what was acknowledged, and feature rows against the log; the last four are to be 0."""
    tags = {**TAGS, "concurrency": len(clients.names)}
    logged = Counter(event_id for (event_id,) in rows_of(settings, "SELECT event_id FROM events"))
    told = Counter({(user, item): baskets for user, item, baskets in rows_of(settings, BOUGHT)})
    held = held_by(settings, clients.names)
    counts = {
        "kills": len(ready_s),
        "acknowledged_events": len(clients.acknowledged),
        "lost_events": len(clients.acknowledged - logged.keys()),
        "doubled_events": (logged - Counter(logged.keys())).total(),
        "missing_purchases": (told - held).total(),
        "surplus_purchases": (held - told).total(),
    }
    for metric, value in counts.items():
        yield {**tags, "metric": metric, "value": value, "unit": "count"}
    yield {**tags, "metric": "kill_to_ready_p50_s", "value": median(ready_s), "unit": "s"}
    yield {**tags, "metric": "kill_to_ready_max_s", "value": max(ready_s), "unit": "s"}


def held_by(settings: Settings, users: Sequence[str]) -> Bought:
    """How often the feature rows say that some shoppers bought what."""
    from feature_repo.stores.packed.opened import open_rows
    from feature_repo.stores.packed.reader import PackedReader

    rows = open_rows(settings)
    reader, held = PackedReader(rows), Counter[tuple[str, str]]()
    for user in users:
        row = reader.read_row("user_history", user, now_us=0)
        if row is not None:
            counts = zip(row.values["history_items"], row.values["history_counts"], strict=True)
            held.update({(user, item): int(count) for item, count in counts})
    rows.close()
    return held


def rows_of(settings: Settings, query: str) -> list[Any]:
    """What a query finds in the log of events."""
    with closing(sqlite3.connect(settings.event_log)) as log:
        return log.execute(query).fetchall()
