"""Feature rows of a shopper who has just bought something: what the nightly job would write, at once.

In: the shopper's packed rows and the baskets that came after them. Out: rows under the time of the last
basket, each in the place of the row that it was made from and of no other, as the job may write meanwhile.
Baskets are taken from the log by that time, so that doing it again, after a crash or by another worker,
changes nothing. Histories follow `update_history`, which the Spark job calls too; counters grow until the
week's end brings them from the job.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from bentos.event_log import Basket, EventLog
from feature_repo.stores.packed.layout import Layout
from feature_repo.stores.packed.reader import FoundRow, PackedReader, key_of, since
from feature_repo.stores.packed.row import pack
from feature_repo.stores.packed.sqlite_rows import Exchange, Row
from feature_repo.transforms import History, empty_history, update_history

HISTORY, STATS = "user_history", "user_stats"
COLUMNS = ("items", "counts", "decayed", "first_times", "last_times", "last_baskets")
SPANS = {"7d": 7, "28d": 28, "91d": 91}
SECONDS_PER_DAY = 86_400
TRIES = 3  # as long as others write the same rows; then it is for the next time
EVER = -(2**62)  # a time at which no row has expired


class LiveRows:
    """Brings the rows of one store up to the log."""

    def __init__(self, rows: Any, log: EventLog) -> None:
        self.rows, self.log = rows, log
        self.reader = PackedReader(rows)

    def apply(self, users: Iterable[str], *, now_us: int) -> list[str]:
        """Apply what the log has of some shoppers; those whose rows others kept writing, for another time.

        PackedStoreError where the store does not let us now, SchemaMismatchError for a row of another layout.
        """
        self.reader = PackedReader(self.rows)  # with the layouts as they are now
        store, waiting = self.store(), list(users)
        for _ in range(TRIES):
            made = {user_id: self.grown(user_id, now_us) for user_id in waiting}
            refused = set(self.rows.exchange(change for change, _ in made.values() if change.rows))
            waiting = [user_id for user_id, (change, _) in made.items() if change.key in refused]
            done = {user_id: each for user_id, each in made.items() if user_id not in waiting}
            self.log.mark_applied(((user_id, until) for user_id, (_, until) in done.items()), store)
            if not waiting:
                break
        return waiting

    def grown(self, user_id: str, now_us: int) -> tuple[Exchange, int]:
        """A shopper's rows with what the log has after them, and the time up to which they then have it."""
        views = (HISTORY, STATS)
        found = dict(zip(views, self.reader.read_views(views, user_id, now_us=EVER), strict=True))
        if found[HISTORY] is None:
            self.reader.check_filled(views)  # or a new shopper's row would stand before the job's
        rows: dict[str, tuple[Row, int | None]] = {}
        reached = []
        for view, row in found.items():
            layout = self.reader.layout(view)
            known = row if row is not None and row.event_us >= since(layout, now_us) else None
            told = self.told_until(view, row)
            baskets = self.log.baskets(user_id, after_us=told if known else 0)
            if not baskets or (row is not None and told >= baskets[-1].received_us):
                reached.append(told if row else now_us)
                continue
            reached.append(baskets[-1].received_us)
            if view == HISTORY:
                values = grown_history(known, baskets)
            else:
                values = grown_stats(known, baskets, history_of(found[HISTORY]))
            new = packed_row(layout, user_id, values, baskets[-1].received_us)
            rows[view] = new, row.event_us if row else None
        return Exchange(key_of(user_id), rows), min(reached)

    def told_until(self, view: str, row: FoundRow | None) -> int:
        """The time up to which a row tells what the shopper did, in microseconds; 0 for no row.

        A row of the job tells all that happened until the store was filled, though it is as of the shopper's
        last basket: what the till says of that basket may be a moment before the log heard of it.
        """
        if row is None:
            return 0
        return max(row.event_us, self.rows.known_until(view) or 0)

    def pending(self) -> list[str]:
        """Shoppers whose rows lack purchases: all of the log's, where the store was filled anew."""
        self.store()
        return self.log.pending()

    def store(self) -> str:
        """What tells the store from one filled before, empty if nothing does; the log hears of it."""
        fills = [self.rows.fill(view) for view in (HISTORY, STATS)]
        if None in fills:
            return ""
        told = " ".join(map(str, fills))
        self.log.applied_to(told)
        return told


def packed_row(layout: Layout, user_id: str, values: dict[str, Any], event_us: int) -> Row:
    """A row for the store; features that nobody computes here are null."""
    full = {name: values.get(name) for name in layout.names}
    return key_of(user_id), event_us, 0, pack(layout, full, event_us=event_us)


def history_of(found: FoundRow | None) -> History:
    """The history in a row, an empty one for no row."""
    if found is None or found.values.get("history_items") is None:
        return empty_history()
    columns = [np.asarray(found.values[f"history_{name}"]) for name in COLUMNS]
    return History(columns[0].astype(np.str_), *columns[1:])


def grown_history(found: FoundRow | None, baskets: Sequence[Basket]) -> dict[str, Any]:
    """The history after some more baskets, by feature."""
    history = history_of(found)
    for basket in baskets:
        at = max(basket.received_us // 1_000_000, int(history.last_times.max(initial=0)))
        history = update_history(history, np.array(basket.items, dtype=np.str_), at)
    values: dict[str, Any] = {f"history_{name}": getattr(history, name) for name in COLUMNS}
    values["history_items"] = history.items.tolist()
    return values


def grown_stats(found: FoundRow | None, baskets: Sequence[Basket], history: History) -> dict[str, Any]:
    """The counters after some more baskets: `history` is that before them.

    Spent money as far as events told it; an item counts once in each span of days. What only the job can
    tell, shares of departments and discounts, stays as it is.
    """
    zeros = {f"user_{what}_{span}": 0 for what in ("spend", "baskets", "items") for span in SPANS}
    values: dict[str, Any] = {"user_tenure_days": 0.0, "user_discount_share_91d": 0.0, **zeros}
    if found:
        values |= found.values
    last_time = dict(zip(history.items.tolist(), history.last_times.tolist(), strict=True))
    for basket in baskets:
        at = basket.received_us // 1_000_000
        for span, days in SPANS.items():
            if baskets[-1].received_us // 1_000_000 - at > days * SECONDS_PER_DAY:
                continue  # of a shopper without a row, whose log goes further back
            fresh = [i for i in set(basket.items) if at - last_time.get(i, 0) > days * SECONDS_PER_DAY]
            values[f"user_spend_{span}"] = float(values[f"user_spend_{span}"] or 0) + basket.amount
            values[f"user_baskets_{span}"] = int(values[f"user_baskets_{span}"] or 0) + 1
            values[f"user_items_{span}"] = int(values[f"user_items_{span}"] or 0) + len(fresh)
        last_time |= dict.fromkeys(basket.items, at)
    values["user_recency_days"] = 0.0
    return values
