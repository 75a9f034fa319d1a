"""Run one program in a session of its own: an interrupt ends all of it, and what it took is measured.

In goes a command, out comes how it ended, how long it took, its peak memory and its CPU time. A step of the
pipeline runs this way, so that its memory is given back and Spark, TensorFlow and torch never live together.
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
    cpu_seconds: float


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
    with SessionWatch(process.pid) as watch:
        try:
            code = process.wait()
        except BaseException:
            stop(process)
            raise
    if code != 0:
        _kill_session(process.pid)
    return Finished(code, time.perf_counter() - begin, watch.peak_bytes, watch.cpu_seconds)


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


@dataclass(frozen=True)
class Taken:
    """What one process takes: bytes of memory now, and CPU seconds so far without its children's."""

    resident_bytes: int
    cpu_seconds: float


def session_processes(session: int) -> dict[int, Taken]:
    """What each process of a session takes, by process id; empty where there is no /proc.

    Pages that two processes share count twice. Of a process that has ended and waits for its parent, the
    time counts, and not the memory.
    """
    page, tick = resource.getpagesize(), os.sysconf("SC_CLK_TCK")
    found = {}
    for entry in _PROC.glob("[0-9]*/stat"):
        try:
            # After the name in parentheses: state, parent, group, session, ..., user and system ticks, ...,
            # resident pages (proc(5)).
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if int(fields[3]) == session:
            resident = 0 if fields[0] == "Z" else int(fields[21]) * page
            found[int(entry.parent.name)] = Taken(resident, sum(map(int, fields[11:13])) / tick)
    return found


def _kill_session(session: int) -> None:
    """Kill what is left of the session, also what has left its process group (Spark's workers do)."""
    for pid in session_processes(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class SessionWatch:
    """Peak memory and CPU time of a whole session, sampled by a thread while the `with` block runs.

    What nobody waits for, as Spark's JVM, is seen until SAMPLE_S before its end; what ends sooner than that
    counts if it is waited for.
    """

    def __init__(self, session: int) -> None:
        self.session = session
        self.peak_bytes = 0
        self._before = _children_cpu()
        self._seen: dict[int, Taken] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    @property
    def cpu_seconds(self) -> float:
        """CPU time so far: of all that was seen, or of all that was waited for if that is more."""
        seen = sum(taken.cpu_seconds for taken in self._seen.values())
        return max(seen, _children_cpu() - self._before)

    def _sample(self) -> None:
        while True:
            now = session_processes(self.session)
            self._seen.update(now)
            self.peak_bytes = max(self.peak_bytes, sum(taken.resident_bytes for taken in now.values()))
            if self._done.wait(SAMPLE_S):
                return

    def __enter__(self) -> "SessionWatch":
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


def _children_cpu() -> float:
    """CPU seconds of all that this process has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
