"""Intervals over users: right by formula where there is one, right often enough where there is none."""

import doctest

import numpy as np
import pytest

from training import intervals as module
from training.intervals import bootstrap_interval, paired_lift


def test_examples_in_docstrings_hold():
    """Doctests of the module run."""
    assert doctest.testmod(module).failed == 0


def test_interval_is_that_of_the_normal_approximation():
    """With many users the interval of a mean is mean ± 1.96 standard errors, within a tenth of its width."""
    values = np.random.default_rng(0).gamma(2, size=3_000)
    error = values.std() / np.sqrt(len(values))
    result = bootstrap_interval(values)
    assert result.value == pytest.approx(values.mean())
    assert result.low == pytest.approx(values.mean() - 1.96 * error, abs=0.4 * error)
    assert result.high == pytest.approx(values.mean() + 1.96 * error, abs=0.4 * error)


def test_interval_holds_the_truth_about_95_times_in_100():
    """Over 300 samples of 80 users with mean 1, the interval misses the 1 in 2 to 9 % of cases."""
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(300):
        result = bootstrap_interval(rng.gamma(2, 0.5, size=80))
        missed += not result.low <= 1 <= result.high
    assert 6 <= missed <= 27


def test_users_in_several_cuts_are_drawn_together():
    """Copying every user's row into a second cut adds no information: the interval stays the same."""
    values = np.random.default_rng(2).random(500)
    once = bootstrap_interval(values)
    twice = np.tile(values, 2)
    together = bootstrap_interval(twice, users=np.tile(np.arange(500), 2), cuts=np.repeat([45, 49], 500))
    apart = bootstrap_interval(twice)
    assert together == pytest.approx(once)
    assert apart.high - apart.low < 0.8 * (once.high - once.low)


def test_each_cut_weighs_the_same():
    """The figure is the mean of the cuts' means, however many users a cut has."""
    values, cuts = [0.0] * 90 + [1.0] * 10, [45] * 90 + [49] * 10
    result = bootstrap_interval(values, cuts=cuts)
    assert result.value == pytest.approx(0.5)
    assert bootstrap_interval(values).value == pytest.approx(0.1)


def test_lift_follows_the_delta_method():
    """A noisy lift of a tenth has the interval that the delta method gives for paired means."""
    rng = np.random.default_rng(4)
    b = rng.gamma(2, size=4_000)
    a = 1.1 * b + rng.normal(0, 0.5, size=4_000)
    ratio = a.mean() / b.mean()
    error = np.std(a - ratio * b) / b.mean() / np.sqrt(len(b))
    result = paired_lift(a, b)
    assert result.value == pytest.approx(ratio - 1)
    assert result.low == pytest.approx(ratio - 1 - 1.96 * error, abs=0.4 * error)
    assert result.high == pytest.approx(ratio - 1 + 1.96 * error, abs=0.4 * error)


def test_pairing_narrows_the_interval():
    """Two models that fail on the same users differ surely; on other users' draws they would not."""
    rng = np.random.default_rng(5)
    b = rng.gamma(0.5, size=400)
    paired = paired_lift(1.05 * b + 0.01 * rng.random(400), b)
    strangers = paired_lift(1.05 * rng.permutation(b), b)
    assert paired.low > 0
    assert strangers.low < 0 < strangers.high


def test_equal_models_have_no_lift():
    """A model against itself: 0, surely."""
    values = np.random.default_rng(6).random(50)
    assert paired_lift(values, values) == pytest.approx((0, 0, 0))


def test_lift_over_nothing_is_undefined():
    """A baseline that never hits has no relative lift over it: nan, no warning, no infinity."""
    assert np.isnan(paired_lift([0.1, 0.2], [0, 0])).all()


def test_equal_seeds_give_equal_intervals():
    """The interval is a function of values and seed."""
    values = np.random.default_rng(8).random(100)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_blocks_change_no_law(monkeypatch: pytest.MonkeyPatch):
    """Users drawn in blocks of seven give nearly the interval of one block."""
    values = np.random.default_rng(9).random(700)
    whole = bootstrap_interval(values)
    monkeypatch.setattr(module, "BLOCK", 7)
    blocks = bootstrap_interval(values)
    assert blocks.value == whole.value
    assert blocks == pytest.approx(whole, abs=0.15 * (whole.high - whole.low))


def test_a_resample_without_users_does_no_harm():
    """One user is absent from a third of the resamples; those say nothing and are left out."""
    assert bootstrap_interval([0.7]) == pytest.approx((0.7, 0.7, 0.7))
    assert paired_lift([0.3], [0.2]) == pytest.approx((0.5, 0.5, 0.5))


def test_rows_without_a_value_are_left_out():
    """The figure and its interval are those of the other rows, paired or not; not of zeros in their place."""
    rng = np.random.default_rng(10)
    b = rng.gamma(2, size=2_000)
    a = 1.2 * b + rng.random(2_000)
    holes, more = rng.random(2_000) < 0.3, rng.random(2_000) < 0.1
    gone, kept = np.where(holes, np.nan, a), a[~holes]
    error = kept.std() / np.sqrt(len(kept))
    found = bootstrap_interval(gone)
    assert found.value == pytest.approx(kept.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.2)
    lift = paired_lift(gone, np.where(more, np.nan, b))
    known = ~(holes | more)
    assert lift.value == pytest.approx(a[known].mean() / b[known].mean() - 1)
    assert lift.low < lift.value < lift.high


def test_a_row_without_a_value_takes_no_other_row_of_its_user_along():
    """A user with a value in one cut only counts there; each cut's mean is over who has one in it."""
    users, cuts = [0, 1, 2, 0, 1, 2], [45, 45, 45, 49, 49, 49]
    values = [0.2, np.nan, 0.4, np.nan, 0.6, 0.8]
    assert bootstrap_interval(values, users=users, cuts=cuts).value == pytest.approx((0.3 + 0.7) / 2)


def test_nobody_with_a_value_has_no_figure():
    """All nan, or all nan in one of the cuts: nan, no warning, and no figure of the other cut alone."""
    assert np.isnan(bootstrap_interval([np.nan, np.nan])).all()
    assert np.isnan(bootstrap_interval([np.nan, 0.3], cuts=[45, 49])).all()
    assert np.isnan(paired_lift([np.nan, 0.3], [0.1, np.nan])).all()


@pytest.mark.parametrize("rows", [{"users": [1]}, {"cuts": [1, 2, 3]}])
def test_unequal_lengths_are_refused(rows: dict[str, list[int]]):
    """Users and cuts have one entry a row."""
    with pytest.raises(ValueError, match="one entry a row; received lengths"):
        bootstrap_interval([0.1, 0.2], **rows)


def test_no_rows_are_refused():
    """A mean over nobody is an error."""
    with pytest.raises(ValueError, match="received lengths"):
        bootstrap_interval([])
