"""What the audit found: values compared and differing by feature, some told in full; how late rows are."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from feature_repo.stores.packed.instants import time_of
from feature_repo.stores.packed.layout import Layout
from jobs.parity.offline import Offline, bits

EXAMPLES = 5  # of each feature
TIME = "event_timestamp"
SHORT = 60  # characters of a value
HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Mismatch:
    """One value that was read, and what it should have been."""

    request_id: str
    entity: str
    feature: str  # view:name
    served: str
    recomputed: str
    event_us: int

    def __str__(self) -> str:
        when = f"{time_of(self.event_us):%Y-%m-%dT%H:%M:%SZ}" if self.event_us else "no row"
        return (
            f"{self.feature} of {self.entity} ({when}) in answer {self.request_id}:"
            f" served {self.served}, recomputed {self.recomputed}"
        )


@dataclass
class Comparison:
    """Counts as it goes along."""

    compared: Counter[str] = field(default_factory=Counter)  # values by view:name
    wrong: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Mismatch]] = field(default_factory=dict)
    grown: Counter[str] = field(default_factory=Counter)  # rows by view that live purchases had moved
    behind_hours: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def row(
        self,
        layout: Layout,
        where: tuple[str, str, int],
        served: Mapping[str, Any],
        expected: Mapping[str, Any],
    ) -> None:
        """Compare a row by feature; `where` is (request, entity, event time)."""
        for name, kind in layout.fields:
            if name in served:
                feature = f"{layout.view}:{name}"
                self.compared[feature] += 1
                left, right = served[name], expected.get(name)
                if bits(kind, left) != bits(kind, right):
                    self.differs(where, feature, *told(kind, left, right))

    def when(self, view: str, where: tuple[str, str, int], expected_us: int | None) -> bool:
        """Compare the time of a row, 0 or None for no row; whether they are equal."""
        feature = f"{view}:{TIME}"
        self.compared[feature] += 1
        same = where[2] == (expected_us or 0)
        if not same:
            times = (f"{time_of(us).isoformat()}" if us else "no row" for us in (where[2], expected_us))
            self.differs(where, feature, *times)
        return same

    def lag(self, offline: Offline, reads: Sequence[tuple[str, str, int, int]]) -> None:
        """Note by how many hours training would have read a newer row: (view, entity, event time, as of).

        A row of the very instant does not count: it is of what the answer led to.
        """
        for view in sorted({view for view, *_ in reads}):
            of_view = [each[1:] for each in reads if each[0] == view]
            asked = sorted({(entity, as_of - 1) for entity, _, as_of in of_view})
            newest = dict(zip(asked, offline.times(view, asked), strict=True))
            for entity, us, as_of in of_view:
                self.behind_hours[view].append(max((newest[entity, as_of - 1] or us) - us, 0) / HOUR_US)

    def differs(self, where: tuple[str, str, int], feature: str, served: str, recomputed: str) -> None:
        """Note a difference."""
        request_id, entity, event_us = where
        self.wrong[feature] += 1
        kept = self.examples.setdefault(feature, [])
        if len(kept) < EXAMPLES:
            kept.append(Mismatch(request_id, entity, feature, served, recomputed, event_us))


def told(kind: str, left: Any, right: Any) -> tuple[str, str]:
    """Two values in words; of lists of one length the first place where they differ."""
    if isinstance(left, list) and right is not None and len(left) == len(right):
        for place, pair in enumerate(zip(left, list(right), strict=True)):
            element = kind.removesuffix("_LIST")
            if bits(element, pair[0]) != bits(element, pair[1]):
                return told_at(place, pair[0]), told_at(place, pair[1])
    return short(left), short(right)


def told_at(place: int, value: Any) -> str:
    """A value of a list."""
    return f"[{place}] {short(value)}"


def short(value: Any) -> str:
    """A value, or its beginning."""
    text = repr(value.tolist() if hasattr(value, "tolist") else value)
    return text if len(text) <= SHORT else f"{text[:SHORT]}…"
