"""Plans: as a reference library has them, and kept when experiments of the planned size are simulated."""

import doctest
from functools import partial

import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from scipy.stats import multivariate_normal
from simulated_arms import first_visits, returning, simulated

from jobs.experiments import power as module
from jobs.experiments.power import (
    Days,
    PlanError,
    Users,
    days_needed,
    planned_variance,
    power_of,
    smallest_lift,
    spread_of,
    users_needed,
)
from jobs.experiments.sequential import confidence_sequence, critical_values


def history(shop, users=100_000):
    """Numerator and denominator of each user whom a simulated shop has seen."""
    rows = shop(np.random.default_rng(20), users)
    x, y = (np.bincount(rows.user, column, users) for column in (rows.numerator, rows.denominator))
    return x[y > 0], y[y > 0]


def pretended(n):
    """Users whose clicks before tell of those after, (x, y, x before, y before)."""
    rng = np.random.default_rng(21)
    propensity, activity = rng.beta(0.5, 3, n), rng.gamma(1, 5, n)
    shown, before = rng.poisson(activity) + 1, rng.poisson(activity) + 1
    return rng.binomial(shown, propensity), shown, rng.binomial(before, propensity), before


def test_examples_in_docstrings_hold():
    """Doctests of the module run."""
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("with_covariate", [False, True], ids=["plain", "cuped"])
@pytest.mark.parametrize("share", [0.5, 0.2])
def test_users_are_those_of_tea_tasting(with_covariate, share):
    """Users, the smallest lift and power agree with tea-tasting's solve_power, told the lift's logarithm."""
    columns = pretended(5_000)
    data = pd.DataFrame(dict(zip(["x", "y", "u", "v"], columns, strict=True)))
    covariates = ("u", "v") if with_covariate else ()
    spread = spread_of(*columns[:2], columns[2:] if with_covariate else None)

    def reference(solved, **given):
        metric = tt.RatioOfMeans(
            "x", "y", *covariates, use_t=False, equal_var=False, ratio=share / (1 - share), **given
        )
        return metric.solve_power(data, solved)[0]

    users = users_needed(0.1, spread, share=share)
    total = reference("n_obs", rel_effect_size=np.log(1.1)).n_obs
    assert sum(users) == pytest.approx(total, abs=2)
    assert users.treatment == pytest.approx(total * share, abs=2)
    exact = {"n_obs": sum(users)}
    assert smallest_lift(users, spread) == pytest.approx(
        np.expm1(reference("rel_effect_size", **exact).rel_effect_size), rel=1e-3
    )
    known = reference("power", rel_effect_size=np.log(1.06), **exact).power
    assert power_of(0.06, users, spread) == pytest.approx(known, abs=1e-3)


def test_cuped_saves_what_the_covariate_explains():
    """The spread falls by what a regression on the covariate explains; an empty covariate saves nothing."""
    x, y, u, v = pretended(4_000)
    before = u - u.sum() / v.sum() * v
    after = x - x.sum() / y.sum() * y
    left = after - np.polyval(np.polyfit(before, after, 1), before)
    plain = spread_of(x, y)
    assert spread_of(x, y, (u, v)) == pytest.approx(plain * left.var() / after.var())
    assert spread_of(x, y, (np.zeros(4_000), np.zeros(4_000))) == plain
    assert spread_of(x, y, (np.ones(4_000), np.ones(4_000))) == plain


@pytest.mark.parametrize("shop", [first_visits, partial(returning, days=1)], ids=["mean", "ratio"])
def test_planned_power_is_reached_looking_once(shop):
    """2,000 experiments with the planned users find the lift in 80 % ± 3 points."""
    rng = np.random.default_rng(22)
    x, y = history(shop)
    users, seen = users_needed(0.25, spread_of(x, y)), len(x) / 100_000  # some come and see nothing
    found = simulated(lambda: shop(rng, round(sum(users) / seen), lift=0.25), 2_000)
    power = np.mean(np.abs(found.estimates[:, -1]) > 1.96 * np.sqrt(found.variances[:, -1]))
    assert power == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("shop", [first_visits, returning], ids=["mean", "ratio"])
def test_planned_power_is_reached_looking_every_day(shop):
    """1,000 experiments with the planned users, looked at 19 times, find the lift in 80 % ± 3 points."""
    rng = np.random.default_rng(23)
    x, y = history(shop)
    spread, seen = spread_of(x, y), len(x) / 100_000
    users = users_needed(0.5, spread, looks=19)
    found = simulated(lambda: shop(rng, round(sum(users) / seen), lift=0.5), 1_000)
    tested = confidence_sequence(*found, planned_variance=planned_variance(users, spread))
    power = np.mean(tested.p[:, -1] <= 0.05)
    assert power == pytest.approx(0.8, abs=0.03)


def test_power_at_three_looks_is_that_of_the_normal_distribution_in_three_dimensions():
    """1 minus the probability of a box under three correlated normals, to 1e-4."""
    users, looks = Users(500, 500), np.arange(1, 4) / 3
    effect = np.log(1.2) / np.sqrt(planned_variance(users, 4.0))
    box = critical_values(1 / looks)
    shared = np.sqrt(np.minimum.outer(looks, looks) / np.maximum.outer(looks, looks))
    inside = multivariate_normal(effect * np.sqrt(looks), shared).cdf(box, lower_limit=-box)
    assert power_of(0.2, users, 4.0, looks=3) == pytest.approx(1 - inside, abs=1e-4)


def test_power_at_many_looks_is_that_of_simulated_walks():
    """At 300 looks, 20,000 walks cross as often as said, ± 1.2 points."""
    users, looks = Users(500, 500), np.arange(1, 301) / 300
    effect = np.log(1.2) / np.sqrt(planned_variance(users, 2.0))
    walks = np.random.default_rng(24).normal(effect / 300, 300**-0.5, (20_000, 300)).cumsum(axis=1)
    crossed = np.mean((np.abs(walks) > critical_values(1 / looks) * np.sqrt(looks)).any(axis=1))
    assert power_of(0.2, users, 2.0, looks=300) == pytest.approx(crossed, abs=0.012)


@pytest.mark.parametrize("looks", [None, 1, 14])
def test_users_lift_and_power_agree(looks):
    """What is planned comes back: the lift that planned users can find, and with what power."""
    users = users_needed(0.04, 3.0, power=0.9, alpha=0.01, share=0.3, looks=looks)
    assert users.treatment / sum(users) == pytest.approx(0.3, abs=1e-4)
    assert smallest_lift(users, 3.0, power=0.9, alpha=0.01, looks=looks) == pytest.approx(0.04, rel=1e-4)
    assert power_of(0.04, users, 3.0, alpha=0.01, looks=looks) == pytest.approx(0.9, abs=1e-4)
    drop = 1 / 1.04 - 1
    assert users_needed(drop, 3.0, power=0.9, alpha=0.01, share=0.3, looks=looks) == users


def test_looking_often_costs_users_and_more_looks_find_sooner():
    """One always-valid look needs 1.9 times the users of a z test; 19 looks need 1.7 times."""
    z, one, many = (sum(users_needed(0.02, 3.0, looks=looks)) for looks in (None, 1, 19))
    assert one / z == pytest.approx((3.0351 + 0.8416) ** 2 / (1.96 + 0.8416) ** 2, rel=1e-3)
    assert 1.7 < many / z < 1.78


def test_no_lift_is_found_as_often_as_a_test_errs():
    """Power at no lift is alpha for the z test, and less for the sequential one."""
    assert power_of(0, Users(90, 90), 1.0) == pytest.approx(0.05)
    assert power_of(0, Users(90, 90), 1.0, looks=19) < 0.02


def test_days_are_those_until_the_users_have_come():
    """The first day by which enough came; None, with both numbers, where the history ends before."""
    by_day = [400, 900, 900, 1_300]
    assert days_needed(400, by_day) == Days(1, "1 day")
    assert days_needed(901, by_day) == Days(4, "4 days")
    never = days_needed(20_000, by_day)
    assert never.days is None
    assert never.said == "not within 4 days: 1,300 users came in them, 20,000 are needed"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spread_of([0, 0], [3, 4]), "The metric is 0.0 over 2 users"),
        (lambda: spread_of([1], [3]), "over 1 users"),
        (lambda: spread_of([0, 0], [0, 0]), "The metric is nan"),
        (lambda: users_needed(0, 1.0), "received 0.5 and 0"),
        (lambda: users_needed(-1, 1.0), "received 0.5 and -1"),
        (lambda: users_needed(0.1, 1.0, share=1), "received 1 and 0.1"),
        (lambda: users_needed(0.1, 1.0, power=0.05), "received alpha 0.05 and power 0.05"),
        (lambda: users_needed(0.1, 1.0, looks=0), "received 0 looks"),
        (lambda: power_of(-2, Users(9, 9), 1.0), "received -2"),
        (lambda: smallest_lift(Users(0, 9), 1.0), "Both arms need users"),
        (lambda: days_needed(5, [3, 2]), "do not fall"),
        (lambda: days_needed(5, []), "counted from the first day on"),
    ],
)
def test_odd_plans_are_refused(call, message):
    """The error names the bad value."""
    with pytest.raises(PlanError, match=message):
        call()
