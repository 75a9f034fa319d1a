"""Lifts of an experiment in a picture whose axis the telling ones set; heads point to what lies outside."""

import re

import pytest
from fake_experiment import fake_results
from plot_reader import arrows, bars, dots

from jobs.experiments.dot_plots import lift_dots, segment_dots
from jobs.experiments.plots import lift_by_day, percent
from jobs.experiments.results import Results


def with_ends(results: Results, far: dict[tuple, tuple], **value: float) -> Results:
    """Other intervals for some lifts of the first treatment: (metric, method, segment) to low and high."""

    def ends(r: dict) -> dict:
        key = r["metric"], r.get("method"), r.get("segment")
        found = key in far and r.get("arm") == "engine" and "day" not in r
        return {**r, "low": far[key][0], "high": far[key][1], **value} if found else r

    return Results(results.experiment, tuple(map(ends, results.records)))


def test_intervals_that_say_nothing_do_not_stretch_the_axis():
    """Ends far out, or none, leave the axis as if there were none; a head points to each where it lies."""
    results = fake_results(2)
    nothing = {("degraded", "sequential", None): (-1.0, 1e51), ("degraded", "cuped", None): (-0.95, 18.0)}
    plain, panel = (lift_dots(each).axes[2] for each in (results, with_ends(results, nothing)))
    assert arrows(plain) == set()
    assert arrows(panel) == {(2, ">"), (2, "<")}
    kept = [r for r in results.records if r["metric"] in ("latency_ms", "degraded") and "method" in r
            and (r["metric"], r["arm"]) != ("degraded", "engine")]  # fmt: skip
    left, right = panel.get_xlim()
    assert left < min(r["low"] for r in kept) < max(r["high"] for r in kept) < right
    assert right - left < 1.2 * (max(r["high"] for r in kept) - min(r["low"] for r in kept))
    assert bars(panel, "|")[2] == bars(panel, "None")[2] == (left, right)
    open_ = with_ends(results, {("degraded", "sequential", None): (-0.1, None)})
    assert arrows(lift_dots(open_).axes[2]) == {(2, ">")}


def test_a_segment_of_few_users_does_not_squash_the_others():
    """Of an interval up to +3,000 % the dot is in the picture if it is near, else a head stands for it."""
    few = {("ctr", "cuped", "new"): (0.01, 30.0)}
    for value, inside in ((0.15, True), (4.6, False)):
        results = with_ends(fake_results(1), few, value=value)
        (panel,) = segment_dots(results).axes
        left, right = panel.get_xlim()
        ends = [r[end] for r in results.of(metric="ctr", method="cuped") if r.get("segment") != "new"
                for end in ("low", "high")]  # fmt: skip
        assert left < min(ends)
        assert max(ends) < right
        assert (right - left) / 3.5 < max(ends) - min(0, *ends)
        assert arrows(panel) == {(1, ">")}
        assert (left <= value <= right) == inside
    unknown = with_ends(fake_results(1), {("ctr", "cuped", "new"): (None, None)}, value=4.6)
    assert arrows(segment_dots(unknown).axes[0]) == {(1, ">")}


def test_what_is_sure_is_in_the_picture_however_far():
    """A lift of +30,000 % with a narrow interval stretches the axis, and a wide one does to twice as far."""
    sure = {("ctr", "cuped", None): (290.0, 310.0), ("ctr", "sequential", None): (150.0, 600.0)}
    panel = lift_dots(with_ends(fake_results(1), sure, value=300.0)).axes[0]
    assert panel.get_xlim()[1] > 600.0
    far = {**sure, ("ctr", "sequential", None): (150.0, 700.0)}
    panel = lift_dots(with_ends(fake_results(1), far, value=300.0)).axes[0]
    assert 310.0 < panel.get_xlim()[1] < 400.0
    assert arrows(panel) == {(0, ">")}


def test_without_any_telling_interval_lifts_make_the_axis():
    """All intervals of a panel say nothing: its dots are in it, and heads on both sides."""
    nothing = {
        (metric, method, None): (-0.999, 1e9)
        for metric in ("latency_ms", "degraded")
        for method in ("fixed", "cuped", "sequential")
    }
    results = with_ends(fake_results(1), nothing)
    panel = lift_dots(results).axes[2]
    left, right = panel.get_xlim()
    lifts = [0.0, *dots(panel)]
    assert left < min(lifts) < max(lifts) < right < left + 1.2 * (max(lifts) - min(lifts))
    assert arrows(panel) == {(row, head) for row in (0, 1) for head in "<>"}


def test_bands_that_say_nothing_do_not_stretch_the_days():
    """The last day's band up to 1e51 ends at the edge of the picture, which is as without it."""
    results = fake_results(1)
    last = max(r["day"] for r in results.records if "day" in r)
    wild = [{**r, "low": -1.0, "high": 1e51} if r.get("day") == last else r for r in results.records]
    plain, panel = (lift_by_day(Results(results.experiment, tuple(each))).axes[0]
                    for each in (results.records, wild))  # fmt: skip
    assert panel.get_ylim() == plain.get_ylim()
    corners = panel.collections[0].get_paths()[0].vertices[:, 1]
    assert (min(corners), max(corners)) == panel.get_ylim()


@pytest.mark.parametrize("value", [-1.0, -0.025, -0.00125, 0.0, 1e-12, 0.0005, 0.1, 9.9999999999, 12.0, 1e4])
def test_ticks_are_numbers_in_full(value):
    """Each says its lift to four places of a percent, with commas, never in powers of ten."""
    text = percent(value, 0)
    assert re.fullmatch(r"0|[+-]\d{1,3}(,\d{3})*(\.\d*[1-9])?%", text)
    assert float(text.replace(",", "").rstrip("%")) == pytest.approx(100 * value, abs=1e-4)
