"""The log keeps every event once, in order, for all workers, whatever happens to them."""

import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from bentos.durable_log import LogError
from bentos.event_log import SCHEMA, Basket, Event, EventLog

NOW_US, ARRIVED_S = 1_000_000, 50.0


def event(number, kind="purchase", user="u", item=None, amount=None):
    """An event of its own number."""
    return Event(f"e{number}", kind, user, item or f"i{number}", amount)


@pytest.fixture
def log(tmp_path):
    """An empty log."""
    with_path = EventLog(tmp_path / "state" / "events.db")
    yield with_path
    with_path.close()


def append(log, *requests, now_us=NOW_US, arrived_s=ARRIVED_S):
    """Append requests of events at a time."""
    return log.append(requests, now_us=now_us, arrived_s=arrived_s)


def test_an_event_counts_once(log):
    """What comes again under its id is passed over: in one request, in another, with other contents."""
    assert append(log, [event(1), event(1), event(2)], [event(2), event(3)]) == [2, 1]
    assert append(log, [Event("e1", "click", "other", "x")]) == [0]
    assert log.count() == 3
    assert log.baskets("other", after_us=0) == []


def test_purchases_of_one_request_are_one_basket(log):
    """By shopper, in the order they came, with what was paid; other kinds are no purchases."""
    append(
        log,
        [event(1, amount=2.5), event(2, user="v"), event(3, kind="click"), event(4, amount=1.0)],
        [event(5)],
    )
    mine = log.baskets("u", after_us=0)
    assert mine == [
        Basket("u", NOW_US + 1, ("i1", "i4"), 3.5),
        Basket("u", NOW_US + 2, ("i5",), 0.0),
    ]
    assert log.baskets("u", after_us=NOW_US + 1) == mine[1:]
    assert [basket.items for basket in log.baskets("v", after_us=0)] == [("i2",)]


def test_received_times_grow_though_a_clock_stands_still(log):
    """A recorded shop's clock does not move: each request still has a time of its own."""
    for number in range(3):
        append(log, [event(number)])
    append(log, [event(9)], now_us=NOW_US - 5)
    assert [basket.received_us for basket in log.baskets("u", after_us=0)] == [
        NOW_US + n for n in range(1, 5)
    ]


def test_a_session_is_what_was_done_lately(log):
    """The newest first, no impressions, no more than asked for, none of before."""
    append(log, [event(1, kind="click")], arrived_s=10)
    append(log, [event(2, kind="click"), event(3, kind="impression"), event(4, kind="add_to_cart")])
    append(log, [event(5, user="v"), event(6)])
    assert log.recent("u", since_s=ARRIVED_S, n=9) == [
        ("purchase", "i6"),
        ("add_to_cart", "i4"),
        ("click", "i2"),
    ]
    assert log.recent("u", since_s=0, n=1) == [("purchase", "i6")]


def test_pending_purchases_are_those_not_marked(log):
    """Marking a time marks the shopper's earlier purchases too, nobody else's and none that came later."""
    append(log, [event(1), event(2, user="v"), event(3, kind="click", user="w")], [event(4)], [event(5)])
    assert sorted(log.pending()) == ["u", "v"]
    log.mark_applied([("u", NOW_US + 2)], "")
    assert sorted(log.pending()) == ["u", "v"]
    log.mark_applied([("u", NOW_US + 3)], "")
    assert log.pending() == ["v"]


def test_workers_share_a_log(tmp_path):
    """Four writers of the same 200 events leave 200, and all baskets have times of their own."""
    path, counts = tmp_path / "events.db", []

    def write():
        log = EventLog(path)
        counts.append(sum(append(log, [event(number)])[0] for number in range(200)))
        log.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log = EventLog(path)
    assert (sum(counts), log.count()) == (200, 200)
    assert len({basket.received_us for basket in log.baskets("u", after_us=0)}) == 200


def test_a_file_that_is_no_log_is_named(tmp_path):
    """Nothing is overwritten: the message says to move it away."""
    path = tmp_path / "events.db"
    path.write_bytes(b"something else" * 99)
    with pytest.raises(LogError, match=r"events\.db cannot be used as a log of events .*move it away"):
        EventLog(path)
    assert path.read_bytes() == b"something else" * 99


WRITER = """
import sys
from pathlib import Path
from bentos.event_log import Event, EventLog
log = EventLog(Path(sys.argv[1]))
for number in range(10**9):
    request = [Event(f"{sys.argv[2]}-{number}-{n}", "click", "u", "i") for n in range(3)]
    log.append([request], now_us=0, arrived_s=0)
    print(number, flush=True)
"""


def test_a_kill_loses_nothing_that_was_answered(tmp_path):
    """After each of five kills all acknowledged requests are there, and the last one whole or not at all."""
    path, told = tmp_path / "events.db", 0
    for life in range(5):
        command = [sys.executable, "-c", WRITER, str(path), str(life)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            lines = [writer.stdout.readline() for _ in range(10)]
            writer.kill()
            lines += writer.stdout.read().split()
        told += len(lines)
        log = EventLog(path)
        count = log.count()
        log.close()
        assert 3 * told <= count <= 3 * (told + life + 1)
        assert count % 3 == 0


def test_a_request_does_not_wait_for_a_writer(log):
    """While another worker holds the log, what somebody did is read all the same."""
    append(log, [event(1, kind="click")])
    other = sqlite3.connect(log.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = threading.Thread(target=append, args=(log, [event(2)]))
    waiting.start()
    while waiting.is_alive() and not log._turn.locked():
        time.sleep(0.001)
    began = time.monotonic()
    found = log.recent("u", since_s=0.0, n=5)
    spent = time.monotonic() - began
    assert waiting.is_alive()  # it was read while the other one waited
    other.execute("ROLLBACK")
    waiting.join()
    other.close()
    assert len(found) == 1
    assert spent < 2.0


def test_whatever_fails_leaves_the_log_as_it_was(log):
    """No transaction stays open that would keep everybody else from writing."""
    append(log, [event(1)])
    log.applied_to("one")
    boom = "CREATE TRIGGER boom BEFORE UPDATE ON events BEGIN SELECT RAISE(FAIL, 'disk trouble'); END"
    log._connection.execute(boom)
    for call in (lambda: log.applied_to("two"), lambda: log.mark_applied([("u", NOW_US * 2)], "one")):
        with pytest.raises(sqlite3.Error, match="disk trouble"):
            call()
    log._connection.execute("DROP TRIGGER boom")
    append(log, [event(2, kind="click")])
    assert (log.count(), log.pending()) == (2, ["u"])


def test_purchases_are_pending_again_for_another_store(log):
    """Not for the first that is heard of, nor for the same; a mark for a store that is gone is none."""
    append(log, [event(1)])
    log.applied_to("one")
    log.mark_applied([("u", NOW_US * 2)], "one")
    log.applied_to("one")
    assert log.pending() == []
    log.applied_to("two")
    assert log.pending() == ["u"]
    log.mark_applied([("u", NOW_US * 2)], "one")
    assert log.pending() == ["u"]
    log.mark_applied([("u", NOW_US * 2)], "two")
    assert log.pending() == []


def test_a_log_of_before_answers_were_named_goes_on(tmp_path):
    """Its events stay, without the answer that led to them; new ones have it, then and later."""
    path = tmp_path / "events.db"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(SCHEMA.replace("  request_id TEXT,\n", ""))
        columns = "event_id, kind, user_id, item_id, received_us, arrived_s"
        old.execute(f"INSERT INTO events ({columns}) VALUES ('e1', 'purchase', 'u', 'i1', 5, 1)")
        old.commit()
    for number in (2, 3):
        log = EventLog(path)
        append(log, [Event(f"e{number}", "purchase", "u", "i1", request_id=f"r{number}")])
        rows = log._connection.execute("SELECT event_id, request_id FROM events ORDER BY seq").fetchall()
        log.close()
    assert rows == [("e1", None), ("e2", "r2"), ("e3", "r3")]
