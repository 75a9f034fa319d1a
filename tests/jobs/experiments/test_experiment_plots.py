"""Plots of an experiment draw what the records say: values, intervals, bands, and nothing else."""

from datetime import date

import numpy as np
import pytest
from fake_experiment import DAYS, fake_experiment, fake_results
from matplotlib.backends.backend_agg import FigureCanvasAgg
from plot_reader import bars, dots

from jobs.experiments.dot_plots import lift_dots, segment_dots
from jobs.experiments.plots import colour, funnel_bars, label, latency_dots, lift_by_day
from jobs.experiments.results import Results

FIGURES = (lift_dots, segment_dots, lift_by_day, funnel_bars, latency_dots)


def without(results: Results, **tags) -> Results:
    """Without the records of these tags."""
    gone = [id(record) for record in results.of(**tags)]
    return Results(results.experiment, tuple(r for r in results.records if id(r) not in gone))


def scaled(results: Results, scale: float) -> Results:
    """All lifts and their intervals that many times as large."""
    ends = ("value", "low", "high")
    rows = ({**r, **{key: scale * r[key] for key in ends if r[key] is not None}} if "versus" in r else r
            for r in results.records)  # fmt: skip
    return Results(results.experiment, tuple(rows))


def values(results: Results, metrics, method: str, *keys: str) -> list:
    """Of whole lifts by a method, metric by metric and arm by arm."""
    found = [
        next(r for r in results.records
             if (r["metric"], r.get("arm"), r.get("method")) == (metric, arm, method)
             and not {"day", "segment"} & set(r))
        for metric in metrics for arm in results.experiment.treatments
    ]  # fmt: skip
    return [tuple(r[key] for key in keys) if len(keys) > 1 else r[keys[0]] for r in found]


def test_dots_are_lifts_with_both_intervals():
    """Repeats and discoveries have a panel of their own, and so has what should be low."""
    results = fake_results()
    panels = lift_dots(results).axes
    rows = (
        ("ctr", "conversion", "slot_revenue", "revenue_per_basket", "items_per_basket"),
        ("repeat_ctr", "discover_ctr"),
        ("latency_ms", "degraded"),
    )
    for panel, metrics in zip(panels, rows, strict=True):
        assert dots(panel) == values(results, metrics, "cuped", "value")
        assert bars(panel, "|") == values(results, metrics, "sequential", "low", "high")
        assert bars(panel, "None") == values(results, metrics, "cuped", "low", "high")
        assert len(panel.get_yticks()) == len(metrics)
        assert [line.get_xdata()[0] for line in panel.lines if len(set(line.get_xdata())) == 1
                and line.get_marker() == "None"] == [0]  # fmt: skip


def test_without_cuped_the_plain_lift_is_drawn():
    """And where there is neither, the always-valid one alone, with its own interval only."""
    results = without(fake_results(1), method="cuped")
    assert dots(lift_dots(results).axes[0])[0] == results.lift("ctr", "engine", "fixed")["value"]
    valid = without(results, method="fixed")
    panel = lift_dots(valid).axes[0]
    assert dots(panel)[0] == valid.lift("ctr", "engine", "sequential")["value"]
    assert bars(panel, "None") == []


def test_segments_stand_below_all_users():
    """A row for everybody, then one for each segment of the primary, from least bought to most."""
    results = fake_results(1)
    (panel,) = segment_dots(results).axes
    names = ["new", "light", "regular", "heavy"]
    assert [tick.get_text() for tick in panel.get_yticklabels()] == ["all users", *names]
    lifts = {r.get("segment"): r["value"] for r in results.of(method="cuped", metric="ctr")}
    assert dots(panel) == [lifts[name] for name in (None, *names)]


def test_lift_over_time_has_its_band():
    """A panel for each treatment: the line is the lift by day, the band its bounds as far as the edge."""
    results = fake_results(3)
    panels = [panel for panel in lift_by_day(results).axes if panel.axison]
    assert len(panels) == 3
    for panel, arm in zip(panels, results.experiment.treatments, strict=True):
        days = [r for r in results.records if "day" in r and r["arm"] == arm]
        line = panel.lines[0]
        assert list(line.get_xdata()) == [date(2017, 12, 4 + place) for place in range(DAYS)]
        assert list(line.get_ydata()) == [r["value"] for r in days]
        corners = panel.collections[0].get_paths()[0].vertices[:, 1]
        bottom, top = panel.get_ylim()
        lows, highs = {r["low"] for r in days[1:]}, {r["high"] for r in days[1:]}
        ends = {max(low, bottom) for low in lows} | {min(high, top) for high in highs}
        assert ends | {bottom, top} == set(corners)


def test_the_picture_holds_all_lifts_and_the_later_bands():
    """The first days' bands do not flatten the rest: they run out, what decides does not."""
    results = fake_results(2)
    bottom, top = lift_by_day(results).axes[0].get_ylim()
    days = [r for r in results.records if "day" in r]
    late = [r for r in days if r["day"] >= "2017-12-13"]
    assert bottom < min(0, *(r["value"] for r in days), *(r["low"] for r in late))
    assert top > max(0, *(r["value"] for r in days), *(r["high"] for r in late))
    assert top - bottom < 0.7 * (days[1]["high"] - days[1]["low"])


def test_days_without_any_bound_are_drawn():
    """One day, unbounded, with a lift of 0: a picture of some height."""
    row = {"metric": "ctr", "arm": "engine", "versus": "segment", "method": "sequential", "day": "2017-12-04",
           "value": 0.0, "low": None, "high": None}  # fmt: skip
    bottom, top = lift_by_day(Results(fake_experiment(), (row,))).axes[0].get_ylim()
    assert bottom < 0 < top


def test_bars_of_the_funnel_are_counts_for_each_user():
    """A panel for each stage, a bar for each arm; of counts themselves where users are not known."""
    results = fake_results()
    users = [r["value"] for r in results.records if r["metric"] == "users"]
    plain = without(results, metric="users")
    for place, stage in enumerate(("answers", "slots", "clicks", "bought")):
        counts = np.array([r["value"] for r in results.records if r.get("stage") == stage])
        shown, raw = (funnel_bars(each).axes[place] for each in (results, plain))
        assert [bar.get_width() for bar in shown.patches] == pytest.approx(counts / users)
        assert [bar.get_width() for bar in raw.patches] == pytest.approx(counts)
        assert shown.get_title(loc="left") == f"{stage.capitalize()} per user"
        assert raw.get_title(loc="left") == stage.capitalize()


def test_latency_has_a_mark_for_each_quantile():
    """A row for each arm, from p50 to p99."""
    results = fake_results()
    (panel,) = latency_dots(results).axes
    for marker, quantile in zip("os^", ("p50", "p95", "p99"), strict=True):
        drawn = [line.get_xdata()[0] for line in panel.lines if line.get_marker() == marker]
        assert drawn == [r["value"] for r in results.records if r["metric"] == f"latency_ms_{quantile}"]


@pytest.mark.parametrize("figure", FIGURES)
def test_nothing_to_draw_is_no_figure(figure):
    """Without records there is no picture."""
    assert figure(Results(fake_experiment(), ())) is None


@pytest.mark.parametrize("figure", FIGURES)
def test_no_text_covers_another_or_is_cut(figure):
    """With one to nine arms against the control, all words lie in the picture, apart from each other.

    Lifts may be of some thousands of percent.
    """
    for treatments, longer, scale in (
        (1, "", 300),
        (4, "", 1),
        (9, "_and_of_a_long_name_that_nobody_reads", 1),
    ):
        drawn = figure(scaled(fake_results(treatments, longer), scale))
        canvas = FigureCanvasAgg(drawn)
        canvas.draw()
        legends = [text for legend in drawn.legends for text in legend.get_texts()]
        texts = [*(text for panel in drawn.axes for text in words(panel)), *drawn.texts, *legends]
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in texts]
        wide, high = drawn.bbox.size
        assert min(min(box.x0, box.y0, wide - box.x1, high - box.y1) for box in boxes) > -1
        for place, box in enumerate(boxes):
            for other, text in zip(boxes[:place], texts, strict=False):
                apart = box.x0 >= other.x1 or other.x0 >= box.x1 or box.y0 >= other.y1 or other.y0 >= box.y1
                assert apart, (texts[place].get_text(), text.get_text())


def words(panel) -> list:
    """Texts of a panel that are drawn."""
    if not panel.axison:
        return []
    found = [*panel.texts, panel.title, panel._left_title, panel.xaxis.label, panel.yaxis.label]
    inside = {"x": panel.get_xlim(), "y": panel.get_ylim()}
    for name, axis in (("x", panel.xaxis), ("y", panel.yaxis)):
        low, high = sorted(inside[name])
        found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [text for text in found if text.get_text() and text.get_visible()]


def test_arms_have_colours_of_their_own():
    """Ten arms, ten colours."""
    results = fake_results(9)
    assert len({colour(results, arm) for arm in results.arms}) == 10


def test_names_are_drawn_as_they_are():
    """A name with dollars is no formula, and a long one has an ellipsis inside."""
    assert label("$a$ b") == r"\$a\$ b"
    assert label("x" * 40 + "_2", 20) == "x" * 13 + "…" + "xxxx_2"
    assert label("x" * 20, 20) == "x" * 20
