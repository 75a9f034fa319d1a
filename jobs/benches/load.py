"""A load of requests from this process: kept connections, each asking again as soon as it is answered.

The generator shares the machine with the server: throughput is what both reach together, CPU time is the
server's own. It writes and reads plain HTTP/1.1, since a client library costs more CPU than the answer.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Load:
    """What came back: milliseconds and answers in the order asked, and how long all of it took."""

    latencies_ms: list[float]
    answers: list[dict[str, Any]]
    seconds: float

    def quantiles_ms(self) -> Iterator[tuple[str, float]]:
        """(name, milliseconds) of the median, the 95th and the 99th percentile."""
        cuts = statistics.quantiles(self.latencies_ms, n=100, method="inclusive")
        return ((f"p{p}_ms", cuts[p - 1]) for p in (50, 95, 99))


def ask_all(url: str, path: str, bodies: Sequence[Mapping[str, Any]], *, concurrency: int) -> Load:
    """Ask everything over `concurrency` connections; RuntimeError for an answer that is none."""
    return asyncio.run(_ask_all(url, path, bodies, concurrency))


async def _ask_all(url: str, path: str, bodies: Sequence[Mapping[str, Any]], concurrency: int) -> Load:
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
    waiting = iter(enumerate(bodies))
    latencies, answers = [0.0] * len(bodies), [b""] * len(bodies)

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            for number, body in waiting:
                request = written(host, path, body)
                began = time.perf_counter()
                writer.write(request)
                status, answer = await read(reader)
                latencies[number] = (time.perf_counter() - began) * 1e3
                if status != 200:
                    raise RuntimeError(f"The server answered {status} to {dict(body)}: {answer[:300]!r}")
                answers[number] = answer
        finally:
            writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(concurrency)))
    seconds = time.perf_counter() - began
    return Load(latencies, [json.loads(answer) for answer in answers], seconds)


def written(host: str, path: str, body: Mapping[str, Any]) -> bytes:
    """One POST as it goes over the wire."""
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


async def read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """(status, body) of one answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    return int(head.split(" ", 2)[1]), await reader.readexactly(int(length.partition(":")[2]))
