"""Rollouts of a running service under load: harm is rolled back by itself, and no request is lost."""

import json
import subprocess
import sys
from dataclasses import replace

import httpx
import numpy as np
import pytest
import served_shop
from served_experiments import ask, copied, items, logged, serving, soon, write
from served_shop import ITEMS, NOW, ROOT, SOLD_OUT, STORE, USERS
from steady_load import SteadyLoad

from bentos.arms import experiments_in_force
from bentos.assignment import assigned
from bentos.legacy_rules import LEGACY_RULES
from bentos.online_features import OnlineFeatures
from bentos.release import load, save
from bentos.shopper import shopper
from jobs.experiments.rollout import run
from jobs.experiments.trail import trail_file

shop = pytest.fixture(scope="session")(served_shop.installed)
SHOPPERS = [f"shopper-{n}" for n in range(200)]
OTHERS = [f"other-{n}" for n in range(200)]
PROBES = [f"probe-{n}" for n in range(16)]
PLAN = "steps: [0.15, 0.3, 0.5], hours: 0, users: 20"


@pytest.fixture(scope="module")
def state(shop, tmp_path_factory):
    """Settings of a copy of the shop."""
    return copied(shop, tmp_path_factory.mktemp("rollouts") / "state")


@pytest.fixture(scope="module")
def worse(shop, tmp_path_factory):
    """Tag of another release in the shop's store, which blocks the best seller."""
    folder = tmp_path_factory.mktemp("worse")
    release = served_shop.shop_release()
    save(replace(release, rules={**release.rules, "blocked": {"item_ids": ["i00"]}}), folder / "release")
    (folder / "state").mkdir()
    home = {**shop.environment, "ENDCAP_STATE": str(folder / "state")}
    store = [sys.executable, "-c", STORE, folder / "release"]
    return subprocess.check_output(store, env=home, cwd=ROOT, text=True).strip()


@pytest.fixture(scope="module")
def server(shop, state):
    """URL of a server over the copy, which starts without experiments."""
    with serving(shop, state) as url:
        yield url


def define(state, name, arms, **more):
    """Have one experiment in the file, which is to be rolled out."""
    lines = "".join(f", {key}: {value}" for key, value in more.items())
    head = f"{name}: {{layer: page, control: old, primary: ctr, start: 2024-01-01T00:00:00Z, lift: 0.5"
    text = f"layers: {{page: {{}}}}\nexperiments:\n  {head}, rollout: {{{PLAN}}}, arms: {arms}{lines}}}\n"
    write(state.experiments_file, text)


def follows(server, state):
    """Wait until the service gives arms as the two files have them."""
    experiments = experiments_in_force(state)
    expected = [dict(assigned(experiments, user, NOW).arms) for user in PROBES]
    soon(lambda: [ask(server, user)["arms"] for user in PROBES], lambda found: found == expected)


def click(server, answers, rates, rng):
    """Post a click for each slot by the rate of the answer's arm."""
    events = [
        {
            "event_id": f"{answer['request_id']}/{item}",
            "kind": "click",
            "user_id": answer["user_id"],
            "item_id": item,
            "request_id": answer["request_id"],
        }
        for answer in answers
        for item in items(answer)
        for arm in answer["arms"].values()
        if rng.random() < rates[arm]
    ]
    for first in range(0, len(events), 250):
        told = httpx.post(f"{server}/events", json={"events": events[first : first + 250]}, timeout=60)
        assert told.status_code == 200, told.text


def rolled_out(server, state, name, load, rates=None):
    """Look after each round in which everybody was answered, until it is settled: the looks."""
    rng, looks = np.random.default_rng(1), [run(state, name)]
    while looks[-1].settled is None:
        assert len(looks) < 12, looks
        if looks[-1].action != "wait":
            follows(server, state)
        answers = load.all_again()
        if rates and len(looks) > 2:  # nobody clicks at the first step
            click(server, answers, rates, rng)
        looks.append(run(state, name))
    follows(server, state)
    return looks


def nothing_is_lost(state, load):
    """Each request was answered with 200, and each answer is a row of the log, and there is no other."""
    assert load.lost == []
    assert len(load.answers) == sum(load.sent) > 3 * len(load.users)
    given = {answer["request_id"] for answer in load.answers}
    assert len(given) == len(load.answers)
    of_load = set(load.users)

    def rows():
        return {request for request, row in logged(state)[0].items() if row.user_id in of_load}

    assert soon(rows, lambda found: len(found) >= len(given)) == given


def kept(state, name):
    """The trail, line by line."""
    return [json.loads(line) for line in trail_file(state, name).read_text().splitlines()]


def test_a_worse_release_is_rolled_back_under_load(server, state, shop, worse):
    """Step by step, then all get the current release again as before, and no request was lost."""
    known = {user: items(ask(server, user)) for user in [*USERS, *PROBES]}
    define(state, "engine", f"{{old: {{share: 0.5}}, new: {{share: 0.5, release: '{worse}'}}}}")
    with SteadyLoad(server, SHOPPERS) as load:
        looks = rolled_out(server, state, "engine", load, {"old": 0.3, "new": 0.03})
        after = load.all_again()
    actions = [look.action for look in looks if look.action != "wait"]
    assert actions[:2] == ["start", "advance"], looks
    assert actions[-1] == "stop", looks
    assert "ship" not in actions
    assert looks[-1].reason.startswith("ctr of new over old -")
    nothing_is_lost(state, load)
    tags = {answer["release"] for answer in load.answers if answer["arms"] == {"engine": "new"}}
    assert tags == {worse}
    assert {answer["release"] for answer in load.answers if answer["arms"] != {"engine": "new"}} == {shop.tag}
    assert {(answer["release"], *answer["arms"]) for answer in after} == {(shop.tag,)}
    assert {user: items(ask(server, user)) for user in [*USERS, *PROBES]} == known
    lines = kept(state, "engine")
    assert [line["action"] for line in lines] == [look.action for look in looks]
    assert lines[-1]["settled"] == "old"
    assert lines[-1]["users"] == {
        arm: len(
            {each["user_id"] for each in load.answers if each["arms"] == {"engine": arm}} | probed(state, arm)
        )
        for arm in ("old", "new")
    }


def probed(state, arm):
    """Those of the probes who were in an arm before it was settled."""
    rows = logged(state)[0].values()
    return {row.user_id for row in rows if row.user_id in PROBES and row.content["arms"] == {"engine": arm}}


def legacy(state, shop, user):
    """What the legacy rule of the control shows of what is sold, by a plain sort of its scores."""
    release = load(shop.release, shop.tag)
    row = OnlineFeatures(state, release, lambda: NOW).read_user(user)
    scores = LEGACY_RULES["segment"](release, shopper(row, release, NOW)).tolist()
    order = sorted(range(len(scores)), key=lambda item: (-scores[item], item))
    return [ITEMS[item] for item in order if ITEMS[item] != SOLD_OUT][:5]


def test_a_slower_engine_is_rolled_back_under_load(server, state, shop):
    """The legacy rule answers all before, and all again as soon as the engine is found too slow."""
    arms = "{old: {share: 0.5, legacy: segment}, new: {share: 0.5}}"
    define(state, "slower", arms, guardrails="[{metric: latency_ms, worst: 0.5}]")
    expected = {user: legacy(state, shop, user) for user in USERS}
    soon(lambda: {user: items(ask(server, user)) for user in USERS}, lambda found: found == expected)
    with SteadyLoad(server, OTHERS, clicked=["i03"]) as load:
        looks = rolled_out(server, state, "slower", load)
        load.all_again()
    assert looks[0].action == "start"
    assert (looks[-1].action, looks[-1].settled) == ("stop", "old"), looks
    assert looks[-1].reason.startswith("latency_ms of new over old +")
    assert "where at most +50.0 % is allowed" in looks[-1].reason
    nothing_is_lost(state, load)
    assert {user: items(ask(server, user)) for user in USERS} == expected
    assert [line["action"] for line in kept(state, "slower")] == [look.action for look in looks]
    rollouts = json.loads(state.rollouts_file.read_text())
    assert {name: each["settled"] for name, each in rollouts.items()} == {"engine": "old", "slower": "old"}
