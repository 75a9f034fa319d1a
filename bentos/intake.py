"""The way in for events: many requests, one commit (`group_commit.py`).

Only after the commit is a request answered; purchases then move the shopper's feature rows, in the same turn
where the store and time let us, else in one of the next.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from math import inf

from bentos.event_log import Event, EventLog
from bentos.group_commit import GroupCommit
from bentos.live_rows import LiveRows
from bentos.shop_clock import ShopClock
from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.layout import PackedStoreError, SchemaMismatchError

log = logging.getLogger("bentoml.endcap")
RETRY_S = 1.0
AT_ONCE = 50  # shoppers whose rows change in one go
APPLY_S = 0.2  # for the rows of those who wait for an answer; the rest follows


class Intake:
    """Takes events of one worker; `clock` is the shop's."""

    def __init__(self, events: EventLog, live: LiveRows, clock: ShopClock) -> None:
        self.events, self.live, self.clock = events, live, clock
        self._commits = GroupCommit(self.commit)
        self._more = threading.Event()  # there is something to catch up with at once
        self._odd: set[str] = set()  # shoppers whose rows cannot be read, of whom that was said

    async def take(self, events: Sequence[Event]) -> tuple[int, bool]:
        """(how many were new, whether purchases are applied) once all are on the disk."""
        return await self._commits.put(events)

    def commit(self, requests: Sequence[Sequence[Event]]) -> list[tuple[int, bool]]:
        """Keep the events of several requests, then apply what can be applied."""
        counts = self.events.append(requests, now_us=self.now_us(), arrived_s=self.clock.wall_s())
        buyers = {each.user_id for events in requests for each in events if each.kind == "purchase"}
        applied = not buyers or self.apply(sorted(buyers), within_s=APPLY_S)
        return [(count, applied) for count in counts]

    def apply(self, users: Sequence[str], *, within_s: float = inf) -> bool:
        """Bring rows up to the log; False where the store does not let us now, or time is over."""
        try:
            return self._in_turn(users, within_s)
        except PackedStoreError as error:
            log.warning("purchases are logged and not applied yet: %s", error)
            return False

    def _in_turn(self, users: Sequence[str], within_s: float = inf) -> bool:
        until, whole = time.monotonic() + within_s, True
        for first in range(0, len(users), AT_ONCE):
            if time.monotonic() > until:
                self._more.set()
                return False
            whole &= self._of_some(users[first : first + AT_ONCE])
        return whole

    def _of_some(self, users: Sequence[str]) -> bool:
        """Whether the rows of some shoppers have their purchases now; one whose row is odd stops no other."""
        try:
            return not self.live.apply(users, now_us=self.now_us())
        except SchemaMismatchError as error:
            if len(users) > 1:
                alone = [self._of_some([user_id]) for user_id in users]
                return all(alone)
            if users[0] not in self._odd:
                log.warning("purchases of %s are not applied: %s", users[0], error)
            self._odd.add(users[0])
            return False

    def catch_up(self) -> None:
        """For as long as the worker lives, apply what could not be applied, also by one that is gone."""
        threading.Thread(target=self._catch_up, name="catch-up", daemon=True).start()

    def _catch_up(self) -> None:
        said = ""
        while True:
            told = ""
            try:
                self._in_turn(self.live.pending())
            except (sqlite3.Error, PackedStoreError) as error:
                told = str(error)
            if told and told != said:
                log.warning("purchases cannot be caught up with: %s", told)
            said = told
            self._more.wait(RETRY_S)
            self._more.clear()

    def now_us(self) -> int:
        """The shop's clock in microseconds since 1970."""
        return microseconds(self.clock.now())
