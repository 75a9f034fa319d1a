"""Plots of the monitor's page: each mark has its own alert's colour, none hides another, bars are shares."""

from datetime import timedelta

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from monitored_shop import DAY

from jobs.monitor.alerts import FAIL, LEVELS, OK, WARN, Alert
from jobs.monitor.day_figures import DayFigures
from jobs.monitor.feature_drift import TRAINING, WEEK
from jobs.monitor.plots import BINS, COLOURS, drift_dots, histograms
from jobs.monitor.rules import MonitorRules
from jobs.monitor.run import drawn, moved_most
from jobs.monitor.served import ServedDay
from jobs.monitor.skew import AS_SERVED


def moved(name, about, level, psi):
    """An alert about a feature."""
    return Alert("features", name, level, "", {"psi": psi}, about)


def test_a_figure_has_the_colour_of_its_own_section():
    """Items sold are broken, items shown are in order: both rules are called `items`."""
    values = dict.fromkeys(("rows", "baskets", "users", "items", "revenue", "line_price"), 100.0)
    rows = {DAY - timedelta(days=n): DayFigures(values, (1,) * 24, {}) for n in range(20)}
    served = {DAY: ServedDay({"answers": 5.0, "items": 9.0, "p99_ms": 3.0}, ("r:1",), np.zeros(3))}
    alerts = (Alert("data", "items", FAIL, ""), Alert("served", "items", OK, ""))
    (figure, _) = drawn(rows, served, DAY, alerts, MonitorRules())["data"]
    (panel,) = [each for each in figure.axes if each.get_title(loc="left") == "items sold"]
    (dot,) = [line for line in panel.lines if line.get_marker() == "o"]
    assert dot.get_color() == COLOURS[FAIL]


def test_equal_shifts_from_two_references_are_both_seen():
    """Every alert has a mark at its own place, in the colour of its level."""
    alerts = [
        moved("v:a", WEEK, FAIL, 2.0), moved("v:a", TRAINING, WARN, 2.0), moved("v:b", WEEK, OK, 0.1),
        moved("v:b", TRAINING, OK, 0.1),
    ]  # fmt: skip
    (panel,) = drift_dots(alerts, 0.25).axes
    marks = [
        (*map(float, place), colour)
        for dots in panel.collections
        if len(dots.get_offsets())  # those of the legend have none
        for place, colour in zip(dots.get_offsets(), map(tuple, dots.get_facecolors()), strict=True)
    ]
    assert len({(x, y) for x, y, _ in marks}) == len(alerts)
    assert all(abs(y - round(y)) < 0.5 for _, y, _ in marks)
    for x, level in ((2.0, FAIL), (2.0, WARN), (0.1, OK)):
        assert any(at == x and colour == to_rgba(COLOURS[level]) for at, _, colour in marks)


def test_histograms_show_shares_of_what_is_known():
    """By a loop over values and bins; missing values are left out, far ones count in the last bin."""
    rng = np.random.default_rng(6)
    before, now = rng.normal(0, 1, 600), np.append(rng.normal(1, 1, 500), [np.nan, 1e6])
    panel = histograms({"v:f against a week before": (before, now)}).axes[0]
    known = now[~np.isnan(now)]
    low, high = np.quantile(np.concatenate([before, known]), [0.01, 0.99])
    heights = [bar.get_height() for bar in panel.containers[0]]
    assert sum(heights) == pytest.approx(100)
    width, counts = (high - low) / BINS, [0] * BINS
    for value in known:
        counts[min(max(int((value - low) // width), 0), BINS - 1)] += 1
    assert heights == pytest.approx([100 * count / len(known) for count in counts], abs=0.21)
    assert panel.get_title(loc="left") == "f against a week before"


def test_histograms_of_nothing_and_of_one_value_are_drawn():
    """A feature that is empty now, and one that never differs; panels beyond them are not shown."""
    same, none = np.full(9, 2.0), np.full(9, np.nan)
    figure = histograms({"v:a": (same, same), "v:b": (same, none)})
    assert [panel.get_visible() for panel in figure.axes] == [True, True, False]


def test_the_worst_three_are_shown_once_each():
    """By their larger PSI of both references; what is in order, or as served, is not among them."""
    alerts = [
        moved("v:a", WEEK, WARN, 0.3), moved("v:a", TRAINING, WARN, 0.9), moved("v:b", WEEK, FAIL, 5.0),
        moved("v:c", WEEK, OK, 0.2), moved("v:d", WEEK, WARN, 0.5), moved("v:e", WEEK, WARN, 0.4),
        moved("v:f", AS_SERVED, FAIL, 9.0), Alert("features", "snapshot", FAIL, "", {}, "v"),
    ]  # fmt: skip
    found = [(alert.name, alert.about) for alert in moved_most(alerts)]
    assert found == [("v:b", WEEK), ("v:a", TRAINING), ("v:d", WEEK)]
    assert set(COLOURS) == set(LEVELS)
