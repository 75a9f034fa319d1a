"""What a shopper's rows should have been: the job's, and what the log of events says happened after it.

The definition that the service states (`bentos.live_rows`): rows of the job tell all up to when the store was
filled; each basket that was logged after that is added to them in turn. Counters that live baskets moved are
held against this, not against what the job says of that day in the end.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bentos.event_log import Basket
from bentos.live_rows import HISTORY, STATS, grown_history, grown_stats, history_of, packed_row
from feature_repo.stores.packed.layout import Layout
from feature_repo.stores.packed.reader import FoundRow, since
from feature_repo.stores.packed.row import unpack

VIEWS = (HISTORY, STATS)
Found = Mapping[str, FoundRow | None]


@dataclass(frozen=True)
class Grown:
    """Grows one shopper's rows; `layouts` are those of VIEWS."""

    user_id: str
    layouts: Mapping[str, Layout]

    def states(self, bases: Found, baskets: Sequence[Basket], known_us: int) -> Iterator[dict[str, FoundRow]]:
        """The rows as they change, from `bases` on, which tell all up to `known_us`."""
        rows = {view: bases.get(view) for view in VIEWS}
        before = [basket for basket in baskets if basket.received_us <= known_us]
        lacking = [view for view in VIEWS if rows[view] is None]
        if before and lacking:  # of a shopper whom the job does not know, all of the log counts
            yield self._add(rows, dict.fromkeys(lacking, before))
        for place, basket in enumerate(baskets):
            if basket.received_us > known_us:
                known = {view: self._holds(view, rows[view], basket) for view in VIEWS}
                every = baskets[: place + 1]
                yield self._add(rows, {view: [basket] if known[view] else every for view in VIEWS})

    def _holds(self, view: str, row: FoundRow | None, basket: Basket) -> bool:
        return row is not None and row.event_us >= since(self.layouts[view], basket.received_us)

    def _add(
        self, rows: dict[str, FoundRow | None], groups: Mapping[str, Sequence[Basket]]
    ) -> dict[str, FoundRow]:
        """Add baskets to rows in place; the rows that changed."""
        history, made = history_of(rows[HISTORY]), {}
        for view, baskets in groups.items():
            row = rows[view]
            known = row if self._holds(view, row, baskets[-1]) else None
            if view == HISTORY:
                values = grown_history(known, baskets)
            else:
                values = grown_stats(known, baskets, history)
            made[view] = self._stored(view, values, baskets[-1].received_us)
        rows.update(made)
        return made

    def _stored(self, view: str, values: dict[str, Any], event_us: int) -> FoundRow:
        """Values as they come back from the store, which rounds them to their types."""
        layout = self.layouts[view]
        return FoundRow(unpack(layout, packed_row(layout, self.user_id, values, event_us)[3]), event_us)
