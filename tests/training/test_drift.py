"""Drift figures: by closed form, by plain loops, and by properties that hold for all samples."""

import doctest
import math
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import drift
from training.drift import SHIFTED, chi2, drifts, ks, null_rate, psi, psi_of_counts

SAMPLES = st.lists(st.integers(-20, 20), min_size=1, max_size=60)


def test_examples_in_docstrings_hold():
    """Doctests of the module run."""
    assert doctest.testmod(drift).failed == 0


def test_psi_of_counts_is_its_formula():
    """Two bins of large counts give (a - e) ln(a / e), added up; halves are too small to matter."""
    found = psi_of_counts([3e9, 1e9], [1e9, 1e9])
    expected = (0.5 - 0.75) * math.log(0.5 / 0.75) + (0.5 - 0.25) * math.log(0.5 / 0.25)
    assert found == pytest.approx(expected, rel=1e-6)


def test_psi_of_two_normals_is_that_of_their_deciles():
    """A normal that moves by one sd: the deciles' shares are known by the normal distribution function."""
    rng = np.random.default_rng(0)
    cuts = [-math.inf, *(NormalDist().inv_cdf(tenth / 10) for tenth in range(1, 10)), math.inf]
    moved = [NormalDist(1).cdf(high) - NormalDist(1).cdf(low) for low, high in pairwise(cuts)]
    expected = sum((share - 0.1) * math.log(share / 0.1) for share in moved)
    assert psi(rng.normal(size=200_000), rng.normal(1, size=200_000)) == pytest.approx(expected, rel=0.03)


def test_psi_of_one_population_is_what_chance_gives():
    """Two samples of one population differ by (bins - 1) * (1 / n + 1 / m) on average, far below a shift."""
    rng = np.random.default_rng(1)
    found = [psi(rng.normal(size=2_000), rng.normal(size=1_500)) for _ in range(60)]
    assert np.mean(found) == pytest.approx(9 * (1 / 2_000 + 1 / 1_500), rel=0.2)
    assert max(found) < SHIFTED / 5


def test_psi_sees_a_share_of_zeros_and_a_constant_that_moves():
    """Zeros from 80 to 30 % are told as two bins would; a constant that moves either way is a shift."""
    before, after = np.repeat([0, 1], [8_000, 2_000]), np.repeat([0, 1], [3_000, 7_000])
    assert psi(before, after) == pytest.approx(psi_of_counts([8_000, 2_000], [3_000, 7_000]), rel=1e-9)
    assert psi([5] * 100, [4] * 100) > SHIFTED
    assert psi([5] * 100, [6] * 100) > SHIFTED
    assert psi([5] * 100, [5] * 7) == 0


@settings(max_examples=150)
@given(SAMPLES, SAMPLES)
def test_psi_is_never_negative_and_blind_to_units(left, right):
    """At least 0, 0 for a sample against its own copies, and equal after an increasing map of the values."""
    assert psi(left, right) >= 0
    assert psi(left, left * 3) == pytest.approx(0, abs=1e-9)
    mapped = [np.exp(np.array(sample) / 7) for sample in (left, right)]
    assert psi(*mapped) == pytest.approx(psi(left, right))


@settings(max_examples=100)
@given(SAMPLES, SAMPLES)
def test_ks_is_the_widest_gap(left, right):
    """The statistic by a loop over all values; nan values change nothing."""
    gap = max(
        abs(sum(v <= x for v in left) / len(left) - sum(v <= x for v in right) / len(right))
        for x in left + right
    )
    assert ks([*left, math.nan], right)[0] == pytest.approx(gap)


def test_p_values_are_small_only_for_what_differs():
    """Equal populations give p above 1 %, a moved one next to 0: of numbers and of names."""
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=800), rng.normal(size=900)
    assert ks(one, other)[1] > 0.01
    assert ks(one, other + 0.5)[1] < 1e-6
    assert chi2(["a", "b"] * 500, ["b", "a"] * 300)[1] == pytest.approx(1)
    assert chi2(["a", "b"] * 500, ["a"] * 600)[1] < 1e-6


def test_chi2_is_the_sum_of_squares_over_expected_counts():
    """A table of two names by hand: Σ (observed - expected)² / expected; None is no name."""
    statistic, _ = chi2(["a"] * 30 + ["b"] * 10 + [None], ["a"] * 10 + ["b"] * 10)
    table = np.array([[30, 10], [10, 10]])
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    assert statistic == pytest.approx(((table - expected) ** 2 / expected).sum())


def test_nothing_known_is_undefined():
    """Figures of samples without a value are nan, not 0; a share of nulls is exact."""
    assert math.isnan(psi([math.nan], [1.0]))
    assert all(map(math.isnan, ks([], [1.0])))
    assert all(map(math.isnan, chi2([None], ["a"])))
    assert math.isnan(null_rate([]))
    assert null_rate([None, 1, math.nan, "x"]) == 0.5
    with pytest.raises(ValueError, match="bins is 1"):
        psi([1], [1], bins=1)


def test_drifts_come_worst_first_with_jumps_of_nulls():
    """Features by falling PSI; one that lost half of its values tells so, one without a pair is left out."""
    before = {"same": np.arange(100.0), "moved": np.arange(100.0), "lost": np.arange(100.0), "old": [1.0]}
    after = {
        "same": np.arange(100.0),
        "moved": np.arange(100.0) + 60,
        "lost": np.where(np.arange(100) % 2, np.nan, np.arange(100.0)),
    }
    found = drifts(before, after)
    assert found[0].feature == "moved"
    assert {each.feature for each in found} == {"same", "moved", "lost"}
    assert next(each for each in found if each.feature == "lost").null_jump == 0.5
