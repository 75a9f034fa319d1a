"""A replay over real HTTP: its clock moves on, visits end by it, and a kill loses no exposure."""

import os
import signal
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
import served_shop
from served_experiments import ask, copied, experiments, items, logged, serving, write
from served_shop import NOW

from feature_repo.stores.packed.instants import microseconds

shop = pytest.fixture(scope="session")(served_shop.installed)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def state(shop, tmp_path_factory):
    """Settings of a copy of the shop with an experiment on all users, an hour after its release."""
    settings = copied(shop, tmp_path_factory.mktemp("replay") / "state")
    text = experiments("{old: {share: 0.5, legacy: buy_again}, new: {share: 0.5}}").replace("0.1", "0")
    write(settings.experiments_file, text.replace("2024-01-01T00", "2024-03-04T06"))
    return settings


@pytest.fixture(scope="module")
def server(shop, state):
    """URL of a server of a replay."""
    with serving(shop, state, ENDCAP_REPLAY="1") as url:
        yield url


def put(url, now):
    """The answer to a new time, and its status."""
    answer = httpx.put(f"{url}/clock", json={"now": now})
    return answer.status_code, answer.json()


def test_the_clock_moves_on_and_all_goes_by_it(server, state):
    """Visits end by it, experiments begin by it, exposures have it; back is refused."""
    first = items(ask(server, "u0"))
    event = {"event_id": "e1", "kind": "add_to_cart", "user_id": "u0", "item_id": first[0]}
    assert httpx.post(f"{server}/events", json=event).json()["accepted"] == 1
    assert first[0] not in items(ask(server, "u0"))
    for minutes, over in [(29, False), (31, True)]:
        status, told = put(server, (NOW + minutes * MINUTE).isoformat())
        assert (status, datetime.fromisoformat(told["now"])) == (200, NOW + minutes * MINUTE)
        answer = ask(server, "u0")
        assert (first[0] in items(answer), answer["arms"]) == (over, {})
    later = NOW + 61 * MINUTE
    assert put(server, later.isoformat())[0] == 200
    answer = ask(server, "u0")
    assert answer["arms"].keys() == {"engine"}
    assert logged(state)[0][answer["request_id"]].shown_us == microseconds(later)
    says = f"{NOW.isoformat()} has passed; the clock is at {later.isoformat()}"
    assert put(server, NOW.isoformat()) == (400, {"error": says})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"now": "2030-01-01T00:00:00"}', "2030-01-01T00:00:00 has no time zone; add one, such as Z"),
        (b'{"now": "soon"}', "now: Input should be a valid datetime"),
        (b'{"now": "2030-01-01T00:00:00Z", "by": 1}', "by: Extra inputs are not permitted"),
        (b"[]", "body: Input should be an object"),
        (b"{", "body: Invalid JSON"),
    ],
)
def test_what_is_no_time_is_refused(server, body, says):
    """400 with the reason, and the clock stays."""
    refused = httpx.put(f"{server}/clock", content=body, headers={"content-type": "application/json"})
    assert refused.status_code == 400
    assert refused.json()["error"].startswith(says)
    assert put(server, (NOW + 61 * MINUTE).isoformat())[0] == 200


def kill_all(settings):
    """Kill every process that serves a state, known by the environment that it was given."""
    ours = f"ENDCAP_STATE={settings.state}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if ours in entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)


def test_a_kill_loses_no_exposure_of_an_experiment(server, state):
    """Six clients ask until their server is killed: each answer that came is in the log, once, as it came."""
    assert put(server, (NOW + 61 * MINUTE).isoformat())[0] == 200
    told, stop = {}, threading.Event()

    def client(name):
        with httpx.Client() as session, suppress(httpx.HTTPError):
            while not stop.is_set():
                body = {"user_id": f"{name}-{len(told)}", "k": 3}
                answer = session.post(f"{server}/online/recommend", json=body, timeout=5).json()
                told[answer["request_id"]] = answer

    threads = [threading.Thread(target=client, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    kill_all(state)
    stop.set()
    for thread in threads:
        thread.join()
    rows, count = logged(state)
    assert len(told) > 20
    assert told.keys() <= rows.keys()
    assert count == len(rows)
    assert all(rows[name].content["items"] == items(answer) for name, answer in told.items())
    assert all(rows[name].content["arms"] == answer["arms"] != {} for name, answer in told.items())
