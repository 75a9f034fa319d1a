"""One writer at a time: a lock on the state folder that ends with the process that holds it.

The lock is the kernel's (flock), so a crash leaves none behind; the file only tells who holds it. Children
that inherit the descriptor hold it too: nobody can start while a step of a killed pipeline still writes.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from feature_repo.settings import Settings


class StateIsBusyError(RuntimeError):
    """Another process writes to the state folder; the message names it."""


def lock_file(settings: Settings) -> Path:
    """File that is locked; its text is the holder's process id, empty when nobody holds it."""
    return settings.state / "pipeline.lock"


@contextmanager
def writer_lock(settings: Settings) -> Iterator[int]:
    """Hold the lock in the `with` block and give its file descriptor; StateIsBusyError if it is taken."""
    settings.state.mkdir(parents=True, exist_ok=True)
    with lock_file(settings).open("a+") as handle:
        if not (_taken(handle) or _taken(handle, patience_s=0.2)):
            raise StateIsBusyError(
                f"Process {_pid(settings)} is writing to {settings.state}; wait until it is done, "
                f"or stop it: kill {_pid(settings)}"
            )
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        try:
            yield handle.fileno()
        finally:
            handle.truncate(0)


def holder(settings: Settings) -> int | None:
    """Process id of the writer at work, None if there is none."""
    if not lock_file(settings).exists():
        return None
    with lock_file(settings).open() as handle:
        return None if _taken(handle, how=fcntl.LOCK_SH) else _pid(settings)


def _taken(handle: IO[str], *, how: int = fcntl.LOCK_EX, patience_s: float = 0.0) -> bool:
    """Try to take the lock; a second try outlasts somebody who only looks (`holder`)."""
    time.sleep(patience_s)
    try:
        fcntl.flock(handle, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _pid(settings: Settings) -> int:
    """Process id that the holder wrote, 0 if it has not yet."""
    return int(lock_file(settings).read_text().strip() or 0)
