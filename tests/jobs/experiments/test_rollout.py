"""What follows from a look at a rollout: where it waits, goes on, stops and ships, and who is given what."""

from datetime import timedelta

import pytest
from experiment_log import START, at, experiment
from pydantic import ValidationError

from bentos.assignment import assigned
from bentos.experiments import Experiments
from bentos.rollouts import rolled_out
from jobs.experiments.attribution import CROSSED, UNKNOWN
from jobs.experiments.figures import Figures
from jobs.experiments.rollout import Seen, decided, judged, stopped
from jobs.experiments.trail import Look, RolloutError
from jobs.experiments.verdict import Verdict

STEPS = (0.01, 0.05, 0.25, 0.4)
PLAN = {"steps": STEPS, "hours": 24, "users": 50}
ARMS = {"a": {"share": 0.6}, "b": {"share": 0.4, "legacy": "top_sellers"}}
GUARDS = ({"metric": "latency_ms", "worst": 0.5},)
FINE = Verdict("keep running", "ctr of b over a +1.0 % [-9.0 %, +12.0 %] may be nothing.")
BAD = Verdict("stop", "ctr of b over a -30.0 % [-40.0 %, -20.0 %] is worse.")
BROKEN = Verdict("invalid", "no user of arm a was in the log.")


def shop(**changes):
    """An experiment that is rolled out."""
    return experiment(**{"arms": ARMS, "rollout": PLAN, **changes})


def seen(hours=24.0, users=(60, 50), verdict=FINE, doubt=""):
    """A look so long after the start."""
    return Seen(dict(zip("ab", users, strict=True)), at(60 * hours), verdict, doubt)


def last(share=0.01, hours=0.0, **changes):
    """The look before."""
    plain = {"looked_at": "then", "action": "advance", "reason": "", "share": share, "ramp": share / 0.4}
    return Look(**{**plain, "settled": None, "since": at(60 * hours).isoformat(), **changes})


NOTHING = Seen({}, None, None)
CASES = {
    "the beginning": (None, NOTHING, "start", "1% of the users get b", 0.01),
    "a beginning with users of before": (None, seen(), "start", "1% of the users get b", 0.01),
    "nobody yet": (last(since=None), NOTHING, "wait", "nobody has been in it yet", 0.01),
    "the first who come": (last(since=None), seen(), "wait", "nobody has been in it yet", 0.01),
    "too early": (last(), seen(23.9), "wait", "the step has lasted 23.9 of 24 hours", 0.01),
    "too few": (last(), seen(users=(9_000, 49)), "wait", "an arm has 49 of 50 users", 0.01),
    "too few of the control": (last(), seen(users=(0, 90)), "wait", "an arm has 0 of 50 users", 0.01),
    "a doubt": (last(), seen(doubt="latency_ms is not known"), "wait", "latency_ms is not known", 0.01),
    "no harm": (last(), seen(), "advance", "no harm found: 5% of the users get b", 0.05),
    "no verdict is no harm": (last(), seen(verdict=None), "advance", "no harm found: 5% of", 0.05),
    "more than no harm": (last(), seen(verdict=Verdict("ship", "good", "b")), "advance", "no harm", 0.05),
    "the second step": (last(0.05, 24), seen(48), "advance", "no harm found: 25% of the users get b", 0.25),
    "the second step, too early": (last(0.05, 25), seen(48), "wait", "the step has lasted 23.0 of 24", 0.05),
    "the third step": (last(0.25, 24), seen(50), "advance", "no harm found: 40% of the users get b", 0.4),
    "the last step": (last(0.4), seen(), "ship", "no harm found at the last step: all get b", 0.4),
    "the last step, in doubt": (last(0.4), seen(doubt="slow"), "wait", "slow", 0.4),
    "harm at the first step": (last(), seen(0.1, verdict=BAD), "stop", BAD.reason, 0.01),
    "harm at the last step": (last(0.4), seen(verdict=BAD), "stop", BAD.reason, 0.4),
    "harm among few users": (last(), seen(users=(20, 20), verdict=BAD), "stop", BAD.reason, 0.01),
    "a broken comparison": (last(0.05), seen(verdict=BROKEN), "stop", BROKEN.reason, 0.05),
}


@pytest.mark.parametrize(("before", "found", "action", "reason", "share"), CASES.values(), ids=CASES.keys())
def test_what_follows_from_a_look(before, found, action, reason, share):
    """The action and its reason; the treatment's share of the users is the step's."""
    look = decided(shop(), before, found)
    assert (look.action, look.share) == (action, share)
    assert look.reason.startswith(reason)
    assert look.ramp == pytest.approx(share / 0.4)
    assert look.settled == {"stop": "a", "ship": "b"}.get(action)
    assert look.users == found.users
    assert look.looked_at > "2025"


def test_a_step_lasts_from_the_look_that_began_it():
    """By the newest answer then; a wait changes it only where nobody had come before."""
    assert decided(shop(), None, seen(5)).since == at(300).isoformat()
    assert decided(shop(), last(), seen(30)).since == at(1_800).isoformat()
    assert decided(shop(), last(hours=20), seen(30)).since == at(1_200).isoformat()
    assert decided(shop(), last(since=None), seen(30)).since == at(1_800).isoformat()
    assert decided(shop(), last(since=None), NOTHING).since is None


def test_a_clock_that_goes_back_only_prolongs_a_step():
    """A server whose clock was ahead is no reason to go on sooner, nor for an error."""
    look = decided(shop(), last(hours=50), seen(30))
    assert (look.action, look.reason) == ("wait", "the step has lasted -20.0 of 24 hours")


@pytest.mark.parametrize("steps", [(0.02, 0.1), (0.03,), (0.01, 0.05, 0.06, 0.07, 0.25)])
def test_edited_steps_count_from_the_share_that_is_reached(steps):
    """Nobody is taken out again, and no step is met twice: the next one is the next larger share."""
    edited = shop(rollout={**PLAN, "steps": steps})
    for share in (0.01, 0.05, 0.25):
        larger = [each for each in steps if each > share]
        look = decided(edited, last(share), seen())
        assert look.share == (larger[0] if larger else share)
        assert look.action == ("advance" if larger else "ship")
        waits = decided(edited, last(share), seen(users=(0, 0)))
        assert (waits.action, waits.share, waits.ramp) == ("wait", share, share / 0.4)


def test_an_experiment_that_has_ended_cannot_go_on():
    """Nobody is in it after its end by the log's clock, so nothing more is learnt; harm stops it still."""
    short = shop(end=START + timedelta(hours=30))
    assert decided(short, last(), seen(29)).action == "advance"
    for before in (None, last(), last(0.4)):
        with pytest.raises(
            RolloutError, match=r"engine ended on 2017-12-05T11:00:00\+00:00, .* later end, or"
        ):
            decided(short, before, seen(30))
    assert decided(short, last(), seen(30, verdict=BAD)).action == "stop"


def test_without_a_plan_nothing_is_decided():
    """The line says what one looks like."""
    with pytest.raises(RolloutError, match=r"engine has no rollout; give it one, such as rollout: \{steps: "):
        decided(experiment(), None, seen())


def test_a_person_stops_at_any_time():
    """Also what has been shipped; the reason is theirs, and users and step are as they were."""
    for before in (last(), last(0.4, settled="b"), last(settled="a")):
        look = stopped(shop(), before, "complaints")
        assert (look.action, look.reason, look.settled) == ("stop", "by hand: complaints", "a")
        assert (look.share, look.ramp, look.users) == (before.share, before.ramp, before.users)
    with pytest.raises(RolloutError, match="The rollout of engine has not begun; there is nothing to stop"):
        stopped(shop(), None, "complaints")


def test_a_look_is_told_in_one_line():
    """What was decided and why, who gets what, who has come."""
    assert str(decided(shop(), last(), seen(users=(1_200, 800)))) == (
        "advance: no harm found: 5% of the users get b (treatment at 5%; users: 1,200 a, 800 b)"
    )
    small = shop(rollout={**PLAN, "steps": (0.0025, 0.125)})
    assert str(decided(small, None, NOTHING)) == (
        "start: 0.25% of the users get b (treatment at 0.25%; users: nobody yet)"
    )
    assert str(decided(shop(), last(), seen(verdict=BAD))).endswith(
        "is worse. (all get a; users: 60 a, 50 b)"
    )


@pytest.mark.parametrize(("slice_", "holdout"), [((0, 1), 0.0), ((0.25, 0.75), 0.2)])
def test_the_treatment_gets_its_step_and_all_others_the_control(slice_, holdout):
    """Of 20,000 users: the step's share are treated, in the ratio of the arms, and nobody leaves again."""
    users, treated = [f"u{n}" for n in range(20_000)], set()
    one = shop(slice=slice_)
    all_ = Experiments.model_validate(
        {"layers": {"page": {"holdout": holdout}}, "experiments": {"engine": vars(one)}}
    )
    look = decided(one, None, seen(0))
    for _ in STEPS:
        stage = rolled_out(all_, {"engine": look.rollout})
        found = {user: assigned(stage, user, START) for user in users}
        inside = {user: each for user, each in found.items() if each.arms or each.settled}
        now = {user for user, each in inside.items() if each.arms.get("engine") == "b"}
        control = sum(each.arms.get("engine") == "a" for each in inside.values())
        n = len(inside)
        assert abs(n - 20_000 * (1 - holdout) * (slice_[1] - slice_[0])) < 4 * 71
        assert abs(len(now) - look.share * n) < 4 * (look.share * n) ** 0.5
        assert abs(control - 1.5 * look.share * n) < 4 * (1.5 * look.share * n) ** 0.5
        assert {each.settled.get("engine") for each in inside.values() if not each.arms} <= {"a"}
        assert treated <= now
        treated, look = now, decided(one, look, seen(100_000 * (1 + look.share)))
    assert look.action == "ship"
    before = rolled_out(all_, {})
    assert {assigned(before, user, START).settled.get("engine") for user in inside} == {"a"}


def records(users, *, srm=1.0, rejected=(), clicks=100, low=-0.1, high=0.1, latency=0.1):
    """What figures say of a comparison."""
    found = [
        {"metric": "srm", "value": srm},
        {"metric": "funnel", "arm": "a", "stage": "clicks", "value": clicks},
    ]
    found += [{"metric": "users", "arm": arm, "value": n} for arm, n in zip("ab", users, strict=True)]
    found += [{"metric": "rejected", "reason": reason, "value": n} for reason, n in rejected]
    lifts = {"ctr": (0.0, low, high), "latency_ms": (latency, latency - 0.1, latency + 0.1)}
    for metric, numbers in lifts.items():
        found += [{"metric": metric, "arm": arm, "value": 1.0} for arm in "ab"]
        told = dict(zip(("value", "low", "high"), numbers, strict=True))
        found.append({"metric": metric, "arm": "b", "method": "sequential", **told})
    return Figures(found, dict(zip("ab", users, strict=True)), START, log=None)


JUDGED = {
    "a sound one": (records((300, 200)), "keep running", ""),
    "its first user": (records((1, 0)), None, ""),
    "a handful": (records((19, 19), high=-0.05), None, ""),
    "an outcome too many of a handful": (records((19, 13), rejected=[(UNKNOWN, 1)], clicks=0), None, ""),
    "worse": (records((20, 20), low=-0.2, high=-0.05), "stop", ""),
    "an arm that answers nobody": (records((90, 0)), "invalid", ""),
    "other shares than planned": (records((2_300, 1_200)), "invalid", ""),
    "what the check for one look would alarm at": (records((300, 200), srm=1e-9), "keep running", ""),
    "many in two arms": (records((300, 200), rejected=[(CROSSED, 6)]), "invalid", ""),
    "too slow, perhaps": (
        records((300, 200), latency=0.55),
        "keep running",
        "latency_ms of b over a +55.0 %",
    ),
    "too slow": (records((300, 200), latency=0.65), "stop", "latency_ms of b over a +65.0 %"),
}


@pytest.mark.parametrize(("found", "word", "doubt"), JUDGED.values(), ids=JUDGED.keys())
def test_what_figures_say(found, word, doubt):
    """Of a handful of users only broken shares count; they are tested for as many looks as there will be."""
    seen = judged(shop(guardrails=GUARDS), found)
    assert (seen.verdict.word if seen.verdict else None) == word
    assert seen.doubt.startswith(doubt)
    assert bool(seen.doubt) == bool(doubt)
    assert (seen.users, seen.newest) == (found.users, START)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"arms": {"a": {"share": 0.0}, "b": {"share": 1.0}}},
            "compares with the control, which has share 0",
        ),
        (
            {"arms": {**ARMS, "a": {"share": 0.5}, "c": {"share": 0.1}}},
            "one arm over the control; there are 3",
        ),
        ({"rollout": {**PLAN, "users": 19}}, "greater than or equal to 20"),
    ],
)
def test_what_cannot_be_rolled_out_is_refused(changes, says):
    """One treatment against a control with users, and enough of them for an interval."""
    with pytest.raises(ValidationError, match=says):
        shop(**changes)
