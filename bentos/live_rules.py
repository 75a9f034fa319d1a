"""Rules in force: the release's own, and over them an operator's file, followed while the service runs.

A rule that the file names is in force as the file has it; the others stay as the release has them. A file
that cannot be used changes nothing: the last valid rules stay, and the log and /metrics say so.

    cp bentos/rules.yaml state/rules.aside; …; endcap check-rules state/rules.aside
    mv state/rules.aside state/rules.yaml
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from bentos import metrics
from bentos.followed_files import FollowedFiles, state_of
from bentos.release import Catalogue, Release
from bentos.rule_file import checked_against, hash_of, load_rules
from bentos.rule_parameters import Rules, RulesError
from bentos.rules import marks

log = logging.getLogger("bentoml.endcap")


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


class LiveRules(FollowedFiles):
    """A release under the rules in force: `release` is replaced as a whole, so a request takes it once."""

    def __init__(self, release: Release, path: Path) -> None:
        """RulesError where the file cannot be used: at the start there are no last valid rules."""
        super().__init__(path)
        self.release = self._own = release
        self._path = path
        if state_of(path) is not None:
            self._take()

    def take(self) -> None:
        """Take the file, or say why it is refused."""
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
            self.release = under(own, read[0])
        metrics.rules_read("removed" if read is None else "taken")
        log.info("rules in force: %s", self.release.rules_from)
        for warning in read[1] if read else ():
            log.warning("rules in force, but %s", warning)


def under(release: Release, rules: Rules) -> Release:
    """A release with some rules over those that it is under, ready for requests."""
    merged = {**release.rules, **rules}
    new = release.under(merged, hash_of(merged))
    marks(new)  # now, and not in the first request
    return new
