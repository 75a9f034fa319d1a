"""Rollouts over an installation's logs, look by look, by `endcap rollout`: what is decided, kept and told."""

import json
import threading
import time

import numpy as np
import pytest
from click.testing import CliRunner
from experiment_log import at
from handmade_log import PLAN, LoggedShop

import jobs.experiments.rollout as module
from bentos.rollouts import Rollout, load_rollouts, save_rollouts
from jobs.cli import endcap
from jobs.experiments.rollout import run
from jobs.experiments.trail import RolloutError, alone, keep, last_look, lock_file, trail_file

GUARD = "guardrails: [{metric: latency_ms, worst: 0.5}]"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """An installation with an experiment that is to be rolled out, for whoever calls `endcap`."""
    shop = LoggedShop(tmp_path / "state")
    shop.write(PLAN, GUARD, "lift: 0.5")
    monkeypatch.setenv("ENDCAP_STATE", str(shop.settings.state))
    monkeypatch.setenv("ENDCAP_REPORTS", str(shop.settings.reports))
    return shop


def call(*words):
    """`endcap rollout ...` in this process."""
    return CliRunner().invoke(endcap, ["rollout", *words])


def pages(shop, hours, *, n=60, clicks=(0.3, 0.3), latency=(10.0, 10.0), seed=0):
    """A page for each of n users at one time, and clicks on some; arms in turn, each by its rates."""
    rng = np.random.default_rng([seed, int(hours)])
    shown, clicked = [], []
    for user in range(n):
        which, request = user % 2, f"{seed}-{hours}-{user}"
        time_ms = latency[which] * float(rng.gamma(9, 1 / 9))
        shown.append({"request": request, "user": f"u{user}", "arm": "ab"[which], "latency_ms": time_ms})
        clicked += [(f"u{user}", item, request) for item in ("milk", "tea") if rng.random() < clicks[which]]
    shop.show(shown, hours=hours)
    shop.tell(clicked, hours=hours + 0.01)


def looks(shop):
    """What the trail has: (action, reason) of each look."""
    lines = trail_file(shop.settings, "engine").read_text().splitlines()
    return [(told["action"], told["reason"]) for told in map(json.loads, lines)]


def followed(shop):
    """What the service is told of the experiment."""
    return load_rollouts(shop.settings.rollouts_file).get("engine")


def test_without_harm_it_goes_to_its_end(shop):
    """From the first look by each step to all; then a call changes nothing, and looks at nothing."""
    assert run(shop.settings, "engine").action == "start"
    assert followed(shop) == Rollout(ramp=0.1)
    told, ramps = [], []
    for hours in (1, 20, 26, 51, 76):
        pages(shop, hours)
        look = run(shop.settings, "engine")
        told.append(look.action)
        ramps.append(followed(shop).ramp)
        assert look == last_look(shop.settings, "engine")
    assert told == ["wait", "wait", "advance", "advance", "ship"]
    assert ramps == [0.1, 0.1, 0.5, 1.0, 1.0]
    assert followed(shop) == Rollout(ramp=1, settled="b")
    kept = trail_file(shop.settings, "engine").read_bytes()
    again = run(shop.settings, "engine")
    assert (again.action, again.settled) == ("wait", "b")
    assert again.reason.startswith("settled for b on 2")
    assert trail_file(shop.settings, "engine").read_bytes() == kept
    assert json.loads(kept.splitlines()[-1])["users"] == {"a": 30, "b": 30}


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        ({"clicks": (0.6, 0.1)}, "ctr of b over a -"),
        ({"latency": (10.0, 40.0)}, "latency_ms of b over a +"),
    ],
    ids=["worse", "slower"],
)
def test_a_treatment_that_does_harm_is_stopped(shop, harm, why):
    """Within the steps of its plan: what logs say of it ends in the control for all."""
    run(shop.settings, "engine")
    for day in range(4):
        pages(shop, 25 * day + 1, **harm)
        look = run(shop.settings, "engine")
        if look.settled:
            break
    assert (look.action, look.settled) == ("stop", "a")
    assert look.reason.startswith(why)
    assert followed(shop).settled == "a"
    assert looks(shop)[-1] == ("stop", look.reason)


def test_the_first_users_stop_nothing(shop):
    """One user, and then one whose outcome names an answer that nobody logged: it waits for more."""
    run(shop.settings, "engine")
    shop.show([{"request": "r1", "user": "u1", "arm": "a"}], hours=1)
    assert run(shop.settings, "engine").action == "wait"
    shop.tell([("u1", "milk", "lost")], hours=1.1)
    shop.show([{"request": "r2", "user": "u2", "arm": "b"}], hours=30)
    look = run(shop.settings, "engine")
    assert (look.action, look.reason) == ("wait", "an arm has 1 of 20 users")


def test_the_shop_around_a_small_step_does_not_break_it(shop):
    """Others' clicks that name answers of another system are many times those of the step, no news of it."""
    run(shop.settings, "engine")
    pages(shop, 1)
    run(shop.settings, "engine")
    pages(shop, 26)
    shop.tell([(f"other{n}", "milk", f"search-{n}") for n in range(500)], hours=26)
    assert run(shop.settings, "engine").action == "advance"


@pytest.mark.parametrize("broken", [False, True], ids=["looks", "cannot look"])
def test_what_a_crash_left_undone_is_done_by_the_next_call(shop, monkeypatch, broken):
    """A line without its file is brought to the service first, also where the look then fails."""
    first = run(shop.settings, "engine")
    before = shop.settings.rollouts_file.read_bytes()
    keep(
        shop.settings,
        "engine",
        first.__class__(**{**vars(first), "action": "advance", "ramp": 0.5, "share": 0.25}),
    )
    shop.settings.rollouts_file.write_bytes(before)  # as if the process had ended before it
    if broken:
        monkeypatch.setattr(module, "seen", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(shop.settings, "engine")
    else:
        assert run(shop.settings, "engine").action == "wait"
    assert followed(shop) == Rollout(ramp=0.5)


def test_what_was_begun_or_decided_does_not_begin_anew(shop):
    """A lost trail, or an arm settled by hand, would else take users back to the first step, or harm back."""
    save_rollouts(shop.settings.rollouts_file, {"engine": Rollout(ramp=1, settled="a")})
    with pytest.raises(
        RolloutError, match=r"rollouts\.json has engine, and .*engine\.jsonl is not there; bring"
    ):
        run(shop.settings, "engine")
    assert followed(shop) == Rollout(ramp=1, settled="a")
    shop.settings.rollouts_file.unlink()
    shop.write(PLAN, "settled: b")
    with pytest.raises(RolloutError, match=r"engine is settled for b in .*experiments\.yaml; take that out"):
        run(shop.settings, "engine")
    assert not trail_file(shop.settings, "engine").exists()


def test_an_experiment_that_is_edited_meanwhile(shop):
    """Without a plan no look is taken; other arms are another experiment; a person can always stop it."""
    run(shop.settings, "engine")
    pages(shop, 1)
    shop.write(GUARD)
    with pytest.raises(RolloutError, match="engine has no rollout; give it one"):
        run(shop.settings, "engine")
    content = shop.settings.experiments_file.read_text()
    shop.settings.experiments_file.write_text(content.replace("b: {", "c: {") + f"    {PLAN}\n")
    with pytest.raises(ValueError, match="engine has no arm 'b' but a, c: is it another's log"):
        run(shop.settings, "engine")
    assert followed(shop) == Rollout(ramp=0.1)
    assert run(shop.settings, "engine", stop="edited").settled == "a"
    assert followed(shop).settled == "a"


def test_an_experiment_whose_end_has_come(shop):
    """By the shop's own clock, which answers outside of it tell too: one line, and nothing is kept."""
    shop.write(PLAN, "end: 2017-12-06T05:00:00Z")
    run(shop.settings, "engine")
    pages(shop, 47)
    assert run(shop.settings, "engine").action == "wait"
    shop.show([{"request": "after", "user": "u1", "arm": None}], hours=48)
    said = call("engine")
    assert said.exit_code == 1
    assert said.stderr == (
        "Error: engine ended on 2017-12-06T05:00:00+00:00, and nobody is in it any more;"
        " give it a later end, or --stop\n"
    )
    assert len(looks(shop)) == 2
    assert at(48 * 60).isoformat() in said.stderr


def test_a_person_stops_it_after_the_look_that_is_under_way(shop):
    """A look is turned away while another is at work, a stop waits and comes last."""
    run(shop.settings, "engine")
    with alone(lock_file(shop.settings, "engine"), wait=False):
        said = call("engine")
        assert (said.exit_code, said.stderr) == (
            1,
            "Error: Another `endcap rollout engine` is at work; wait until it is done\n",
        )
        person = threading.Thread(target=run, args=(shop.settings, "engine"), kwargs={"stop": "complaints"})
        person.start()
        time.sleep(0.2)
        assert followed(shop).settled is None
    person.join()
    assert followed(shop).settled == "a"
    assert looks(shop)[-1] == ("stop", "by hand: complaints")


def test_the_command_tells_each_look_in_one_line(shop):
    """Exit code 0 whatever was decided; what cannot be is one line and 1."""
    said = call("engine")
    assert (said.exit_code, said.stdout, said.stderr) == (
        0,
        "start: 5% of the users get b (treatment at 5%; users: nobody yet)\n",
        "",
    )
    pages(shop, 1)
    assert call("engine").stdout.startswith(
        "wait: nobody has been in it yet (treatment at 5%; users: 30 a, 30 b)"
    )
    said = call("engine", "--stop", "complaints by phone")
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout == "stop: by hand: complaints by phone (all get a; users: 30 a, 30 b)\n"
    said = call("engine", "--watch", "1")  # settled: there is nothing to watch
    assert said.exit_code == 0
    assert said.stdout.startswith("wait: settled for a on 20")
    assert len(said.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (["prices"], "Error: There is no experiment 'prices'; use engine", 1),
        (["../engine"], "Error: There is no experiment '../engine'; use engine", 1),
        (
            ["engine", "--stop", "bad"],
            "Error: The rollout of engine has not begun; there is nothing to stop",
            1,
        ),
        (["engine", "--watch", "0"], "Error: Invalid value for '--watch'", 2),
        ([], "Error: Missing argument 'NAME'", 2),
    ],
)
def test_what_cannot_be_asked_for_is_told(shop, words, says, code):
    """In one line, and nothing is written."""
    said = call(*words)
    assert said.exit_code == code
    assert said.stderr.splitlines()[-1].startswith(says)
    assert not shop.settings.rollouts_file.exists()


def test_a_watch_outlives_a_look_that_fails(shop, monkeypatch):
    """A file that is being edited is told, and looked at again; it ends as the rollout is settled."""
    good, waited = shop.settings.experiments_file.read_text(), []

    def sleep(seconds):
        waited.append(seconds)
        assert len(waited) < 5, "it should have ended"
        shop.settings.experiments_file.write_text(good + "    colour: blue\n" * (len(waited) == 1))
        pages(shop, len(waited), clicks=(0.6, 0.05))

    monkeypatch.setattr(module.time, "sleep", sleep)
    said = call("engine", "--watch", "30")
    assert said.exit_code == 0
    assert set(waited) == {30}
    assert [line.partition(":")[0] for line in said.stdout.splitlines()] == ["start", "stop"]
    (error,) = said.stderr.splitlines()
    assert error.startswith(f"could not look: {shop.settings.experiments_file}: ")
    assert "'colour' is unknown" in error
    assert followed(shop).settled == "a"
