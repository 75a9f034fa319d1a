"""Files that operators change while the service runs: looked at every second, taken when they have settled.

Write a file aside and rename it: a half-written one may be valid by chance, and all that is done against it
here is to wait until it stays the same for a moment.
"""

import logging
from abc import ABC, abstractmethod
from pathlib import Path
from threading import Event, Thread

log = logging.getLogger("bentoml.endcap")
EVERY_S, SETTLES_S = 1.0, 0.25  # between looks; that the files stay the same before they are read
State = tuple[int, ...] | None  # of a file: time of change in ns, bytes, inode; None where there is none


def state_of(path: Path) -> State:
    """What tells one content of a file from another without reading it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:  # not the same as no file: reading it will say why
        return (error.errno or 0,)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


UNKNOWN = (-1,)  # a state that no file is in


class FollowedFiles(ABC):
    """Calls `take` when one of some files came, changed or went; what they are now counts as taken."""

    def __init__(self, *paths: Path) -> None:
        self._name, self._stopped, self._watched = paths[0].name, Event(), False
        self._seen = {path: state_of(path) for path in paths}

    @abstractmethod
    def take(self) -> None:
        """Read the files, and keep what was valid last where they are not."""

    def follow(self, *paths: Path) -> None:
        """Look at these from now on; one that was not looked at yet counts as taken as it is."""
        self._seen = {path: self._seen[path] if path in self._seen else state_of(path) for path in paths}

    def look_again(self) -> None:
        """Take the files at the next look, whether they change or not."""
        self._seen = dict.fromkeys(self._seen, UNKNOWN)

    def _now(self) -> dict[Path, State]:
        return {path: state_of(path) for path in self._seen}

    def look(self, settles_s: float = SETTLES_S) -> None:
        """Take the files if one is another than last time and all stay the same for so many seconds."""
        found = self._now()
        if found == self._seen or self._stopped.wait(settles_s) or self._now() != found:
            return
        self._seen = found
        self.take()

    def watch(self) -> None:
        """Look every second from a thread that ends with the process, or with `stop`; once is enough."""
        if self._watched:
            return
        self._watched = True
        Thread(target=self._watch, name=self._name, daemon=True).start()

    def stop(self) -> None:
        """Look no longer."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY_S):
            try:
                self.look()
            except Exception:  # whatever a file holds, the next one is to be read
                log.exception("%s cannot be read; what was valid last stays in force", self._name)
