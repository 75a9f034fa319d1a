"""Rollouts of treatments that are worse, slower or neither: how many are stopped, where, how many ship."""

from collections import Counter
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from experiment_log import experiment
from simulated_rollouts import PLAN, Harm, Shoppers, simulated

from bentos.experiments import METRICS
from jobs.experiments.over_time import by_day

LAST = PLAN["steps"][-1]


def ends(harm, rollouts, **more):
    """The last looks of some rollouts, and what they say in a line."""
    looks = [simulated(seed, harm, **more) for seed in range(rollouts)]
    found = [each[-1] for each in looks]
    counts = Counter(f"{each.action} at {each.share:.0%}" for each in found)
    average = sum(map(len, looks)) / rollouts
    return found, f"of {rollouts} rollouts: {dict(counts)}, after {average:.0f} looks on average"


@pytest.mark.parametrize(
    "harm", [Harm(ctr=-0.3), Harm(latency=1.0)], ids=["30 % fewer clicks", "twice as slow"]
)
def test_harm_is_stopped_within_the_plan(harm):
    """At least 95 % of 50 rollouts end with the control for all, nearly all of them before the last step."""
    found, said = ends(harm, 50)
    stopped = [each for each in found if each.action == "stop"]
    assert len(stopped) >= 0.95 * len(found), said
    assert {each.settled for each in stopped} == {"a"}, said
    assert sum(each.share < LAST for each in stopped) >= 0.9 * len(found), said
    assert not any(each.settled == "b" for each in found), said


def test_what_does_no_harm_is_shipped():
    """At most 5 % of 100 A/A rollouts are stopped; all others end with the treatment for all."""
    found, said = ends(Harm(), 100)
    assert sum(each.action == "stop" for each in found) <= 5, said
    assert sum(each.settled == "b" for each in found) >= 95, said


def test_a_treatment_that_nobody_clicks_is_never_shipped():
    """There is no lift whose interval could stop it, so it waits: 0 of 1,000 clicks are no chance."""
    found, said = ends(Harm(ctr=-1.0), 5)
    assert not any(each.settled == "b" for each in found), said
    assert all(each.share < LAST for each in found), said


def test_hundreds_of_looks_at_few_users_stop_little():
    """A shop of 1,000, slower but within its guardrail, each half hour: at most 5 % of 20 rollouts stop."""
    small = {"n": 1_000, "hours": 12, "users": 20, "steps": (0.05, 0.5), "every": timedelta(minutes=30)}
    found, said = ends(Harm(latency=0.4), 20, **small)
    assert sum(each.action == "stop" for each in found) <= 1, said


def test_a_simulated_look_is_a_real_one():
    """Its lifts and bounds are those that `by_day` finds of the same sums."""
    shop, shoppers = experiment(rollout=PLAN), Shoppers(np.random.default_rng(1), 500, Harm(ctr=-0.3))
    shoppers.pass_time(3, 0.5)
    frame = pd.DataFrame(shoppers.sums)
    frame = frame.assign(
        user_id=frame.index.astype(str), arm=np.where(shoppers.treated, "b", "a"), day=shop.start.date()
    )
    frame = frame[frame.answers > 0]
    records = shoppers.figures(shop, shop.start).records
    for name in ("ctr", "latency_ms"):
        (real,) = by_day(frame, shop, "b", METRICS[name])
        (found,) = [each for each in records if each["metric"] == name and "method" in each]
        bounds = tuple(-np.inf if bound == -1 else bound for bound in (found["low"], found["high"]))
        assert (found["value"], *bounds) == pytest.approx((real.lift, real.sure.low, real.sure.high))
