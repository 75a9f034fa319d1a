"""Items' rows as they were read, held against those of the feature tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bentos.online_features import ITEM_VIEW
from feature_repo.stores.packed.layout import Layout
from feature_repo.stores.packed.reader import since
from jobs.parity.comparison import Comparison
from jobs.parity.offline import Asked, Offline
from jobs.parity.served import Served


@dataclass(frozen=True)
class ItemRead:
    """One item's row of one answer; event time 0 where there was none."""

    answer: Served
    item_id: str
    event_us: int
    values: Mapping[str, float]

    @property
    def where(self) -> tuple[str, str, int]:
        """(request, item, event time)."""
        return self.answer.request_id, self.item_id, self.event_us

    @property
    def known_us(self) -> int:
        """Up to when the job's rows told all; the instant asked where nobody said."""
        return self.answer.known_us.get(ITEM_VIEW) or self.answer.as_of_us


def compare(offline: Offline, found: Comparison, answers: Sequence[Served]) -> None:
    """Compare the rows that some answers read: as float32, as the ranker gets them."""
    reads = list(item_reads(answers))
    there = [each for each in reads if each.event_us]
    rows = offline.rows(ITEM_VIEW, sorted({(each.item_id, each.event_us) for each in there}))
    times = times_of(offline, [(each.item_id, each.event_us) for each in there])
    for each in there:
        key = each.item_id, each.event_us
        if found.when(ITEM_VIEW, each.where, times[key]):
            layout = Layout(ITEM_VIEW, tuple((name, "FLOAT") for name in each.values), 0)
            found.row(layout, each.where, each.values, rows[key])
    absent = [each for each in reads if not each.event_us]
    newest = times_of(offline, [(each.item_id, each.known_us) for each in absent])
    for each in absent:
        us = newest[each.item_id, each.known_us]
        holds = us is not None and us >= since(offline.layouts[ITEM_VIEW], each.answer.as_of_us)
        found.when(ITEM_VIEW, each.where, us if holds else None)
    found.lag(offline, [(ITEM_VIEW, each.item_id, each.event_us, each.answer.as_of_us) for each in there])


def item_reads(answers: Sequence[Served]) -> Iterator[ItemRead]:
    """Every row that was read, one by one."""
    for answer in answers:
        for part in answer.items:
            rows = zip(part.ids, part.event_us.tolist(), part.values.tolist(), strict=True)
            for item_id, event_us, values in rows:
                yield ItemRead(answer, item_id, event_us, dict(zip(part.names, values, strict=True)))


def times_of(offline: Offline, asked: Sequence[Asked]) -> dict[Asked, int | None]:
    """Event times of the newest rows as of instants."""
    distinct = sorted(set(asked))
    return dict(zip(distinct, offline.times(ITEM_VIEW, distinct), strict=True))
