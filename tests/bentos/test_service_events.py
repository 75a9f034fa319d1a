"""Events over real HTTP: they change the next answer, are kept through kills, and are checked at the door."""

import itertools
import os
import random
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import served_shop
from served_shop import BENTOML, ROOT, in_time

from bentos.api_models import MAX_EVENTS
from feature_repo.stores.packed.opened import open_rows
from feature_repo.stores.packed.reader import PackedReader

shop = pytest.fixture(scope="session")(served_shop.installed)


@pytest.fixture(scope="module")
def state(shop, tmp_path_factory):
    """Settings of a copy of the shop: what is bought here is bought nowhere else."""
    settings = replace(shop.settings, state=tmp_path_factory.mktemp("events") / "state")
    settings.state.mkdir()
    with closing(sqlite3.connect(shop.settings.online_store)) as connection:
        connection.execute("VACUUM INTO ?", [str(settings.online_store)])
    shutil.copy(shop.settings.current_release, settings.current_release)
    return settings


@pytest.fixture(scope="module")
def start(shop, state):
    """What starts a server over the copy."""

    def serving():
        environment = {**shop.environment, "ENDCAP_STATE": str(state.state)}
        log = state.state / "serve.log"
        return served_shop.serving(*BENTOML, "serve", environment=environment, cwd=ROOT, log=log)

    return serving


@pytest.fixture(scope="module")
def server(start):
    """URL of a server over the copy."""
    with start() as url:
        yield url


def event(number, kind, user, item, **more):
    """An event as JSON."""
    return {"event_id": f"{user}-{number}", "kind": kind, "user_id": user, "item_id": item, **more}


def send(server, *events):
    """The answer to a batch."""
    answer = httpx.post(f"{server}/events", json={"events": events})
    assert answer.status_code == 200, answer.text
    return answer.json()


def ask(server, user, **more):
    """Item ids, and the answer, of both routes, which are the same; asked again where one ran out of time."""
    body = {"user_id": user, "k": 10, **more}
    answers = [
        in_time(lambda path=path: httpx.post(f"{server}{path}/recommend", json=body).json())
        for path in ("", "/online")
    ]
    assert answers[0]["items"] == answers[1]["items"]
    return [item["item_id"] for item in answers[0]["items"]], answers[0]


def test_a_basket_changes_the_very_next_answer(server):
    """What was put into the basket is not recommended any more, until it has been bought and is again."""
    first, _ = ask(server, "u0")
    assert send(server, event(1, "add_to_cart", "u0", first[0])) == {
        "accepted": 1,
        "duplicates": 0,
        "applied": True,
    }
    second, answer = ask(server, "u0")
    assert first[0] not in second
    assert answer["turned_away"]["in_basket"] == 1
    send(server, event(2, "purchase", "u0", first[0], amount=2.5))
    _, answer = ask(server, "u0")
    assert answer["turned_away"]["in_basket"] == 0
    bought = {item["item_id"]: item["reason"] for item in answer["items"]}
    assert "last today" in bought.get(first[0], "last today")


def test_a_basket_may_come_with_the_request(server):
    """Without any event: for shops that keep baskets themselves."""
    first, _ = ask(server, "u2")
    assert first[0] not in ask(server, "u2", basket=first[:1])[0]
    assert ask(server, "u2")[0] == first


def test_a_click_makes_a_stranger_somebody(server):
    """They got top sellers before, and said so."""
    assert ask(server, "stranger")[1]["degraded"] == ["unknown user: top sellers"]
    send(server, event(1, "click", "stranger", "i04"))
    assert ask(server, "stranger")[1]["degraded"] == []


def test_an_event_is_sent_again_without_effect(server):
    """The same id counts once, alone or in a batch."""
    single = httpx.post(f"{server}/events", json=event(7, "purchase", "u3", "i03")).json()
    assert (single["accepted"], single["duplicates"]) == (1, 0)
    again = send(server, event(7, "purchase", "u3", "i03"), event(8, "click", "u3", "i03"))
    assert (again["accepted"], again["duplicates"]) == (1, 1)


GOOD = event(1, "click", "u4", "i01")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            GOOD | {"kind": "sneeze"},
            "kind: Input should be 'impression', 'click', 'add_to_cart' or 'purchase'",
        ),
        (GOOD | {"event_id": ""}, "event_id: "),
        (GOOD | {"user_id": "a\nb"}, "user_id: Value error, the id 'a\\nb' has control characters"),
        (GOOD | {"item_id": 5}, "item_id: Input should be a valid string"),
        (GOOD | {"amount": -1}, "amount: "),
        (GOOD | {"colour": "red"}, "colour: Extra inputs"),
        ({"events": []}, "events: "),
        ({"events": [GOOD] * (MAX_EVENTS + 1)}, "events: "),
        ({"events": [GOOD, {}]}, "events.1."),
        ([GOOD], "body: "),
        ("text", "body: "),
    ],
)
def test_bad_events_are_refused_whole(server, body, says):
    """400 with the place and the reason; nothing of the request is kept."""
    refused = httpx.post(f"{server}/events", json=body)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"].startswith(says), refused.text


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"event_id": "e", "amount": NaN}'])
def test_what_is_not_json_is_refused(server, content):
    """400, never a traceback."""
    assert httpx.post(f"{server}/events", content=content).status_code == 400


def test_a_log_that_is_broken_keeps_no_event_and_costs_no_answer(server, state):
    """Events are refused with 503, to be sent again; answers go on; when it is back events are kept."""
    with closing(sqlite3.connect(state.event_log)) as log:
        log.execute("ALTER TABLE events RENAME TO away")
        try:
            refused = httpx.post(f"{server}/events", json=event(1, "click", "u5", "i01"))
            answered = ask(server, "u5")
        finally:
            log.execute("ALTER TABLE away RENAME TO events")
    assert refused.status_code == 503
    assert "send them again" in refused.json()["error"]
    assert len(answered[0]) == 10
    assert send(server, event(1, "click", "u5", "i01"))["accepted"] == 1


def kill_all(settings):
    """Kill every process that serves a state, known by the environment that it was given."""
    ours = f"ENDCAP_STATE={settings.state}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if ours in entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)


class Buyers:
    """Clients that buy one item at a time, each under its own name, and remember what was acknowledged."""

    def __init__(self, names):
        self.names, self.told, self.stop = names, [], threading.Event()

    def buy(self, url, life, name):
        """Until told to stop, or nobody answers."""
        for number in itertools.count():
            body = event(f"{life}-{number}", "purchase", name, f"i{number % 20:02d}", amount=1.0)
            try:
                if self.stop.is_set() or httpx.post(f"{url}/events", json=body, timeout=5).status_code != 200:
                    return
            except httpx.HTTPError:
                return
            self.told.append(body["event_id"])

    def all_buy(self, url, life, *, seconds, then):
        """All at once for a while; what is done `then` ends it."""
        self.stop.clear()
        threads = [threading.Thread(target=self.buy, args=(url, life, name)) for name in self.names]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        then()
        self.stop.set()
        for thread in threads:
            thread.join()


def rows_of(log, query):
    """What a query finds in the log."""
    with closing(sqlite3.connect(log)) as connection:
        return connection.execute(query).fetchall()


PENDING = "SELECT count(*) FROM events WHERE kind = 'purchase' AND applied = 0"
BASKETS = """SELECT user_id, count(DISTINCT received_us) FROM events
             WHERE kind = 'purchase' AND user_id LIKE 'buyer%' GROUP BY user_id"""


def test_kills_lose_no_event_that_was_answered_and_double_none(start, state):
    """Three servers are killed while four clients buy; a fourth finds all purchases and applies each once."""
    buyers = Buyers([f"buyer{n}" for n in range(4)])
    for life in range(3):
        with start() as url:
            seconds = random.Random(life).uniform(0.3, 1.0)
            buyers.all_buy(url, life, seconds=seconds, then=lambda: kill_all(state))
    with start():
        deadline = time.monotonic() + 20
        while rows_of(state.event_log, PENDING) != [(0,)]:
            assert time.monotonic() < deadline, "purchases are still pending"
            time.sleep(0.2)
    kept = {event_id for (event_id,) in rows_of(state.event_log, "SELECT event_id FROM events")}
    assert len(buyers.told) > 20
    assert set(buyers.told) <= kept
    reader = PackedReader(open_rows(state))
    for buyer, baskets in rows_of(state.event_log, BASKETS):
        stats = reader.read_row("user_stats", buyer, now_us=0).values
        history = reader.read_row("user_history", buyer, now_us=0).values
        assert (stats["user_baskets_91d"], history["history_counts"].sum()) == (baskets, baskets)
