"""The ladder: what an answer does without when a part of the path fails or is late, rung by rung.

Item features as of the last read where the store does not answer, the pool's order where the ranker cannot be
asked, top sellers where nothing is known of the shopper. Each rung that is taken is told, with its reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter
from typing import Any, Protocol

from bentos.release import Release
from feature_repo.pair_features import Floats, Positions

# An API answers within 100 ms. What a stage may take at most must be left when it begins, or it is left out:
# a read by the store's time-out, ranking by ten times what it takes.
BUDGET_MS, READ_MS, RANK_MS = 100.0, 50.0, 15.0
OUT_OF_TIME = "out of time"


class Reader(Protocol):
    """Where features come from: the online store in the service."""

    def read_user(self, user_id: str) -> Mapping[str, Any] | None:
        """The user's features by name; None for an unknown user."""

    def read_items(self, items: Positions) -> Floats:
        """Features of items of the catalogue, (n_items, n_item_features), NaN where missing."""

    def last_items(self, items: Positions) -> Floats | None:
        """The same as they were read last, without asking the store; None where that is not known."""

    def late(self) -> datetime | None:
        """As of when features are read, where that is too long ago; None where they are up to date."""


class FeaturesUnavailableError(RuntimeError):
    """A reader cannot reach its store now; the answer falls back and says so."""


class Stopwatch:
    """Milliseconds per named stage, and what is left of a budget."""

    def __init__(self, budget_ms: float = BUDGET_MS) -> None:
        self.budget_ms = budget_ms
        self.stages_ms: dict[str, float] = {}
        self._began = self._last = perf_counter()

    def spent_ms(self) -> float:
        """Milliseconds since the start."""
        return (perf_counter() - self._began) * 1e3

    def has(self, ms: float) -> bool:
        """Whether that much is left of the budget."""
        return self.spent_ms() + ms <= self.budget_ms

    def lap(self, stage: str) -> None:
        """Book the time since the last lap under `stage`."""
        now = perf_counter()
        self.stages_ms[stage] = round((now - self._last) * 1e3, 3)
        self._last = now


@dataclass
class Lost:
    """What an answer had to do without, as it goes along: in few different words, as metrics count them."""

    reasons: list[str] = field(default_factory=list)

    def add(self, reason: str, instead: str) -> None:
        """Note a loss and what was done instead."""
        self.reasons.append(f"{reason}: {instead}")


def item_rows(features: Reader, items: Positions, watch: Stopwatch, lost: Lost) -> Floats | None:
    """Features of items: as the store has them, as they were read last, or None."""
    try:
        if watch.has(READ_MS):
            return features.read_items(items)
        reason = OUT_OF_TIME
    except FeaturesUnavailableError as error:
        reason = str(error)
    found = features.last_items(items)
    lost.add(reason, "no item features" if found is None else "item features as of the last read")
    return found


def without_ranker(release: Release, task: str, item_features: Floats | None, watch: Stopwatch) -> str | None:
    """Why the ranker cannot be asked, if it cannot."""
    if item_features is None:
        return "no item features"
    if task not in release.rankers:
        return f"the release has no ranker for {task}"
    return None if watch.has(RANK_MS) else OUT_OF_TIME
