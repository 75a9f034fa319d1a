"""Lifts day by day: each is that of all that had happened by its end, within bounds that were planned for."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from experiment_log import experiment

from bentos.experiments import METRICS
from jobs.experiments.analysis import AlwaysValid
from jobs.experiments.over_time import Day, alpha_of, by_day, day_records, planned_variance
from jobs.experiments.ratio import log_lift, ratio_of_sums
from jobs.experiments.sequential import confidence_sequence

MONDAY = date(2017, 12, 4)
ARMS = {"a": {"share": 0.4}, "b": {"share": 0.3}, "c": {"share": 0.3}}


@pytest.fixture(scope="module")
def days():
    """Rows of 90 users in three arms over two weeks, one of them without anybody; in no order."""
    rng = np.random.default_rng(4)
    rows = []
    for user in range(90):
        for day in rng.choice([each for each in range(14) if each != 5], rng.integers(1, 6), replace=False):
            slots = int(rng.integers(1, 30))
            rows.append(
                (f"u{user}", "abc"[user % 3], MONDAY + timedelta(int(day)), slots, rng.binomial(slots, 0.2))
            )
    frame = pd.DataFrame(rows, columns=["user_id", "arm", "day", "slots", "clicks"])
    return frame.sample(frac=1, random_state=1)


def totals(days, arm, until):
    """Clicks and slots of each user of an arm up to the end of a day."""
    mine = days[(days.arm == arm) & (days.day <= until)].groupby("user_id")[["clicks", "slots"]].sum()
    return mine.clicks.to_numpy(), mine.slots.to_numpy()


@pytest.mark.parametrize("arm", ["b", "c"])
def test_each_day_is_that_of_all_before_it(days, arm):
    """Lift, bounds and p equal those of the users' totals at each day's end, computed anew for each day."""
    shop, metric = experiment(arms=ARMS), METRICS["ctr"]
    found = by_day(days, shop, arm, metric)
    every = sorted(set(days[days.arm.isin(["a", arm])].day))
    assert [each.day for each in found] == every
    looks = []
    for day in every:
        both = [
            ratio_of_sums(*totals(days, each, day)) if len(totals(days, each, day)[0]) else None
            for each in (arm, "a")
        ]
        looks.append(log_lift(*both) if all(both) else (np.nan, np.nan))
    estimates, variances = np.transpose(looks)
    sure = confidence_sequence(
        estimates, variances, planned_variance=planned_variance(shop, "ctr"), alpha=0.05 / 2
    )
    for n, each in enumerate(found):
        assert each.lift == pytest.approx(np.expm1(estimates[n]), nan_ok=True)
        expected = (np.expm1(sure.low[n]), np.expm1(sure.high[n]), sure.p[n])
        bounds = (expected[0] if expected[0] > -1 else -np.inf, *expected[1:])
        assert tuple(each.sure) == pytest.approx(bounds)


def test_the_last_day_holds_the_true_lift(days):
    """Of two arms that do not differ, no bound excludes 0 on any of these days, and the last is finite."""
    found = by_day(days, experiment(arms=ARMS), "b", METRICS["ctr"])
    assert all(each.sure.low < 0 < each.sure.high for each in found)
    assert np.isfinite(found[-1].sure.low)
    assert np.isfinite(found[-1].sure.high)


def test_an_arm_without_users_has_no_days(days):
    """Nor has the treatment while the control has none; other arms' rows are not counted in."""
    shop = experiment(arms=ARMS)
    for without in ("a", "b"):
        assert by_day(days[days.arm != without], shop, "b", METRICS["ctr"]) == []
    alone = by_day(days[days.arm != "c"], shop, "b", METRICS["ctr"])
    assert alone == by_day(days, shop, "b", METRICS["ctr"])


def test_days_on_which_nothing_can_be_said(days):
    """Before both arms have clicked, the lift is nan, bounds are infinite and p is 1."""
    none = days.assign(clicks=days.clicks.where(days.day > MONDAY + timedelta(3), 0))
    found = by_day(none, experiment(arms=ARMS), "b", METRICS["ctr"])
    before = [each for each in found if each.day <= MONDAY + timedelta(3)]
    assert before
    for each in before:
        assert np.isnan(each.lift)
        assert each.sure == AlwaysValid(-np.inf, np.inf, 1.0)
    assert np.isfinite(found[-1].lift)


@pytest.mark.parametrize(("without", "bound"), [("b", "high"), ("a", "low")])
def test_an_arm_that_nobody_clicks_is_surely_worse_once_nine_clicked_the_other(without, bound):
    """All nine are of one of two equal arms: p is 2 / 2^9 on a tenth of alpha; eight could be chance."""
    shop, metric = experiment(), METRICS["ctr"]
    for n, sure in ((8, False), (9, True)):
        frame = pd.DataFrame({"user_id": [f"u{user}" for user in range(40)], "arm": ["a", "b"] * 20})
        frame = frame.assign(day=MONDAY, slots=10, clicks=0)
        frame.loc[frame.index[frame.arm != without][:n], "clicks"] = 1
        (found,) = by_day(frame, shop, "b", metric)
        assert found.sure.p_value == pytest.approx(min(1, 2 * 0.5**n / 0.1))
        assert (found.sure.p_value <= 0.05) == sure
        assert ((found.sure.high < 0) if bound == "high" else (found.sure.low > 0)) == sure
        assert (found.lift == -1) if without == "b" else np.isnan(found.lift)


@pytest.mark.parametrize(
    ("metric", "effect"),
    [("ctr", 0.1), ("latency_ms", 0.5), ("degraded", 0.1)],
    ids=["lift", "worst", "no worst"],
)
@pytest.mark.parametrize("treatments", [1, 2])
def test_the_least_effect_that_matters_is_just_found_at_the_planned_variance(metric, effect, treatments):
    """An estimate of it has a bound at 0 there: what a guardrail lets pass, unless that is 0, or the lift."""
    shop = experiment(
        arms=ARMS if treatments == 2 else {"a": {"share": 0.5}, "b": {"share": 0.5}},
        lift=0.1,
        guardrails=({"metric": "latency_ms", "worst": 0.5}, {"metric": "degraded", "worst": 0}),
    )
    variance = planned_variance(shop, metric)
    assert alpha_of(shop) == 0.05 / treatments
    found = confidence_sequence(
        [np.log1p(effect)], [variance], planned_variance=variance, alpha=0.05 / treatments
    )
    assert found.low[0] == pytest.approx(0, abs=1e-12)
    assert found.p[0] == pytest.approx(0.05 / treatments)


def test_records_say_each_day_once():
    """Arm, control, metric, day and numbers; what is not known or not bounded is null."""
    day = Day(MONDAY, 0.25, AlwaysValid(-0.5, 1.5, 0.4))
    none = Day(MONDAY + timedelta(1), np.nan, AlwaysValid(-np.inf, np.inf, 1.0))
    records = list(day_records({("b", "ctr"): [day, none], ("b", "degraded"): []}, experiment()))
    same = {"report": "experiment", "experiment": "engine", "metric": "ctr", "arm": "b", "versus": "a"}
    same |= {"method": "sequential", "unit": "relative lift"}
    assert records == [
        {**same, "day": "2017-12-04", "value": 0.25, "low": -0.5, "high": 1.5, "p_value": 0.4},
        {**same, "day": "2017-12-05", "value": None, "low": None, "high": None, "p_value": 1.0},
    ]
