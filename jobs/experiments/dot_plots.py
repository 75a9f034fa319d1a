"""Lifts of an experiment as dots with intervals: by metric, and by segment.

In: `Results`. Out: a matplotlib figure, or None where there is nothing to draw. A dot is the lift of a
treatment, with CUPED where there is one; the thick bar is its 95 % interval for one look at the end, the thin
one is always valid. What crosses the line at 0 is not told apart from no difference. An arrow head stands for
what lies beyond the edge.
"""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, NamedTuple

import numpy as np

from bentos.experiments import METRICS
from jobs.experiments.plots import beside, colour, ends_of, figure_of, label, percent, span_of
from jobs.experiments.results import Record, Results, known, relative
from training.quality_plots import INK, PALE, finish

OF_CLICKS = ("repeat_ctr", "discover_ctr")
LABEL = 27  # letters in a line of a row's name
STEP = 0.27  # inches from dot to dot
BETWEEN = 0.8  # dots' room between rows


class Dot(NamedTuple):
    """A lift of an arm with its fixed interval, and the always-valid one where there is one."""

    arm: str
    lift: Record
    valid: Record | None


class Line(NamedTuple):
    """A row: its name, and a dot for each treatment."""

    name: str
    dots: list[Dot]

    @property
    def height(self) -> float:
        """In dots: as many as it has, and no less than its name needs."""
        return max(len(self.dots), 0.62 * (1 + self.name.count("\n"))) + BETWEEN


def lift_dots(results: Results) -> Any:
    """By metric: clicks and the business, repeats and discoveries apart, then what should be low."""
    metrics = results.metrics
    names = {
        "More is better": [m for m in metrics if METRICS[m].more_is_better and m not in OF_CLICKS],
        "More is better: of the clicks, repeats and discoveries": [m for m in metrics if m in OF_CLICKS],
        "Less is better": [m for m in metrics if not METRICS[m].more_is_better],
    }
    lines = {
        head: [line_of(METRICS[metric].title, dots_of(results, metric)) for metric in found]
        for head, found in names.items()
    }
    return dot_panels(results, lines)


def segment_dots(results: Results) -> Any:
    """By segment, of the primary metric; all users are the first row."""
    metric = results.experiment.primary
    lines = [line_of(name, dots_of(results, metric, name)) for name in results.segments]
    if not any(line.dots for line in lines):
        return None
    return dot_panels(
        results, {METRICS[metric].title: [line_of("all users", dots_of(results, metric)), *lines]}
    )


def dots_of(results: Results, metric: str, segment: str | None = None) -> list[Dot]:
    """A dot for each treatment with a lift, be it an always-valid one only."""
    found = []
    for arm in results.experiment.treatments:
        valid = results.lift(metric, arm, "sequential", segment)
        lift = results.best_lift(metric, arm, segment) or valid
        if lift and known(lift["value"]):
            found.append(Dot(arm, lift, valid))
    return found


def line_of(name: str, dots: list[Dot]) -> Line:
    """A row, its name in short lines."""
    return Line(fill(label(name, 3 * LABEL), LABEL), dots)


def dot_panels(results: Results, lines: Mapping[str, Sequence[Line]]) -> Any:
    """A panel for each head, one below the other, as high as its rows; rows without a dot are left out."""
    kept = {head: [line for line in found if line.dots] for head, found in lines.items()}
    drawn = {head: found for head, found in kept.items() if found}
    if not drawn:
        return None
    sizes = [sum(line.height for line in found) for found in drawn.values()]
    figure = figure_of(STEP * sum(sizes) + 0.8 * len(drawn) + 0.3)
    panels = figure.subplots(len(drawn), 1, squeeze=False, height_ratios=sizes)[:, 0]
    for panel, (head, found) in zip(panels, drawn.items(), strict=True):
        draw_lines(results, panel, found)
        finish(panel, head, grid="x")
    panels[-1].set_xlabel(f"relative lift over {label(results.experiment.control)}")
    add_legend(results, figure, [dot for found in drawn.values() for line in found for dot in line.dots])
    return figure


def draw_lines(results: Results, panel: Any, lines: Sequence[Line]) -> None:
    """Rows from the top, their lifts in numbers at the right."""
    from matplotlib.ticker import MaxNLocator

    top, middles = 0.0, []
    panel.set_xlim(span_of_dots([dot for line in lines for dot in line.dots]))
    for line in lines:
        middles.append(top + line.height / 2)
        for place, dot in enumerate(line.dots):
            draw_dot(panel, middles[-1] + place - (len(line.dots) - 1) / 2, dot, colour(results, dot.arm))
        top += line.height
    panel.axvline(0, color=INK, linewidth=1)
    panel.set_yticks(middles, [line.name for line in lines])
    panel.set_ylim(top, 0)
    panel.xaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
    panel.xaxis.set_major_formatter(percent)


def span_of_dots(dots: Sequence[Dot]) -> tuple[float, float]:
    """The span of the lifts with their fixed intervals, and of always-valid ones that are not far wider."""
    valid = [end for dot in dots if dot.valid for end in ends_of(dot.valid)]
    return span_of([dot.lift for dot in dots], valid)


def draw_dot(panel: Any, at: float, dot: Dot, shade: str) -> None:
    """One lift: the always-valid interval thin, the fixed one thick; an unbounded one is not drawn."""
    if dot.valid and bounded(dot.valid):
        draw_bar(panel, at, dot.valid, color=shade, linewidth=1.1, marker="|", markersize=7)
    if dot.lift is not dot.valid and bounded(dot.lift):
        draw_bar(panel, at, dot.lift, color=shade, linewidth=5, alpha=0.4, solid_capstyle="butt")
    panel.plot([dot.lift["value"]], [at], "o", color=shade, markersize=6)
    point_to(panel, at, dot.lift["value"], shade)
    beside(panel, at, relative(dot.lift["value"]))


def bounded(record: Record) -> bool:
    """Whether an end of the interval is known."""
    return known(record.get("low")) or known(record.get("high"))


def draw_bar(panel: Any, at: float, record: Record, **style: Any) -> None:
    """An interval as far as the panel goes, an arrow head where it goes on."""
    (left, right), ends = panel.get_xlim(), ends_of(record)
    inside = [place for place, end in enumerate(ends) if left <= end <= right]
    panel.plot(np.clip(ends, left, right), [at, at], markevery=inside, **style)
    for end in ends:
        point_to(panel, at, end, style["color"])


def point_to(panel: Any, at: float, end: float, shade: str) -> None:
    """An arrow head at the edge beyond which an end lies; nothing where the panel holds it."""
    from matplotlib.markers import CARETLEFT, CARETRIGHT

    left, right = panel.get_xlim()
    if not left <= end <= right:
        edge, head = (left, CARETLEFT) if end < left else (right, CARETRIGHT)
        panel.plot([edge], [at], marker=head, color=shade, markersize=7, clip_on=False)


def add_legend(results: Results, figure: Any, dots: Sequence[Dot]) -> None:
    """Names of arms where there are several, and what the bars are where there are any."""
    from matplotlib.lines import Line2D

    arms = [arm for arm in results.experiment.treatments if any(dot.arm == arm for dot in dots)]
    handles = [Line2D([], [], marker="o", linestyle="", color=colour(results, arm), label=label(arm, 24))
               for arm in arms if len(arms) > 1]  # fmt: skip
    if any(dot.lift is not dot.valid and bounded(dot.lift) for dot in dots):
        handles.append(Line2D([], [], color=PALE, linewidth=5, alpha=0.5, label="95 %, one look"))
    if any(dot.valid and bounded(dot.valid) for dot in dots):
        handles.append(Line2D([], [], color=PALE, linewidth=1.1, label="always valid"))
    if handles:
        figure.legend(handles=handles, frameon=False, fontsize=9, loc="outside upper left", ncols=3)
