"""Results of an experiment: which record is whose, and numbers as text of a width that is bounded."""

import doctest
from itertools import permutations

import numpy as np
import pytest
from fake_experiment import fake_experiment, fake_records
from page_reader import assert_shows

from jobs.experiments import plots, results
from jobs.experiments.results import Results, in_words, level_text, lift_text, relative
from jobs.experiments.verdict import verdict


@pytest.mark.parametrize("module", [results, plots])
def test_examples_in_docstrings_hold(module):
    """Doctests of the numbers' texts run."""
    found = doctest.testmod(module)
    assert found.attempted
    assert found.failed == 0


def test_lifts_are_told_up_to_9999_percent():
    """Within, the text is the number rounded; beyond, a constant; always of at most nine letters."""
    rng = np.random.default_rng(0)
    sizes = 10 ** rng.uniform(-4, 4, 500)
    for value in (*sizes, *-sizes, 99.989, 99.991, 1e51, -1e51):
        text, said = relative(value), in_words(value)
        assert len(text) <= 9
        if abs(value) <= 99.99:
            assert_shows(text, value)
            assert_shows(said.replace(" %", "%"), value)
        else:
            assert text == (">+9,999%" if value > 0 else "<-9,999%")
            assert said == text.replace("%", " %")


def test_an_interval_without_bound_to_speak_of_is_told_short():
    """The end beyond is a constant, the others are numbers; so it is in the verdict's sentence."""
    record = {"metric": "ctr", "arm": "engine", "versus": "segment", "method": "sequential",
              "value": -0.5, "low": -0.985, "high": 1e24}  # fmt: skip
    assert lift_text(record) == ("-50.00%", "[-98.50%, >+9,999%]")
    users = [{"metric": "users", "arm": arm, "value": 9} for arm in ("segment", "engine")]
    said = verdict([record, *users], fake_experiment()).reason
    assert said.startswith("ctr of engine over segment -50.0 % [-98.5 %, >+9,999 %] may be nothing")


def test_intervals_of_shares_lie_between_0_and_1():
    """Ends beyond are shown as 0 or 1 without a sign, other units and ends as they are."""
    rng = np.random.default_rng(1)
    for low, high in np.sort(rng.uniform(-0.5, 1.5, (100, 2))):
        record = {"value": 0.5 * (low + high), "low": low, "high": high}
        assert_shows(level_text(record, "ctr")[1], *np.clip([low, high], 0, 1))
        assert_shows(level_text(record, "revenue_per_basket")[1], low, high)
    for low in (-1e-9, -0.0):
        tiny = {"value": 1e-9, "low": low, "high": 2e-9}
        assert level_text(tiny, "degraded") == ("0.00%", "[0.00%, 0.00%]")


def test_segments_come_from_least_bought_to_most():
    """In whatever order records come; segments of other names follow as they come."""
    for names in permutations(("new", "regular", "b", "heavy", "a")):
        rows = tuple({"metric": "ctr", "segment": name} for name in (*names, *names))
        others = [name for name in names if len(name) == 1]
        assert list(Results(fake_experiment(), rows).segments) == ["new", "regular", "heavy", *others]


def test_levels_side_by_side_are_nobody_s_level():
    """With nothing else no metric, level or lift is there; before the others they are not taken for them."""
    experiment = fake_experiment(2)
    records = fake_records(experiment)
    apart = [r for r in records if r.get("method") == "side by side"]
    own = [r for r in records if r.get("method") != "side by side"]
    alone, all_, without = (Results(experiment, tuple(each)) for each in (apart, apart + own, own))
    assert alone.metrics == ()
    for metric in ("ctr", "slot_revenue"):
        for arm in alone.arms:
            assert alone.level(metric, arm) is alone.best_lift(metric, arm) is None
            assert all_.level(metric, arm) == without.level(metric, arm)
            assert alone.side_by_side(metric, arm) == all_.side_by_side(metric, arm)
            assert "versus" not in all_.side_by_side(metric, arm)


def test_levels_side_by_side_decide_nothing():
    """The verdict is as without them, also where they would say that the control has 0 of a guardrail."""
    experiment = fake_experiment()
    records = fake_records(experiment)
    apart = [{"metric": "degraded", "arm": arm, "method": "side by side", "value": value}
             for arm, value in (("segment", 0.0), ("engine", 0.5))]  # fmt: skip
    assert "degraded" in {guard.metric for guard in experiment.guardrails}
    assert verdict([*apart, *records], experiment) == verdict(records, experiment)
