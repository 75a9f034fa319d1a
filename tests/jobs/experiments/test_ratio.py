"""Ratios over users and lifts: as a reference library has them, and right as often as they say."""

import doctest

import numpy as np
import pandas as pd
import pytest
import tea_tasting as tt
from scipy.stats import norm
from simulated_arms import returning

from jobs.experiments import ratio as module
from jobs.experiments.ratio import (
    Estimate,
    RatioError,
    linearised,
    log_lift,
    looks,
    ratio_of_sums,
    relative_lift,
)


def one_day(rng, users, **shop):
    """Users of a simulated shop of one day: their arms, clicks and impressions."""
    rows = returning(rng, users, days=1, **shop)
    return rows.arm == 1, rows.numerator, rows.denominator


def reference(arm, x, y):
    """What tea-tasting finds, by the normal distribution and a variance for each arm."""
    data = pd.DataFrame({"variant": arm.astype(int), "x": x, "y": y})
    metric = tt.RatioOfMeans("x", "y", use_t=False, equal_var=False)
    return tt.Experiment({"rate": metric}).analyze(data)["rate"]


def test_examples_in_docstrings_hold():
    """Doctests of the module run."""
    assert doctest.testmod(module).failed == 0


def test_lift_and_interval_are_those_of_tea_tasting():
    """Ratios, the lift and its 95 % interval agree with tea-tasting's RatioOfMeans to 1e-9."""
    arm, x, y = one_day(np.random.default_rng(0), 900)
    treatment, control = ratio_of_sums(x[arm], y[arm]), ratio_of_sums(x[~arm], y[~arm])
    found, log = reference(arm, x, y), log_lift(treatment, control)
    ends = np.expm1(log.value + norm.ppf([0.025, 0.975]) * log.variance**0.5)
    assert treatment.value == pytest.approx(found.treatment, rel=1e-9)
    assert control.value == pytest.approx(found.control, rel=1e-9)
    assert relative_lift(treatment, control).value == pytest.approx(found.rel_effect_size, rel=1e-9)
    assert ends == pytest.approx([found.rel_effect_size_ci_lower, found.rel_effect_size_ci_upper], rel=1e-9)


def test_variance_is_that_of_tea_tasting():
    """The variance of the difference of two ratios agrees with tea-tasting's statistic to 1e-9."""
    arm, x, y = one_day(np.random.default_rng(1), 900)
    treatment, control = ratio_of_sums(x[arm], y[arm]), ratio_of_sums(x[~arm], y[~arm])
    statistic = (treatment.value - control.value) / np.sqrt(treatment.variance + control.variance)
    assert statistic == pytest.approx(reference(arm, x, y).statistic, rel=1e-9)


def test_a_mean_is_the_ratio_over_one_each():
    """With denominators of 1 the variance is the sample variance over n."""
    spent = np.random.default_rng(2).gamma(0.5, size=400)
    assert ratio_of_sums(spent, np.ones(400)) == pytest.approx((spent.mean(), spent.var(ddof=1) / 400))


def test_variance_of_a_lift_is_by_the_delta_method():
    """The lift's variance is the sum of squared derivatives, taken by differences, times variances."""
    treatment, control = Estimate(0.12, 0.0004), Estimate(0.1, 0.0003)
    step = 1e-6

    def moved(t, c):
        return relative_lift(Estimate(0.12 + t, 0), Estimate(0.1 + c, 0)).value

    by_treatment = (moved(step, 0) - moved(-step, 0)) / (2 * step)
    by_control = (moved(0, step) - moved(0, -step)) / (2 * step)
    expected = by_treatment**2 * 0.0004 + by_control**2 * 0.0003
    assert relative_lift(treatment, control).variance == pytest.approx(expected, rel=1e-6)


def test_interval_of_a_lift_covers_at_its_rate():
    """Of 2,000 experiments with a lift of a fifth, 95 % intervals hold it in 93.5 to 96.5 %."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(2_000):
        arm, x, y = one_day(rng, 4_000, lift=0.2)
        log = log_lift(ratio_of_sums(x[arm], y[arm]), ratio_of_sums(x[~arm], y[~arm]))
        covered += abs(log.value - np.log(1.2)) < 1.96 * log.variance**0.5
    assert 0.935 < covered / 2_000 < 0.965, f"covered in {covered / 20:.1f} %"


def test_users_are_counted_and_not_rows():
    """A/A: a z test over impressions errs in more than 10 %, one over users in 5 % ± 1.5, of 2,000."""
    rng = np.random.default_rng(4)
    z = {"rows": [], "users": []}
    for _ in range(2_000):
        arm, x, y = one_day(rng, 4_000)
        pooled = x.sum() / y.sum()
        difference = x[arm].sum() / y[arm].sum() - x[~arm].sum() / y[~arm].sum()
        error = np.sqrt(pooled * (1 - pooled) * (1 / y[arm].sum() + 1 / y[~arm].sum()))
        log = log_lift(ratio_of_sums(x[arm], y[arm]), ratio_of_sums(x[~arm], y[~arm]))
        z["rows"].append(difference / error)
        z["users"].append(log.value / log.variance**0.5)
    wrong = {by: np.mean(np.abs(values) > 1.96) for by, values in z.items()}
    assert wrong["rows"] > 0.1, wrong
    assert 0.035 < wrong["users"] < 0.065, wrong


def by_hand(rows, day):
    """The log lift at one look, from the totals that users had by then."""
    frame = pd.DataFrame(rows._asdict())
    totals = frame[frame["day"] <= day].groupby(["arm", "user"])[["numerator", "denominator"]].sum()
    treatment, control = (ratio_of_sums(*totals.loc[arm].to_numpy().T) for arm in (1, 0))
    return log_lift(treatment, control)


def test_each_look_is_what_one_would_compute_on_that_day():
    """Running sums give the log lift and variance of each day's totals, whatever order rows come in."""
    rng = np.random.default_rng(5)
    rows = returning(rng, 120, sigma=1.5)
    order = rng.permutation(np.r_[np.arange(len(rows.user)), :50])  # some rows twice in a day
    shuffled = type(rows)(*(column[order] for column in rows))
    found = looks(*shuffled)
    expected = np.array([by_hand(shuffled, day) for day in range(19)])
    assert found.estimates == pytest.approx(expected[:, 0], rel=1e-9, nan_ok=True)
    assert found.variances == pytest.approx(expected[:, 1], rel=1e-9, nan_ok=True)


def test_a_look_at_too_little_says_nothing():
    """Before both arms have clicked and have two users a look is nan; later looks are not affected."""
    user, arm, look = np.array([0, 1, 2, 3, 3]), np.array([1, 1, 0, 0, 0]), np.array([0, 0, 1, 2, 3])
    found = looks(user, arm, look, np.array([1, 0, 0, 0, 1]), np.ones(5))
    known = np.isfinite(found.estimates) & np.isfinite(found.variances)
    assert known.tolist() == [False, False, False, True]


def test_what_is_no_ratio_is_nan():
    """Nothing shown, one user or no clicks: nan without a warning."""
    assert np.isnan(ratio_of_sums([0, 0], [0, 0])).all()
    assert np.isnan(linearised([1, 2], [1, -1])).all()
    assert ratio_of_sums([1], [2]) == pytest.approx((0.5, np.nan), nan_ok=True)
    assert np.isnan(log_lift(Estimate(0.0, 0.1), Estimate(0.1, 0.1))).all()
    assert np.isnan(relative_lift(Estimate(0.1, 0.1), Estimate(0.0, 0.1))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arm": [0, 1, 0, 0]}, "User 7 is in both arms"),
        ({"arm": [0, 0, 2, 2]}, "arms are 0 and 1"),
        ({"look": [0, 1, -1, 1]}, "Looks start at 0"),
        ({"user": [0.5, 0.5, 1, 1]}, "user needs a whole number"),
        ({"look": [0, 1]}, "look needs a whole number for each of 4 rows"),
        ({"numerator": [1, 0, np.nan, 0]}, "received nan"),
        ({"numerator": [1, 0]}, "one entry each"),
        ({name: [] for name in ("user", "arm", "look", "numerator", "denominator")}, "one entry each"),
    ],
)
def test_odd_columns_are_refused(change, message):
    """The error names the bad value."""
    rows = {"user": [7, 7, 9, 9], "arm": [0, 0, 1, 1], "look": [0, 1, 0, 1]}
    rows |= {"numerator": [1, 0, 1, 0], "denominator": [1, 1, 1, 1]} | change
    with pytest.raises(RatioError, match=message):
        looks(**rows)
