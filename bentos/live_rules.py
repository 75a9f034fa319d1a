"""Rules in force: the release's own, and over them an operator's file, followed while the service runs.

A rule that the file names is in force as the file has it; the others stay as the release has them. A file
that cannot be used changes nothing: the last valid rules stay, and the log and /metrics say so. Write the
file aside and rename it: a half-written one may be valid by chance, and all that is done against it here is
to wait until the file stays the same for a moment.

    cp bentos/rules.yaml state/rules.aside; …; endcap check-rules state/rules.aside
    mv state/rules.aside state/rules.yaml
"""

import logging
from collections.abc import Collection
from pathlib import Path
from threading import Event, Thread
from typing import Any

from bentos import metrics
from bentos.release import Catalogue, Release
from bentos.rule_file import checked_against, hash_of, load_rules
from bentos.rule_parameters import RulesError
from bentos.rules import marks

log = logging.getLogger("bentoml.endcap")
EVERY_S, SETTLES_S = 1.0, 0.25  # between looks at the file; that it stays the same before it is read
State = tuple[int, ...] | None  # of the file: time of change in ns, bytes, inode; None where there is none


def state_of(path: Path) -> State:
    """What tells one content of a file from another without reading it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:  # not the same as no file: reading it will say why
        return (error.errno or 0,)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def operator_rules(
    path: Path, catalogue: Catalogue, item_features: Collection[str]
) -> tuple[dict[str, dict[str, Any]], list[str]] | None:
    """The rules that a file names, and what to be warned of; None without a file.

    RulesError where it cannot be used: that says which value is wrong and what to use.
    """
    if state_of(path) is None:
        return None
    rules = load_rules(path)
    return rules, checked_against(rules, catalogue, item_features)


class LiveRules:
    """A release under the rules in force: `release` is replaced as a whole, so a request takes it once."""

    def __init__(self, release: Release, path: Path) -> None:
        """RulesError where the file cannot be used: at the start there are no last valid rules."""
        self.release = self._own = release
        self._path, self._stopped = path, Event()
        self._seen = state_of(path)
        if self._seen is not None:
            self._take()

    def watch(self) -> None:
        """Follow the file from a thread that ends with the process, or with `stop`."""
        Thread(target=self._watch, name="rules", daemon=True).start()

    def stop(self) -> None:
        """Follow the file no longer."""
        self._stopped.set()

    def look(self, settles_s: float = SETTLES_S) -> None:
        """Take the file if it is another than last time and stays the same for so many seconds."""
        found = state_of(self._path)
        if found == self._seen or self._stopped.wait(settles_s) or state_of(self._path) != found:
            return
        self._seen = found
        try:
            self._take()
        except RulesError as error:
            metrics.rules_read("refused")
            log.warning("rules refused, the last valid ones stay in force: %s", error)

    def _take(self) -> None:
        own = self._own
        read = operator_rules(self._path, own.catalogue, own.manifest["features"]["item"])
        if read is None:
            self.release = own
        else:
            rules = {**own.rules, **read[0]}
            new = own.under(rules, hash_of(rules))
            marks(new)  # now, and not in the first request
            self.release = new
        metrics.rules_read("removed" if read is None else "taken")
        log.info("rules in force: %s", self.release.rules_from)
        for warning in read[1] if read else ():
            log.warning("rules in force, but %s", warning)

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY_S):
            try:
                self.look()
            except Exception:  # whatever a file holds, the next one is to be read
                log.exception("rules cannot be read; the last valid ones stay in force")
