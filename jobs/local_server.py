"""A server of our own for as long as a `with` block lasts: for the demo and for benches.

It runs in a process of its own, logs to `state/serve.log`, and is stopped whatever ends the block.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from feature_repo.settings import Settings
from jobs.child import stop
from jobs.pipeline import environment
from jobs.recommend import ServerError, is_ready

HOST = "127.0.0.1"
START_S = 180.0
PROGRAM = (sys.executable, "-m", "jobs.cli", "--with-parent", "serve")


@dataclass(frozen=True)
class LocalServer:
    """Where a server of ours answers, and the process that leads its session."""

    url: str
    pid: int


@contextmanager
def local_server(
    settings: Settings,
    *,
    start_s: float = START_S,
    program: tuple[str, ...] = PROGRAM,
    variables: Mapping[str, str] | None = None,
) -> Iterator[LocalServer]:
    """Start a server, by default `endcap serve`, on a free port and give it when it is ready to answer.

    `variables` are added to its environment.
    """
    log = settings.state / "serve.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    port = free_port()
    words = ["--host", HOST, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*program, *words],
            env={**environment(settings), **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://{HOST}:{port}"
    try:
        _wait_until_ready(process, url, log, start_s)
        yield LocalServer(url, process.pid)
    finally:
        stop(process, grace_s=10.0)


def free_port() -> int:
    """A TCP port of this machine that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path, start_s: float) -> None:
    deadline = time.monotonic() + start_s
    while not is_ready(url):
        if process.poll() is not None:
            raise ServerError(
                f"The server ended with code {process.returncode}; the end of {log}:\n{_tail(log)}"
            )
        if time.monotonic() > deadline:
            raise ServerError(
                f"The server was not ready after {start_s:.0f} s; the end of {log}:\n{_tail(log)}"
            )
        time.sleep(0.2)


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-lines:])
