"""Serving: the whole path of a request over HTTP, as clients on the same machine see it.

Three servers of our own answer the same shoppers, drawn by how often they shop: the naive design over Feast's
own store, and the service over packed rows in SQLite and in Redis. CPU time is the server's, from /proc: what
a request costs the service (Redis' own is not in it), and not how busy the machine was; stages are its own
account. The load shares the cores.
"""

import gc
import os
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bentos.blas import use_one_blas_thread
from bentos.candidates import SIZE
from bentos.current_release import open_current
from bentos.ladder import OUT_OF_TIME
from bentos.online_features import OnlineFeatures
from bentos.release import Release, clock
from feature_repo.settings import Settings
from jobs.benches.designs import NAIVE_REQUESTS, REQUESTS, Design, Key, prepared
from jobs.benches.load import Load, ask_all
from jobs.local_server import LocalServer, local_server

WARM_UP = 50  # requests
ROUNDS = 10  # in which designs are asked in turn by one client, so that a busy machine slows them alike
READS = 30
Record = dict[str, Any]
Body = dict[str, Any]


def records(settings: Settings) -> Iterator[Record]:
    """Quantiles, throughput, CPU, memory and stages of every design, and what the service saves."""
    release = open_current(settings)
    bodies = [{"user_id": user, "k": 10} for user in shoppers(settings, REQUESTS)]
    answers: dict[Key, list[list[str] | None]] = {}
    spent: dict[Key, float] = {}
    with ExitStack() as stack:
        designs = list(prepared(settings, release, stack))
        for design, measured in zip(designs, in_turn(designs, bodies), strict=True):
            yield from records_of(design, measured, 1)
            yield from stages_of(design, measured)
            answers[design.key] = [told(answer) for answer in measured.load.answers[:NAIVE_REQUESTS]]
            spent[design.key] = measured.cpu_ms
        for design in designs:
            for concurrency in design.concurrencies:
                yield from records_of(design, alone(design, bodies, concurrency), concurrency)
        reads = item_reads(settings, designs, release)
    yield from comparisons(designs, answers, spent, reads)


def comparisons(
    designs: Sequence[Design],
    answers: Mapping[Key, list[list[str] | None]],
    spent: Mapping[Key, float],
    reads: Mapping[Key, float],
) -> Iterator[Record]:
    """How many times less CPU each design takes than the first one, and whether it answers the same.

    By design and store: `answers` of the same shoppers, `spent` CPU a request, `reads` CPU a read of items.
    """
    first = designs[0]
    for design in designs:
        tags = {"report": "bench_serving", "design": design.name, "store": design.store}
        value = reads[design.key]
        yield {**tags, "metric": "item_read_cpu_ms", "value": value, "unit": "ms", "rows": SIZE}
        if design is not first:
            tags["versus"] = first.name
            less = {"cpu_times_less": spent, "item_read_cpu_times_less": reads}
            for metric, cost in less.items():
                yield {**tags, "metric": metric, "value": cost[first.key] / cost[design.key], "unit": "x"}
            pairs = list(zip(answers[first.key], answers[design.key], strict=True))
            late = sum(answer is None for answer in answers[design.key])
            yield {**tags, "metric": "late_answers", "value": late, "unit": "answers", "users": len(pairs)}
            both = [(ours, theirs) for ours, theirs in pairs if theirs is not None]
            same = sum(ours == theirs for ours, theirs in both) / len(both)
            yield {**tags, "metric": "equal_top10", "value": same, "unit": "share", "users": len(both)}


def told(answer: Mapping[str, Any]) -> list[str] | None:
    """Items of an answer, best first, None if it ran out of time; RuntimeError if otherwise degraded."""
    if any(reason.startswith(OUT_OF_TIME) for reason in answer["degraded"]):
        return None
    if answer["degraded"]:
        raise RuntimeError(f"The answer for user {answer['user_id']!r} is degraded: {answer['degraded']}")
    return [item["item_id"] for item in answer["items"]]


@dataclass
class Measured:
    """What a server answered, what that took it, and how it was started."""

    start_s: float
    load: Load = field(default_factory=lambda: Load([], [], 0.0))
    cpu_s: float = 0.0
    memory: Sequence[int] = ()  # bytes of each of its processes

    @property
    def cpu_ms(self) -> float:
        """CPU time of one request."""
        return 1e3 * self.cpu_s / len(self.load.latencies_ms)

    def ask(self, server: LocalServer, design: Design, bodies: Sequence[Body], concurrency: int) -> None:
        """Ask for more; RuntimeError for an answer that is degraded: that is quick, and no figure."""
        before = cpu_seconds(server)
        load = ask_all(server.url, design.path, bodies, concurrency=concurrency)
        self.cpu_s += cpu_seconds(server) - before
        for answer in load.answers:
            told(answer)
        self.load = Load(
            self.load.latencies_ms + load.latencies_ms,
            self.load.answers + load.answers,
            self.load.seconds + load.seconds,
        )
        self.memory = [int(fields[21]) * resource.getpagesize() for fields in processes(server).values()]


@contextmanager
def started(
    design: Design, bodies: Sequence[Body], concurrency: int
) -> Iterator[tuple[LocalServer, Measured]]:
    """A server of a design, warm, for as long as the block lasts."""
    began = time.perf_counter()
    with local_server(design.settings, **design.program) as server:
        measured = Measured(time.perf_counter() - began)
        ask_all(server.url, design.path, bodies[:WARM_UP], concurrency=concurrency)
        yield server, measured


def in_turn(designs: Sequence[Design], bodies: Sequence[Body]) -> list[Measured]:
    """Every design's server, asked by one client, in ROUNDS parts one design after the other."""
    with ExitStack() as stack:
        running = [(*stack.enter_context(started(each, bodies, 1)), each) for each in designs]
        for turn in range(ROUNDS):
            for server, measured, design in running:
                begin, end = (design.requests * each // ROUNDS for each in (turn, turn + 1))
                measured.ask(server, design, bodies[begin:end], 1)
        return [measured for _, measured, _ in running]


def alone(design: Design, bodies: Sequence[Body], concurrency: int) -> Measured:
    """A design's server, asked by several clients at once."""
    with started(design, bodies, concurrency) as (server, measured):
        measured.ask(server, design, bodies[: design.requests], concurrency)
    return measured


def records_of(design: Design, measured: Measured, concurrency: int) -> Iterator[Record]:
    """Figures of one design at one concurrency."""
    tags = {"report": "bench_serving", "design": design.name, "store": design.store}
    for metric, value, unit in figures(measured.load, measured.cpu_s, measured.memory):
        yield {**tags, "concurrency": concurrency, "metric": metric, "value": value, "unit": unit}


def stages_of(design: Design, measured: Measured) -> Iterator[Record]:
    """How long a design's server took to start, and where the time of its requests went."""
    tags = {"report": "bench_serving", "design": design.name, "store": design.store, "concurrency": 1}
    yield {**tags, "metric": "start_s", "value": measured.start_s, "unit": "s"}
    answers = measured.load.answers
    for stage in answers[0]["stages_ms"]:
        spent = median(answer["stages_ms"].get(stage, 0.0) for answer in answers)
        yield {**tags, "metric": "p50_ms", "stage": stage, "value": spent, "unit": "ms"}


def figures(load: Load, cpu_s: float, memory: Sequence[int]) -> Iterator[tuple[str, float, str]]:
    """(metric, value, unit) of one run; `rps_a_core` is what the server's CPU time alone would allow.

    `memory` are bytes of the server's processes: `rss_mb` of all, `rss_worker_mb` of the largest, the worker.
    """
    n = len(load.latencies_ms)
    yield from ((name, value, "ms") for name, value in load.quantiles_ms())
    yield "cpu_ms", 1e3 * cpu_s / n, "ms"
    yield "rps", n / load.seconds, "1/s"
    yield "rps_a_core", n / cpu_s, "1/s"
    yield "rss_mb", sum(memory) / 1e6, "MB"
    yield "rss_worker_mb", max(memory) / 1e6, "MB"


def item_reads(settings: Settings, designs: Sequence[Design], release: Release) -> dict[Key, float]:
    """CPU milliseconds, by design and store, of reading the features of as many items as a request ranks."""
    from jobs.benches.naive_service import FeastReader, naive_store

    limits = use_one_blas_thread()
    rng, ids = np.random.default_rng(7), release.catalogue.item_ids
    draws = [rng.choice(len(ids), SIZE, replace=False).astype(np.int32) for _ in range(READS + 1)]
    readers: dict[Key, Any] = {}
    for design in designs:
        if design.name == "naive":
            folder = Path(design.program["variables"]["NAIVE_STATE"])
            readers[design.key] = FeastReader(naive_store(folder, settings), release)
        else:
            readers[design.key] = OnlineFeatures(design.settings, release, lambda: clock(release))
    spent: dict[Key, list[float]] = {key: [] for key in readers}
    gc.collect()
    gc.freeze()  # as the service does
    for drawn in draws:  # in turn, so that a busy machine slows them alike
        for key, reader in readers.items():
            began = time.process_time()
            reader.read_items(drawn)
            spent[key].append(1e3 * (time.process_time() - began))
    del limits
    return {key: median(times[1:]) for key, times in spent.items()}  # the first one opens the store


def shoppers(settings: Settings, n: int) -> list[str]:
    """`n` shoppers that the store may know, drawn by their baskets, always the same."""
    import duckdb

    query = """SELECT user_id, count(DISTINCT basket_id) FROM read_parquet($1)
               WHERE event_timestamp < (SELECT quantile_disc(event_timestamp, 0.5) FROM read_parquet($1))
               GROUP BY user_id ORDER BY user_id"""
    rows = duckdb.execute(query, [settings.table_parts("transactions")]).fetchall()
    if not rows:
        raise ValueError("No shoppers to ask for; run `endcap ingest`")
    baskets = np.array([count for _, count in rows], dtype=np.float64)
    drawn = np.random.default_rng(7).choice(len(rows), size=n, p=baskets / baskets.sum())
    return [str(rows[place][0]) for place in drawn]


def cpu_seconds(server: LocalServer) -> float:
    """User and system time of all processes of the server so far."""
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in processes(server).values())
    return ticks / os.sysconf("SC_CLK_TCK")


def processes(server: LocalServer) -> dict[int, list[str]]:
    """The server's process and all below it: by id what proc(5) says, from the state on (its third field)."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended while we looked
            found[int(entry.parent.name)] = entry.read_text().rpartition(")")[2].split()
    ours = [server.pid]
    for pid in ours:  # grows while we go through it
        ours += [child for child, fields in found.items() if int(fields[1]) == pid]
    return {pid: found[pid] for pid in ours if pid in found}
