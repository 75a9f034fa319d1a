"""Plots of the monitor's page, as matplotlib figures: figures of the weeks before a day, and what moved."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from math import exp, log
from typing import Any

import numpy as np

from jobs.monitor.alerts import FAIL, OK, WARN, Alert
from jobs.monitor.bounds import bound_of
from jobs.monitor.data_quality import FLOORS
from training.quality_plots import BASELINE, INK, PALE, finish

DAYS = 56  # shown before the day
COLOURS = {OK: "#0f766e", WARN: "#d97706", FAIL: "#be123c"}
TITLES = {
    "rows": "lines",
    "baskets": "baskets",
    "users": "shoppers",
    "items": "items sold",
    "revenue": "revenue",
    "line_price": "mean price of a line",
    "answers": "answers",
    "p99_ms": "99th percentile of an answer, ms",
}
MOST = 18  # features in one plot
APART = 0.26  # rows between the marks of two references
BINS = 40  # of a histogram
Series = Mapping[date, float]


def trailing_lines(series: Mapping[str, Series], day: date, levels: Mapping[str, str], width: float) -> Any:
    """A panel for each figure: the weeks before, the bounds of each day as a band, the day in its colour."""
    from matplotlib.figure import Figure

    names = [name for name in TITLES if name in series]
    rows = -(-len(names) // 3)
    figure = Figure(figsize=(15, 3.1 * rows), layout="constrained", facecolor="white")
    panels = figure.subplots(rows, 3, squeeze=False).ravel()
    for panel, name in zip(panels, names, strict=False):
        draw_line(panel, series[name], day, levels.get(name, OK), width, floor=FLOORS.get(name, 0.1))
        finish(panel, TITLES[name], grid="y")
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    return figure


def draw_line(panel: Any, values: Series, day: date, level: str, width: float, *, floor: float) -> None:
    """One figure by day, with the band in which each day was expected by the days before it."""
    from matplotlib.dates import ConciseDateFormatter

    shown = [day - timedelta(days=n) for n in range(DAYS, -1, -1)]
    there = [each for each in shown if values.get(each, 0) > 0]
    history = {each: log(value) for each, value in values.items() if value > 0}
    bounds = {each: bound_of(history, each, floor=floor) for each in shown}
    ends = {each: bound.ends(width) for each, bound in bounds.items() if bound is not None}
    low, high = ([exp(ends[each][end]) for each in ends] for end in (0, 1))
    if ends:
        panel.fill_between(list(ends), low, high, color=BASELINE, alpha=0.45, linewidth=0)
    panel.plot(there, [values[each] for each in there], color=PALE, linewidth=1.4)
    if day in there:
        panel.plot([day], [values[day]], "o", color=COLOURS[level], markersize=8)
    panel.set_ylim(bottom=0, top=1.05 * panel.get_ylim()[1])
    panel.xaxis.set_major_formatter(ConciseDateFormatter(panel.xaxis.get_major_locator()))


def drift_dots(alerts: Sequence[Alert], shifted: float) -> Any:
    """PSI of the features that moved most, by reference; the line is where it is worth a look."""
    from matplotlib.figure import Figure

    most: dict[str, float] = {}
    for alert in alerts:
        value = alert.figures.get("psi", float("nan"))
        if value == value:
            most[alert.name] = max(most.get(alert.name, 0.0), value)
    names = sorted(most, key=lambda name: most[name])[-MOST:]
    figure = Figure(figsize=(15, 0.34 * len(names) + 1.2), layout="constrained", facecolor="white")
    panel = figure.subplots()
    references = list(dict.fromkeys(alert.about for alert in alerts if "psi" in alert.figures))
    for number, (reference, marker) in enumerate(zip(references, "os^", strict=False)):
        mine = {alert.name: alert for alert in alerts if alert.about == reference and alert.name in names}
        aside = APART * (number - (len(references) - 1) / 2)  # equal values do not hide each other
        places = [names.index(name) - aside for name in mine]
        colours = [COLOURS[alert.level] for alert in mine.values()]
        values = [alert.figures["psi"] for alert in mine.values()]
        panel.scatter(values, places, c=colours, marker=marker, s=42, zorder=3)
        panel.scatter([], [], c=INK, marker=marker, label=reference)
    panel.axvline(shifted, color=COLOURS[WARN], linewidth=1, linestyle="--")
    panel.set_yticks(range(len(names)), names)
    panel.set_xlim(left=-0.01)
    panel.set_xlabel("population stability index")
    panel.legend(frameon=False, fontsize=9, loc="lower right")
    finish(panel, "how far features moved", grid="x")
    return figure


def histograms(samples: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Any:
    """A panel for each feature, up to three: shares of its values before, as an outline, and now, as bars.

    Bins lie between the 1st and 99th percentile of both; what is beyond counts in the outermost ones.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 3.1), layout="constrained", facecolor="white")
    for panel, (name, pair) in zip(figure.subplots(1, 3), list(samples.items())[:3], strict=False):
        before, now = (values[np.isfinite(values)] for values in pair)
        if len(before) and len(now):
            low, high = np.quantile(np.concatenate([before, now]), [0.01, 0.99])
            edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
            shares = [
                100 * np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
                for values in (before, now)
            ]
            panel.bar(edges[:-1], shares[1], np.diff(edges), align="edge", color=COLOURS[WARN], label="now")
            panel.stairs(shares[0], edges, color=INK, linewidth=1.4, label="before")
            panel.legend(frameon=False, fontsize=9, loc="upper right")
        view, _, feature = name.partition(":")
        panel.set_xlabel(f"% of rows of {view}, by value")
        finish(panel, feature, grid="y")
    for panel in figure.axes[len(samples) :]:
        panel.set_visible(False)
    return figure


def hour_bars(usual: Sequence[float], today: Sequence[float]) -> Any:
    """Share of baskets by local hour: the weeks before as an outline, the day as bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 2.9), layout="constrained", facecolor="white")
    panel = figure.subplots()
    totals = [max(sum(usual), 1e-9), max(sum(today), 1e-9)]
    panel.bar(range(24), [100 * n / totals[1] for n in today], 0.75, color=COLOURS[OK], label="the day")
    edges = [hour - 0.5 for hour in range(25)]
    panel.stairs(
        [100 * n / totals[0] for n in usual], edges, color=INK, linewidth=1.6, label="8 weeks before"
    )
    panel.set_xticks(range(0, 24, 3), [f"{hour}:00" for hour in range(0, 24, 3)])
    panel.set_ylabel("% of baskets")
    panel.legend(frameon=False, fontsize=9, loc="upper left")
    finish(panel, "baskets by hour", grid="y")
    return figure
