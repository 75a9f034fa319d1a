"""Serving: the whole path of a request over HTTP, as a client on the same machine sees it.

A server of our own answers requests of real shoppers, one after the other. CPU time is the server's, from
/proc, so it is what a request costs and not how busy the machine was; stages are the server's own account.
"""

import http.client
import json
import os
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from feature_repo.settings import Settings
from jobs.local_server import LocalServer, local_server

WARM_UP, REQUESTS = 20, 300
Record = dict[str, Any]
Answer = dict[str, Any]


def records(settings: Settings) -> Iterator[Record]:
    """Latency quantiles, throughput, CPU and memory of the server, and the median of each stage."""
    users = user_ids(settings, REQUESTS)
    with local_server(settings) as server:
        client = Client(server.url)
        for user in users[:WARM_UP]:
            client.recommend(user)
        cpu, began = cpu_seconds(server), time.perf_counter()
        timed = [client.recommend(user) for user in users]
        seconds, cpu = time.perf_counter() - began, cpu_seconds(server) - cpu
        memory = sum(int(fields[21]) * resource.getpagesize() for fields in stats(server))
    tags = {"report": "bench_serving", "design": "naive", "store": "sqlite", "concurrency": 1}
    for metric, value, unit in figures([ms for ms, _ in timed], seconds, cpu, memory):
        yield {**tags, "metric": metric, "value": value, "unit": unit}
    for stage in timed[0][1]["stages_ms"]:
        spent = [answer["stages_ms"].get(stage, 0.0) for _, answer in timed]
        yield {**tags, "metric": "p50_ms", "stage": stage, "value": statistics.median(spent), "unit": "ms"}


def figures(
    latencies_ms: Sequence[float], seconds: float, cpu_s: float, memory_bytes: int
) -> Iterator[tuple[str, float, str]]:
    """(metric, value, unit) of one run."""
    cuts = statistics.quantiles(latencies_ms, n=100, method="inclusive")
    yield from ((f"p{p}_ms", cuts[p - 1], "ms") for p in (50, 95, 99))
    yield "cpu_ms", 1e3 * cpu_s / len(latencies_ms), "ms"
    yield "rps", len(latencies_ms) / seconds, "1/s"
    yield "rss_mb", memory_bytes / 1e6, "MB"


class Client:
    """One kept connection to the server."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)

    def recommend(self, user_id: str) -> tuple[float, Answer]:
        """(milliseconds, answer) of one request; RuntimeError for an answer that is none."""
        body = json.dumps({"user_id": user_id, "k": 10})
        began = time.perf_counter()
        self.connection.request("POST", "/recommend", body, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        text = response.read()
        spent = (time.perf_counter() - began) * 1e3
        if response.status != http.client.OK:
            raise RuntimeError(f"The server answered {response.status} for user {user_id!r}: {text!r}")
        answer: Answer = json.loads(text)
        if answer["degraded"]:
            raise RuntimeError(f"The answer for user {user_id!r} is degraded: {answer['degraded']}")
        return spent, answer


def user_ids(settings: Settings, n: int) -> list[str]:
    """`n` shoppers that the online store may know, always the same, repeated where there are fewer."""
    import duckdb

    query = """SELECT DISTINCT user_id FROM read_parquet($1)
               WHERE event_timestamp < (SELECT quantile_disc(event_timestamp, 0.5) FROM read_parquet($1))
               ORDER BY md5(user_id) LIMIT $2"""
    rows = duckdb.execute(query, [str(settings.table("transactions")), n]).fetchall()
    if not rows:
        raise ValueError("No shoppers to ask for; run `endcap ingest`")
    return [str(rows[place % len(rows)][0]) for place in range(n)]


def cpu_seconds(server: LocalServer) -> float:
    """User and system time of all processes of the server so far."""
    ticks = sum(int(fields[11]) + int(fields[12]) for fields in stats(server))
    return ticks / os.sysconf("SC_CLK_TCK")


def stats(server: LocalServer) -> list[list[str]]:
    """What proc(5) says of the server's process and all below it, from the state on (its third field)."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended while we looked
            found[int(entry.parent.name)] = entry.read_text().rpartition(")")[2].split()
    ours = [server.pid]
    for pid in ours:  # grows while we go through it
        ours += [child for child, fields in found.items() if int(fields[1]) == pid]
    return [found[pid] for pid in ours if pid in found]
