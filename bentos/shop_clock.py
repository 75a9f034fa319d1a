"""What time it is in the shop: now, the instant of a recording, or where a replay of one has come to."""

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock

from bentos.release import Release, clock


class ClockError(ValueError):
    """The clock cannot be set so; the message says why."""


class ShopClock:
    """The clock of one worker. Only a replay may set it, and never back."""

    def __init__(self, release_of: Callable[[], Release], *, replay: bool = False) -> None:
        """`release_of` gives the current release."""
        self._release_of, self._replay, self._lock = release_of, replay, Lock()
        self._set: datetime | None = None

    def now(self) -> datetime:
        """The shop's time, with its zone."""
        return self.of(self._release_of())

    def of(self, release: Release) -> datetime:
        """The time at which a release answers: a recording's stands still at its own instant."""
        return self._set or clock(release)

    def wall_s(self) -> float:
        """Seconds since 1970 by which visits end: the wall's, and in a replay the shop's from the start."""
        return (self.now() if self._replay else datetime.now(UTC)).timestamp()

    def set(self, instant: datetime) -> None:
        """Move on; ClockError outside a replay, without a zone, and for a time that has passed."""
        if not self._replay:
            raise ClockError("only a replay sets the clock; start the server with ENDCAP_REPLAY=1")
        if instant.tzinfo is None:
            raise ClockError(f"{instant.isoformat()} has no time zone; add one, such as Z")
        with self._lock:
            if instant < self.now():
                raise ClockError(
                    f"{instant.isoformat()} has passed; the clock is at {self.now().isoformat()}"
                )
            self._set = instant
