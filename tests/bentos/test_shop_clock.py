"""The clock: it stands still for a recording, and only a replay moves it, and only on."""

import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from tiny_release import NOW

from bentos.shop_clock import ClockError, ShopClock

HOUR = timedelta(hours=1)


def test_a_recording_stands_still_while_visits_end_by_the_wall(release):
    """The release's instant, whatever time it is."""
    clock = ShopClock(lambda: release)
    before = time.time()
    assert clock.now() == NOW
    assert before <= clock.wall_s() <= time.time()


def test_a_shop_that_goes_on_has_the_time_that_it_is(release):
    """With its zone."""
    going_on = replace(release, manifest={**release.manifest, "recorded": False})
    clock = ShopClock(lambda: going_on)
    before = datetime.now(UTC)
    assert before <= clock.now() <= datetime.now(UTC)


def test_only_a_replay_sets_it(release):
    """Any other server says what to do, and its clock stays."""
    clock = ShopClock(lambda: release)
    with pytest.raises(
        ClockError, match="only a replay sets the clock; start the server with ENDCAP_REPLAY=1"
    ):
        clock.set(NOW + HOUR)
    assert clock.now() == NOW


def test_a_replay_moves_it_on_and_never_back(release):
    """To the same instant is allowed, also in another zone; back is not, and nothing changes then."""
    clock = ShopClock(lambda: release, replay=True)
    for instant in (NOW, NOW + HOUR, (NOW + HOUR).astimezone(timezone(5 * HOUR)), NOW + 2 * HOUR):
        clock.set(instant)
        assert clock.now() == instant
    with pytest.raises(ClockError, match=r"T13:59:59\+00:00 has passed; the clock is at .*T14:00:00\+00:00"):
        clock.set(NOW + 2 * HOUR - timedelta(seconds=1))
    with pytest.raises(ClockError, match="2024-03-05T00:00:00 has no time zone; add one, such as Z"):
        clock.set(datetime(2024, 3, 5))
    assert clock.now() == NOW + 2 * HOUR


def test_in_a_replay_visits_end_by_its_clock_from_the_start(release):
    """What was done before the clock was first set is not ahead of all that comes after."""
    clock = ShopClock(lambda: release, replay=True)
    assert clock.wall_s() == NOW.timestamp()
    clock.set(NOW + HOUR)
    assert clock.wall_s() == NOW.timestamp() + 3600


class Slow(ShopClock):
    """A clock that takes a moment to look at, in which another thread may set it."""

    def now(self):
        """The time, already a little old."""
        found = super().now()
        time.sleep(0.0005)
        return found


def test_who_sets_it_at_once_sets_the_latest(release):
    """Eight threads with instants of their own: it never goes back, and ends at the latest."""
    clock, seen, done = Slow(lambda: release, replay=True), [], threading.Event()

    def watch():
        while not done.is_set():
            seen.append(clock.now())

    def move(offset):
        for minute in range(offset, 200, 8):
            with suppress(ClockError):
                clock.set(NOW + timedelta(minutes=minute))

    watcher = threading.Thread(target=watch)
    movers = [threading.Thread(target=move, args=(offset,)) for offset in range(8)]
    for thread in (watcher, *movers):
        thread.start()
    for thread in movers:
        thread.join()
    done.set()
    watcher.join()
    assert seen == sorted(seen)
    assert clock.now() == NOW + timedelta(minutes=199)
