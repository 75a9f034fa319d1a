"""Experiments over real HTTP: who gets what, what the log of exposures has of it, and what it may cost."""

import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
import served_shop
from served_experiments import ask, copied, experiments, items, logged, serving, soon, write
from served_shop import BENTOML, ITEMS, NOW, ROOT, SOLD_OUT, STORE, USERS

from bentos.assignment import assigned
from bentos.experiments import load_experiments
from bentos.legacy_rules import LEGACY_RULES
from bentos.online_features import OnlineFeatures
from bentos.release import load, save
from bentos.shopper import shopper
from jobs.local_server import free_port

shop = pytest.fixture(scope="session")(served_shop.installed)
ROUTES = ("/recommend", "/online/recommend")


@pytest.fixture(scope="module")
def state(shop, tmp_path_factory):
    """Settings of a copy of the shop."""
    return copied(shop, tmp_path_factory.mktemp("experiments") / "state")


@pytest.fixture(scope="module")
def other(shop, tmp_path_factory):
    """Tag of another release in the shop's store, which blocks the best seller."""
    folder = tmp_path_factory.mktemp("other")
    release = served_shop.shop_release()
    save(replace(release, rules={**release.rules, "blocked": {"item_ids": ["i00"]}}), folder / "release")
    home = {**shop.environment, "ENDCAP_STATE": str(folder / "state")}
    (folder / "state").mkdir()
    store = [sys.executable, "-c", STORE, folder / "release"]
    return subprocess.check_output(store, env=home, cwd=ROOT, text=True).strip()


@pytest.fixture(scope="module")
def server(shop, state):
    """URL of a server over the copy, which starts without experiments."""
    with serving(shop, state) as url:
        yield url


def figure(url, name):
    """A figure of /metrics, summed over its labels."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def legacy(state, shop, user, name, n=5):
    """What a legacy rule shows of what is sold, by a plain sort of its scores."""
    release = load(shop.release, shop.tag)
    row = OnlineFeatures(state, release, lambda: NOW).read_user(user)
    scores = LEGACY_RULES[name](release, shopper(row, release, NOW)).tolist()
    order = sorted(range(len(scores)), key=lambda item: (-scores[item], item))
    return [ITEMS[item] for item in order if ITEMS[item] != SOLD_OUT][:n]


@pytest.fixture(scope="module")
def running(server, state, other):
    """An experiment in force: a legacy rule, another release, and the current one under other rules."""
    write(state.state / "boost.yaml", "blocked: {item_ids: [i01]}\n")
    arms = f"old: {{share: 0.4, legacy: segment}}, other: {{share: 0.3, release: '{other}'}}"
    write(state.experiments_file, experiments(f"{{{arms}, ruled: {{share: 0.3, rules: boost.yaml}}}}"))
    soon(lambda: in_force(server), bool)
    return load_experiments(state.experiments_file)


def in_force(url):
    """Whether the experiment is: its arms can be forced."""
    body = {"user_id": "u1", "arms": {"engine": "ruled"}}
    return httpx.post(f"{url}/online/recommend", json=body).status_code == 200


def test_users_are_in_the_arms_that_are_assigned_to_them(server, state, shop, other, running):
    """As soon as the file is there; each arm answers as it should, on both routes, and is counted."""
    before = figure(server, "endcap_arm_answers_total{")
    users, counts = [*USERS, *(f"new-{number}" for number in range(60))], Counter()
    for user in users:
        expected = assigned(running, user, NOW)
        answer = ask(server, user)
        counts.update(answer["arms"].values())
        assert answer["arms"] == expected.arms
        assert answer["release"] == (other if expected.arms.get("engine") == "other" else shop.tag)
        assert (answer["rules"] == "release") == (expected.arms.get("engine") != "ruled")
    assert counts.keys() == {"old", "other", "ruled"}
    assert figure(server, "endcap_arm_answers_total{") - before == counts.total() < len(users)
    for user in USERS:
        (one, two) = (ask(server, user, route) for route in ROUTES)
        assert (one["items"], one["arms"]) == (two["items"], two["arms"])
        if one["arms"] == {"engine": "old"}:
            assert items(one) == legacy(state, shop, user, "segment")
            assert {item["reason"] for item in one["items"]} == {
                "A top seller of the last four weeks in your segment"
            }
    assert items(ask(server, "nobody", arms={"engine": "other"}))[0] == "i01"
    assert items(ask(server, "nobody", arms={"engine": "ruled"}))[:2] == ["i00", "i02"]


def test_each_answer_is_one_row_of_the_log(server, state, running):
    """Who, by which arm, what, with which scores, how quick: on the disk as the answer arrives."""
    _, before = logged(state)
    users = [f"row-{number}" for number in range(12)] + USERS
    answers = [ask(server, user, route, k=3) for user in users for route in ROUTES]
    inside = {answer["request_id"] for answer in answers if answer["arms"]}
    assert inside <= logged(state)[0].keys()
    rows, count = soon(lambda: logged(state), lambda found: found[1] >= before + len(answers))
    assert count == before + len(answers)
    for answer in answers:
        user, content = rows[answer["request_id"]].user_id, rows[answer["request_id"]].content
        assert user == answer["user_id"]
        assert content["items"] == items(answer)
        assert content["scores"] == [item["score"] for item in answer["items"]]
        assert content["bought_before"] == [item["bought_before"] for item in answer["items"]]
        for name in ("arms", "release", "rules", "latency_ms", "degraded", "task"):
            assert content[name] == answer[name]
        found = assigned(running, user, NOW)
        assert (content["held_out"], content["forced"], content["k"]) == (list(found.held_out), False, 3)


@pytest.mark.usefixtures("running")
def test_a_tester_is_marked_and_refused_what_is_not_there(server, state, shop):
    """The arm that they force answers on both routes; an unknown one is 400 in one line."""
    for route in ROUTES:
        answer = ask(server, "u1", route, arms={"engine": "old"})
        assert items(answer) == legacy(state, shop, "u1", "segment")
        assert answer["arms"] == {"engine": "old"}
        assert logged(state)[0][answer["request_id"]].content["forced"]
        for arms, says in [
            ({"engine": "older"}, "engine has no arm 'older'; use old, other, ruled"),
            ({"engin": "old"}, "There is no experiment 'engin'; use engine"),
        ]:
            refused = httpx.post(f"{server}{route}", json={"user_id": "u1", "arms": arms})
            assert refused.status_code == 400
            if route == "/recommend":  # as for any other value that is refused there
                (detail,) = refused.json()["detail"]
                assert (detail["loc"], detail["msg"]) == (["arms"], f"Value error, {says}")
            else:
                assert refused.json() == {"error": f"arms: Value error, {says}"}


@pytest.mark.usefixtures("running")
def test_a_broken_file_keeps_what_was_valid_last(server, state):
    """Answers and arms stay, a figure and one line of the log tell it; mended, it is in force again."""
    users = [f"user-{number}" for number in range(20)]
    before = {user: ask(server, user)["arms"] for user in users}
    good = state.experiments_file.read_text()
    write(state.experiments_file, good.replace("share: 0.4", "share: 0.5"))
    soon(lambda: figure(server, "endcap_experiments_refused"), lambda value: value == 1)
    assert {user: ask(server, user)["arms"] for user in users} == before
    said = [line for line in (state.state / "serve.log").read_text().splitlines() if "add up to 1.1" in line]
    assert len(said) == 1
    write(state.experiments_file, good)
    soon(lambda: figure(server, "endcap_experiments_refused"), lambda value: value == 0)


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("trouble", ["ALTER TABLE exposures RENAME TO away", "BEGIN EXCLUSIVE"])
def test_a_log_that_cannot_be_written_costs_no_answer(server, state, trouble):
    """Broken or held by another process: answers come, say so, and are as ever when it is over."""
    arms = {"engine": "ruled"}
    good = ask(server, "u2", arms=arms)
    with closing(sqlite3.connect(state.exposure_log, isolation_level=None)) as connection:
        connection.execute(trouble)
        began = time.monotonic()
        answers = [ask(server, "u2", route, arms=arms) for route in ROUTES]
        spent = time.monotonic() - began
        if trouble == "BEGIN EXCLUSIVE":
            connection.execute("ROLLBACK")
        else:
            connection.execute("ALTER TABLE away RENAME TO exposures")
    says = "the log of exposures cannot be written now: the answer may count in no experiment"
    for answer in answers:
        assert answer["items"] == good["items"]
        assert answer["degraded"] == [says]
    assert spent < 3.0
    again = soon(lambda: ask(server, "u2", arms=arms), lambda answer: answer["degraded"] == [])
    assert again["request_id"] in logged(state)[0]


def test_events_keep_the_answer_that_led_to_them(server, state):
    """`request_id` is stored where it is given."""
    shown = ask(server, "u3")
    events = [
        {
            "event_id": "ev1",
            "kind": "click",
            "user_id": "u3",
            "item_id": "i01",
            "request_id": shown["request_id"],
        },
        {"event_id": "ev2", "kind": "click", "user_id": "u3", "item_id": "i02"},
    ]
    assert httpx.post(f"{server}/events", json={"events": events}).json()["accepted"] == 2
    with closing(sqlite3.connect(state.event_log)) as connection:
        rows = connection.execute("SELECT event_id, request_id FROM events WHERE user_id = 'u3'").fetchall()
    assert dict(rows) == {"ev1": shown["request_id"], "ev2": None}


def test_a_shops_clock_is_nobodys_to_set(server):
    """Outside a replay it is refused, with what to do for one."""
    refused = httpx.put(f"{server}/clock", json={"now": (NOW + timedelta(1)).isoformat()})
    assert refused.status_code == 400
    assert refused.json()["error"] == "only a replay sets the clock; start the server with ENDCAP_REPLAY=1"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("experiments.yaml", experiments("{old: {share: 1}, new: {share: 1}}"), "add up to 2; make that 1"),
        (
            "experiments.yaml",
            experiments("{old: {share: 1}, new: {share: 0, release: '../x'}}"),
            "release '../x': ",
        ),
        ("rollouts.json", '{"engine": {"ramp": 7}}', "engine.ramp is 7: Input should be"),
    ],
    ids=["shares", "release", "rollouts"],
)
def test_a_start_with_wrong_experiments_ends_in_one_line(shop, tmp_path, name, text, says):
    """No worker is started that could only fail again; the line names the file and what is wrong."""
    shutil.copy(shop.settings.current_release, tmp_path / "current")
    write(tmp_path / "experiments.yaml", experiments("{old: {share: 1}, new: {share: 0}}"))
    write(tmp_path / name, text)
    done = subprocess.run(
        [*BENTOML, "serve", "--port", str(free_port())],
        env={**shop.environment, "ENDCAP_STATE": str(tmp_path)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=90,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if "[INFO]" not in line]
    assert done.returncode == 1
    assert len(errors) == 1, done.stdout
    assert str(tmp_path / name) in errors[0]
    assert says in errors[0]
