"""Shoppers' rows as they were read, held against the job's and what the log of events says happened since.

A row of the job must be one of the tables. A row that live purchases moved must be what the job knew when the
store was filled, grown by the baskets that were logged after it (`growth.py`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bentos.event_log import EventLog
from bentos.live_rows import STATS
from feature_repo.stores.packed.reader import FoundRow, since
from jobs.parity.comparison import Comparison
from jobs.parity.growth import VIEWS, Grown
from jobs.parity.offline import Asked, Offline, bits
from jobs.parity.served import ReadRow, Served

FILLS = 10  # earlier fills of the store that a row may be of


@dataclass(frozen=True)
class UserRead:
    """One view's row of one answer; None where there was none."""

    answer: Served
    view: str
    row: ReadRow | None

    @property
    def event_us(self) -> int:
        """Event time, 0 for no row."""
        return self.row.event_us if self.row else 0

    @property
    def where(self) -> tuple[str, str, int]:
        """(request, shopper, event time)."""
        return self.answer.request_id, self.answer.user_id, self.event_us


@dataclass
class Shoppers:
    """Compares shoppers' rows; `log` has what they bought, where anything was logged."""

    offline: Offline
    found: Comparison
    log: EventLog | None
    _states: dict[Asked, dict[tuple[str, int], FoundRow]] = field(default_factory=dict)
    _of_the_job: set[tuple[str, str, int]] = field(default_factory=set)  # view, shopper, event time

    def compare(self, answers: Sequence[Served]) -> None:
        """Compare the rows that some answers read."""
        reads = [UserRead(each, view, row) for each in answers for view, row in each.users.items()]
        self._there([each for each in reads if each.row is not None])
        self._absent([each for each in reads if each.row is None])

    def _there(self, reads: Sequence[UserRead]) -> None:
        """Rows that were read: each by the first fill of the store that explains it."""
        expected: dict[int, FoundRow] = {}
        waiting = set(range(len(reads)))
        for nth in range(FILLS + 1):
            tried = [(place, fill) for place in sorted(waiting) for fill in self._fill(reads[place], nth)]
            self._prepare((reads[place].answer.user_id, fill) for place, fill in tried)
            for place, fill in tried:
                read = reads[place]
                row = self._states[read.answer.user_id, fill].get((read.view, read.event_us))
                if row is not None:
                    expected.setdefault(place, row)
                    if self._same(read, row):
                        expected[place] = row
                        waiting.discard(place)
        for place, read in enumerate(reads):
            row = expected.get(place)
            if self.found.when(read.view, read.where, row.event_us if row else None) and row and read.row:
                layout = self.offline.layouts[read.view]
                self.found.row(layout, read.where, read.row.values, row.values)
                key = read.view, read.answer.user_id, read.event_us
                self.found.grown[read.view] += key not in self._of_the_job
        times = [(read.view, read.answer.user_id, read.event_us, read.answer.as_of_us) for read in reads]
        self.found.lag(self.offline, times)

    def _absent(self, reads: Sequence[UserRead]) -> None:
        """Shoppers of whom a view had no row: neither had the job, or it had expired."""
        for view in VIEWS:
            of_view = [each for each in reads if each.view == view]
            fills = [(each, each.answer.known_us.get(view)) for each in of_view]
            some = [(each, fill) for each, fill in fills if fill is not None]
            times = self.offline.times(view, [(each.answer.user_id, fill) for each, fill in some])
            for (read, _), us in zip(some, times, strict=True):
                holds = us is not None and us >= since(self.offline.layouts[view], read.answer.as_of_us)
                self.found.when(view, read.where, us if holds else None)

    def _same(self, read: UserRead, expected: FoundRow) -> bool:
        values = read.row.values if read.row else {}
        fields = self.offline.layouts[read.view].fields
        return all(
            bits(kind, values.get(name)) == bits(kind, expected.values.get(name)) for name, kind in fields
        )

    def _fill(self, read: UserRead, nth: int) -> Iterator[int]:
        """Up to when the store knew all when it was filled: as told, then as of earlier snapshots."""
        told = read.answer.known_us.get(read.view)
        earlier = [us for us in self.snapshots if us <= read.event_us and us != told][::-1]
        fills = earlier if told is None else [told, *earlier]
        yield from fills[nth : nth + 1]

    @cached_property
    def snapshots(self) -> list[int]:
        """Instants as of which the job computes, in order."""
        return self.offline.snapshots(STATS)

    def _prepare(self, asked: Iterable[Asked]) -> None:
        """All states of shoppers' rows since fills of the store, by view and event time."""
        new = sorted({each for each in asked if each not in self._states})
        bases = {view: self._bases(view, new) for view in VIEWS}
        for place, (user_id, fill) in enumerate(new):
            rows = {view: bases[view][place] for view in VIEWS}
            baskets = self.log.baskets(user_id, after_us=0) if self.log else []
            states = {(view, row.event_us): row for view, row in rows.items() if row is not None}
            grown = Grown(user_id, self.offline.layouts)
            for made in grown.states(rows, baskets, fill):
                states |= {(view, row.event_us): row for view, row in made.items()}
            self._states[user_id, fill] = states
            self._of_the_job |= {
                (view, user_id, row.event_us) for view, row in rows.items() if row is not None
            }

    def _bases(self, view: str, asked: Sequence[Asked]) -> list[FoundRow | None]:
        """The job's row of each shopper as of each fill; None where it had none, or an expired one."""
        layout = self.offline.layouts[view]
        kept = [
            (user_id, us) if us is not None and us >= since(layout, fill) else None
            for (user_id, fill), us in zip(asked, self.offline.times(view, asked), strict=True)
        ]
        rows = self.offline.rows(view, [each for each in kept if each is not None])
        return [None if each is None else FoundRow(rows[each], each[1]) for each in kept]
