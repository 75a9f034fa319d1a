"""The bench of kills: a server that really dies, and accounts that notice what is lost or counted twice."""

import sqlite3
from contextlib import closing

import pytest
import served_shop

from bentos.event_log import Event, EventLog
from bentos.live_rows import LiveRows
from feature_repo.stores.packed.instants import microseconds
from feature_repo.stores.packed.opened import open_rows
from jobs.benches.copies import copied
from jobs.benches.kills import NOT_ONE, Clients, accounts, killed_again_and_again

shop = pytest.fixture(scope="session")(served_shop.installed)


@pytest.fixture
def apart(shop, tmp_path, monkeypatch):
    """Settings of a copy of the shop, which a server of ours can serve."""
    monkeypatch.setenv("BENTOML_HOME", str(shop.bentoml_home))
    return copied(shop.settings, tmp_path)


def values(settings, clients, ready_s=(3.0, 1.0, 2.0)):
    """Figures by metric."""
    return {each["metric"]: each["value"] for each in accounts(settings, clients, ready_s)}


def test_servers_that_are_killed_lose_and_double_nothing(apart):
    """Two are killed while clients buy: all that was acknowledged is there once, and nobody was refused."""
    clients = Clients(["killed-0", "killed-1", "killed-2"])
    ready_s = killed_again_and_again(apart, clients, kills=2)
    found = values(apart, clients, ready_s)
    assert (len(ready_s), found["kills"], clients.refused) == (2, 2, [])
    assert min(ready_s) > 0
    assert {user.partition(" ")[0] for user in clients.acknowledged} == set(clients.names)
    assert {metric: found[metric] for metric in NOT_ONE} == dict.fromkeys(NOT_ONE, 0)


def buy(settings, *numbers):
    """Purchases of one shopper, in the log and in their rows."""
    log, now_us = EventLog(settings.event_log), microseconds(served_shop.NOW)
    requests = [[Event(f"u {number}", "purchase", "u", f"i0{number}", 1.0)] for number in numbers]
    log.append(requests, now_us=now_us, arrived_s=0.0)
    LiveRows(open_rows(settings, read_only=False), log).apply(["u"], now_us=now_us)
    log.close()


def in_log(settings, statement):
    """Tamper with the log."""
    with closing(sqlite3.connect(settings.event_log)) as log:
        log.executescript(statement)


ONE_MORE = """INSERT INTO events (event_id, kind, user_id, item_id, received_us, arrived_s)
              VALUES ('u 9', 'purchase', 'u', 'i01', 9999999999999999, 0)"""

ALL_TWICE = """CREATE TABLE twice AS SELECT * FROM events UNION ALL SELECT * FROM events;
               DROP TABLE events; ALTER TABLE twice RENAME TO events"""


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("SELECT 1", {}),
        ("DELETE FROM events WHERE event_id = 'u 2'", {"lost_events": 1, "surplus_purchases": 1}),
        ("UPDATE events SET item_id = 'i01'", {"missing_purchases": 1, "surplus_purchases": 1}),
        (ONE_MORE, {"missing_purchases": 1}),
        (ALL_TWICE, {"doubled_events": 2}),
    ],
)
def test_accounts_tell_what_is_wrong(apart, statement, wrong):
    """What is gone, is another, is known by no row or is there twice is counted, and nothing else is."""
    clients = Clients(["u"], acknowledged={"u 1", "u 2"})
    buy(apart, 1, 2)
    in_log(apart, statement)
    found = values(apart, clients)
    assert {metric: found[metric] for metric in NOT_ONE} == {**dict.fromkeys(NOT_ONE, 0), **wrong}
    assert (found["kills"], found["acknowledged_events"]) == (3, 2)
    assert (found["kill_to_ready_p50_s"], found["kill_to_ready_max_s"]) == (2.0, 3.0)
