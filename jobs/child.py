"""Run one program in a session of its own: an interrupt ends all of it, and its memory is measured.

In goes a command, out comes how it ended, how long it took and its peak memory. A step of the pipeline
runs this way, so that its memory is given back and Spark, TensorFlow and torch never live together.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

GRACE_S = 5.0
SAMPLE_S = 0.25
_PROC = Path("/proc")


@dataclass(frozen=True)
class Finished:
    """How a program ended; `code` below 0 is the signal that ended it."""

    code: int
    seconds: float
    peak_bytes: int


def run_child(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, keep_open: Sequence[int] = ()
) -> Finished:
    """Run `command` to its end; whatever ends this process' wait also ends the child and its children.

    The child inherits the file descriptors in `keep_open`; its output goes where ours goes.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=keep_open
    )
    with MemoryWatch(process.pid) as memory:
        try:
            code = process.wait()
        except BaseException:
            stop(process)
            raise
    if code != 0:
        _kill_session(process.pid)
    return Finished(code, time.perf_counter() - begin, memory.peak_bytes)


def stop(process: "subprocess.Popen[bytes]", *, grace_s: float = GRACE_S) -> None:
    """Interrupt a process that leads a session, wait `grace_s`, then kill what is left of the session."""
    try:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(grace_s)
    except (subprocess.TimeoutExpired, ProcessLookupError):
        pass  # killed below
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        _kill_session(process.pid)
        process.wait()


def session_memory(session: int) -> dict[int, int]:
    """Resident bytes of each process of a session, by process id; empty where there is no /proc.

    Pages that two processes share count twice.
    """
    page = resource.getpagesize()
    sizes = {}
    for entry in _PROC.glob("[0-9]*/stat"):
        try:
            # After the name in parentheses: state, parent, group, session, ..., resident pages (proc(5)).
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if int(fields[3]) == session and fields[0] != "Z":
            sizes[int(entry.parent.name)] = int(fields[21]) * page
    return sizes


def _kill_session(session: int) -> None:
    """Kill what is left of the session, also what has left its process group (Spark's workers do)."""
    for pid in session_memory(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class MemoryWatch:
    """Peak of the resident memory of a whole session, sampled by a thread while the `with` block runs."""

    def __init__(self, session: int) -> None:
        self.session = session
        self.peak_bytes = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, sum(session_memory(self.session).values()))
            if self._done.wait(SAMPLE_S):
                return

    def __enter__(self) -> "MemoryWatch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        if not self.peak_bytes:  # no /proc: the largest single child that this process has had
            unit = 1 if sys.platform == "darwin" else 1024
            self.peak_bytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit


def die_with_parent(interval_s: float = 0.5) -> None:
    """Called in a child: end its whole process group as soon as the parent is gone, however it went."""
    if os.getpgrp() != os.getpid():
        return  # not the leader of a group: the group is somebody else's
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(interval_s)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
