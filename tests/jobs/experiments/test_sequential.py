"""Looking as often as one likes: the bounds hold at all looks together, and are no wider than they say."""

import doctest
from functools import cache, partial

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm
from simulated_arms import DAYS, first_visits, returning, simulated

from jobs.experiments import sequential as module
from jobs.experiments.ratio import Looks
from jobs.experiments.sequential import (
    SequentialError,
    confidence_sequence,
    critical_values,
    mixture_variance,
    none_yet,
    one_sided,
)

ARRIVING = partial(first_visits, users=2_000)
RETURNING = partial(returning, users=1_600, sigma=1.2)
SPARSE = partial(returning, users=400, shown=2.0)  # a handful of clicks an arm at first
SHOPS = pytest.mark.parametrize(
    "shop", [ARRIVING, RETURNING, SPARSE], ids=["arriving", "returning", "sparse"]
)


@cache
def experiments(shop, lift: float = 0.0) -> Looks:
    """1,000 experiments, (1,000, 19); drawn once for all tests."""
    rng = np.random.default_rng(11)
    return simulated(lambda: shop(rng, lift=lift), 1_000)


def last_variance(found):
    """What a plan would say of the last look."""
    return float(np.median(found.variances[:, -1]))


def sequence(found):
    """The confidence sequences of experiments."""
    return confidence_sequence(*found, planned_variance=last_variance(found))


def test_examples_in_docstrings_hold():
    """Doctests of the module run."""
    assert doctest.testmod(module).failed == 0


@SHOPS
def test_looking_19_times_errs_in_at_most_5_percent(shop):
    """A/A: at most 5 % of 1,000 experiments ever exclude 0, where repeated z tests do in 15 to 27 %."""
    found = experiments(shop)
    tested = sequence(found)
    wrong = np.mean(((tested.low > 0) | (tested.high < 0)).any(axis=1))
    naive = np.mean((np.abs(found.estimates) > 1.96 * np.sqrt(found.variances)).any(axis=1))
    assert wrong <= 0.05, f"sequential {wrong:.1%}, repeated z tests {naive:.1%} of A/A experiments"
    assert 0.15 < naive < 0.27, f"sequential {wrong:.1%}, repeated z tests {naive:.1%} of A/A experiments"


def test_the_lift_itself_would_err_too_often():
    """A/A with few clicks: tested on the lift and not on its logarithm, more than 5 % exclude 0."""
    log = experiments(SPARSE)
    lift = Looks(np.expm1(log.estimates), np.exp(2 * log.estimates) * log.variances)
    wrong = np.mean(sequence(lift).p[:, -1] <= 0.05)
    assert wrong > 0.05, f"{wrong:.1%}"


@SHOPS
def test_a_guardrail_trips_in_at_most_5_percent(shop):
    """With a lift of exactly what is allowed, at most 5 % of 1,000 experiments are ever found worse."""
    found = experiments(shop)
    tested = one_sided(*found, allowed=0, planned_variance=last_variance(found))
    worse, better = (np.mean(side.any(axis=1)) for side in (tested.high < 0, tested.low > 0))
    assert worse <= 0.05, f"found worse {worse:.1%}"
    assert better <= 0.05, f"found better {better:.1%}"


@SHOPS
def test_intervals_hold_the_lift_at_all_looks_together(shop):
    """With a lift of 30 %, at least 95 % of 1,000 sequences never leave it out."""
    tested = sequence(experiments(shop, 0.3))
    covered = np.mean(((tested.low <= np.log(1.3)) & (np.log(1.3) <= tested.high)).all(axis=1))
    assert covered >= 0.95, f"{covered:.1%}"


def test_power_grows_from_look_to_look():
    """With a lift of 30 %, more experiments have found it by each fifth look, and most by the last."""
    found = sequence(experiments(ARRIVING, 0.3)).p <= 0.05
    power = found.mean(axis=0)[[3, 8, 13, 18]]
    assert (np.diff(power) > 0.05).all(), power
    assert power[-1] > 0.8


def test_a_guardrail_finds_harm_sooner_than_two_sides():
    """Of a drop by a fifth, one side finds more by the last look than two sides do."""
    found = experiments(ARRIVING, -0.2)
    one = one_sided(*found, allowed=0, planned_variance=last_variance(found)).p[:, -1] <= 0.05
    two = sequence(found).p[:, -1] <= 0.05
    assert one.mean() > two.mean() + 0.03
    assert np.mean(one[two]) > 0.99


def likelihood_ratio(z, gain, *, half):
    """By quadrature: density of z under a mixture with variance `gain` of effects, over that under none."""
    effects = np.linspace(0 if half else -12, 12, 200_001) * np.sqrt(gain)
    prior = norm.pdf(effects, scale=np.sqrt(gain)) * (2 if half else 1)
    return np.trapezoid(norm.pdf(z - effects) * prior, effects) / norm.pdf(z)


@pytest.mark.parametrize("relative", [0.3, 1.0, 8.0])
def test_bounds_and_p_are_those_of_the_mixture(relative):
    """At the critical value the mixture's likelihood ratio, by quadrature, is 1 / alpha, and p is alpha."""
    critical = float(critical_values(relative))
    assert likelihood_ratio(critical, mixture_variance(0.05) / relative, half=False) == pytest.approx(20)
    found = confidence_sequence([critical * relative**0.5], [relative], planned_variance=1)
    assert found.low == pytest.approx(0, abs=1e-9)
    assert found.p == pytest.approx(0.05)


@pytest.mark.parametrize("relative", [0.3, 1.0, 8.0])
def test_one_side_is_a_trifle_wider_than_its_mixture(relative):
    """The boundary in closed form is up to 1.5 % beyond that of the half normal mixture; p agrees with it."""
    gain = mixture_variance(0.1) / relative
    exact = brentq(lambda z: likelihood_ratio(z, gain, half=True) - 20, 0.5, 12)
    reach = one_sided([0.0], [relative], allowed=0, planned_variance=1).high[0]
    assert exact <= reach / relative**0.5 <= 1.015 * exact
    assert one_sided([-reach], [relative], allowed=0, planned_variance=1).p == pytest.approx(0.05)
    assert one_sided([reach], [relative], allowed=0, planned_variance=1).p == 1


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.3])
def test_interval_is_tightest_where_planned(alpha):
    """No tau² gives a smaller critical value at the planned variance than the one that is taken."""

    def critical(tau2):
        return np.sqrt((1 + 1 / tau2) * (2 * np.log(1 / alpha) + np.log1p(tau2)))

    best = minimize_scalar(critical, bounds=(0.1, 100), method="bounded").fun
    assert critical_values(1, alpha) == pytest.approx(best, rel=1e-9)


def test_a_plan_that_is_off_costs_little():
    """A variance of a quarter or four times the planned one: intervals up to 7 % wider than if so planned."""
    assert (critical_values([0.25, 4]) / critical_values(1) < 1.075).all()


def test_one_side_is_tuned_to_where_it_is_planned():
    """tau² of two sides at 2 alpha is within a thousandth of the best for one side at alpha."""

    def reach(tau2):
        return np.sqrt(2 * (1 + 1 / tau2) * np.log1p(np.sqrt(1 + tau2) / (2 * 0.05)))

    best = minimize_scalar(reach, bounds=(0.1, 100), method="bounded").fun
    found = one_sided([0.0], [1.0], allowed=0, planned_variance=1).high[0]
    assert found == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("nothing", [(0.0, 0.0), (0.3, 0.0), (np.nan, 1.0), (9.0, np.nan), (9.0, np.inf)])
def test_a_look_that_says_nothing_changes_nothing(nothing):
    """Its bounds are infinite and p stays 1, or as it was; other looks are as without it."""
    estimate, variance = nothing
    plain = confidence_sequence([0.5, 0.4], [0.02, 0.01], planned_variance=0.01)
    holed = confidence_sequence(
        [estimate, 0.5, estimate, 0.4], [variance, 0.02, variance, 0.01], planned_variance=0.01
    )
    assert holed.low.tolist() == [-np.inf, plain.low[0], -np.inf, plain.low[1]]
    assert holed.high.tolist() == [np.inf, plain.high[0], np.inf, plain.high[1]]
    assert holed.p.tolist() == [1, plain.p[0], plain.p[0], plain.p[1]]
    guard = one_sided([estimate], [variance], allowed=0, planned_variance=0.01)
    assert (guard.low[0], guard.high[0], guard.p[0]) == (-np.inf, np.inf, 1)


def test_p_never_rises_and_agrees_with_the_bounds():
    """The p value is the least so far, and at most alpha exactly from when a bound has excluded 0 on."""
    found = sequence(experiments(ARRIVING, 0.3))
    assert found.p.shape == (1_000, DAYS)
    assert (np.diff(found.p, axis=1) <= 0).all()
    excluded = np.logical_or.accumulate((found.low > 0) | (found.high < 0), axis=1)
    assert ((found.p <= 0.05) == excluded).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 0}, "alpha, .* in \\(0, 1\\); received 0"),
        ({"alpha": 1.5}, "received 1.5"),
        ({"planned_variance": 0}, "planned variance is a number above 0; received 0"),
        ({"planned_variance": np.nan}, "received nan"),
        ({"variances": [0.1]}, "received shapes"),
        ({"estimates": 0.1, "variances": 0.1}, "received shapes"),
    ],
)
def test_odd_looks_are_refused(change, message):
    """The error names the bad value."""
    with pytest.raises(SequentialError, match=message):
        confidence_sequence(
            **{"estimates": [0.1, 0.2], "variances": [0.1, 0.1], "planned_variance": 0.1} | change
        )


def test_one_side_needs_a_level_below_one_half():
    """The error names the level."""
    with pytest.raises(SequentialError, match=r"for one side; received 0\.5"):
        one_sided([0.1], [0.1], allowed=0, planned_variance=0.1, alpha=0.5)


@pytest.mark.parametrize(("share", "rate"), [(0.5, 1.0), (0.3, 0.7), (0.5, 0.4), (0.8, 2.0)])
def test_bounds_of_what_nobody_did_yet_hold_at_all_looks(share, rate):
    """One user after the other does it: the true ratio of rates is left out as often as alpha at most."""
    alpha, runs, rng = 0.2, 4_000, np.random.default_rng(5)
    part = share * rate / (share * rate + 1 - share)  # of those who do it that are of the treatment
    treated = rng.random((runs, 40)) < part
    users = np.array([[1 - share], [share]]) * np.ones((2, 40)) * 1_000
    left_out = np.zeros((runs, 2), dtype=bool)
    for n, each in enumerate(treated):
        found = none_yet([(~each).cumsum(), each.cumsum()], users, alpha=alpha)
        left_out[n] = (found.high < np.log(rate)).any(), (found.low > np.log(rate)).any()
        assert not (found.p[-1] <= alpha) ^ bool((found.high < 0).any() or (found.low > 0).any())
    assert (left_out.mean(axis=0) <= alpha / 2 + 3 * np.sqrt(alpha / 2 / runs)).all()


def test_nothing_is_said_where_both_arms_did_it_or_neither():
    """Bounds are infinite; p keeps what it had come to."""
    found = none_yet([[0, 10, 11], [0, 0, 1]], [[30, 30, 30], [30, 30, 30]])
    assert (found.low == -np.inf).all()
    assert np.isfinite(found.high).tolist() == [False, True, False]
    assert found.p.tolist() == [1, 2 * 0.5**10, 2 * 0.5**10]


def test_nothing_is_said_before_both_arms_have_users():
    """However many of the only arm did it; p is 1."""
    found = none_yet([[0, 50], [0, 0]], [[3, 90], [0, 0]])
    assert (found.low == -np.inf).all()
    assert (found.high == np.inf).all()
    assert found.p.tolist() == [1, 1]
