"""Plots of an experiment over time and by arm, as matplotlib figures: nothing is shown or written.

In: `Results`. Out: a figure, or None where there is nothing to draw. The control is drawn grey, each
treatment in a colour of its own. Lifts as dots stand in `dot_plots.py`.
"""

from collections.abc import Sequence
from datetime import date
from math import ceil, inf, isfinite
from typing import Any

import numpy as np

from jobs.experiments.results import QUANTILES, STAGES, Record, Results, known, shortened, told
from training.quality_plots import COLOURS, INK, PALE, finish

WIDTH = 8.0  # inches, of every figure
CONTROL = "#64748b"
TREATMENTS = tuple(  # of which an experiment has at most nine
    COLOURS[name]
    for name in (
        "stack", "two_tower", "buy_again", "category_affinity", "ease", "item_knn", "als", "tifu_knn",
        "stack_with_promotions",
    )
)  # fmt: skip
MARKERS = dict(zip(QUANTILES, "os^", strict=True))
TELLING = 4.0  # times, as from half to double: what leaves the ratio of two arms open by more tells little


def lift_by_day(results: Results) -> Any:
    """Cumulative lift of the primary metric with its always-valid band, a panel for each treatment."""
    every = {arm: results.by_day(results.experiment.primary, arm) for arm in results.experiment.treatments}
    days = {arm: shown for arm, found in every.items() if (shown := [r for r in found if known(r["value"])])}
    if not days:
        return None
    wide = 1 if len(days) == 1 else 2
    high = ceil(len(days) / wide)
    figure = figure_of(0.3 + (3.2 if wide == 1 else 2.5) * high)
    panels = figure.subplots(high, wide, squeeze=False, sharey=True).flat
    span = span_of_days([record for found in days.values() for record in found])
    for panel, (arm, found) in zip(panels, days.items(), strict=False):
        draw_days(panel, found, span, colour(results, arm))
        finish(panel, label(arm), grid="both")
    for panel in panels[len(days) :]:
        panel.set_axis_off()
    figure.supylabel(f"relative lift over {label(results.experiment.control)}", fontsize=9, color=PALE)
    return figure


def draw_days(panel: Any, days: Sequence[Record], span: tuple[float, float], shade: str) -> None:
    """The lift as a line, its band around it as far as the edge of the picture."""
    from matplotlib.dates import AutoDateLocator, DateFormatter

    at = [date.fromisoformat(record["day"]) for record in days]
    low, high = np.clip([ends_of(record) for record in days], *span).T
    panel.fill_between(at, low, high, color=shade, alpha=0.18, linewidth=0)
    panel.plot(at, [record["value"] for record in days], color=shade, linewidth=2.2, marker="o", markersize=4)
    panel.axhline(0, color=INK, linewidth=1)
    panel.set_ylim(*span)
    panel.yaxis.set_major_formatter(percent)
    panel.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=6))
    panel.xaxis.set_major_formatter(DateFormatter("%d %b"))


def span_of_days(records: Sequence[Record]) -> tuple[float, float]:
    """The span of the later half of the days, and of the earlier ones' lifts without their bands.

    Bands of the first days are many times wider, and would flatten the rest.
    """
    days = sorted({record["day"] for record in records})
    later = [record for record in records if record["day"] >= days[len(days) // 2]]
    return span_of(later, [record["value"] for record in records])


def span_of(records: Sequence[Record], more: Sequence[float]) -> tuple[float, float]:
    """From where to where lifts are drawn: 0, the lifts whose interval is telling, and what is near them.

    Near are those numbers of the records and of `more` that lie no farther outside than the telling lifts and
    their intervals reach: these fill a third of the picture at least. Where no interval is telling, the lifts
    alone are taken for it.
    """
    telling = [end for record in records if is_telling(record) for end in (record["value"], *ends_of(record))]
    core = [0.0, *(telling or [record["value"] for record in records])]
    low, high = min(core), max(core)
    wide = high - low
    every = [*core, *more, *(end for record in records for end in (record["value"], *ends_of(record)))]
    near = [end for end in every if low - wide <= end <= high + wide]
    room = 0.07 * (max(near) - min(near)) or 0.01
    return min(near) - room, max(near) + room


def is_telling(record: Record) -> bool:
    """Whether a lift has an interval whose ends are not too far apart to tell much."""
    low, high = ends_of(record)
    return isfinite(high) and 1 + high <= TELLING * (1 + low)


def ends_of(record: Record) -> tuple[float, float]:
    """Both ends of an interval, infinite where there is none."""
    low, high = record.get("low"), record.get("high")
    return low if known(low) else -inf, high if known(high) else inf


def funnel_bars(results: Results) -> Any:
    """A panel for each stage, a bar for each arm: for each of its users, where those are counted."""
    counts = {(r["arm"], r["stage"]): r["value"] for r in results.of(metric="funnel")}
    arms = [arm for arm in results.arms if any(key[0] == arm for key in counts)]
    if not arms:
        return None
    users = results.users()
    each = all(users.get(arm) for arm in arms)
    figure = figure_of(0.9 + 0.42 * len(arms))
    for place, (panel, stage) in enumerate(zip(figure.subplots(1, len(STAGES)), STAGES, strict=True)):
        values = [counts.get((arm, stage), 0) / (users[arm] if each else 1) for arm in arms]
        panel.barh(range(len(arms)), values, height=0.66, color=[colour(results, arm) for arm in arms])
        for at, value in enumerate(values):
            text = f" {value:,.3g}" if each else f" {value:,.0f}"
            panel.text(value, at, text, va="center", fontsize=9, color=INK)
        panel.set_yticks(range(len(arms)), [label(arm, 20) if place == 0 else "" for arm in arms])
        panel.set_ylim(len(arms) - 0.5, -0.5)
        panel.set_xlim(0, 1.5 * (max(values) or 1))
        panel.set_xticks([])
        finish(panel, f"{stage.capitalize()} per user" if each else stage.capitalize(), grid="x")
    return figure


def latency_dots(results: Results) -> Any:
    """Time of an answer by arm: a line from the median to the 99th percentile."""
    found = {
        arm: {q: r["value"] for q in QUANTILES if (r := results.one(metric=f"latency_ms_{q}", arm=arm))}
        for arm in results.arms
    }
    found = {arm: values for arm, values in found.items() if values}
    if not found:
        return None
    figure = figure_of(1.1 + 0.42 * len(found))
    panel = figure.subplots()
    for at, (arm, values) in enumerate(found.items()):
        shade = colour(results, arm)
        panel.plot(list(values.values()), [at] * len(values), color=shade, linewidth=1.5)
        for quantile, value in values.items():
            panel.plot([value], [at], MARKERS[quantile], color=shade, markersize=7)
        beside(panel, at, " / ".join(told(value, ",.1f") for value in values.values()))
    panel.set_yticks(range(len(found)), [label(arm, 20) for arm in found])
    panel.set_ylim(len(found) - 0.5, -0.5)
    panel.set_xlim(left=0)
    panel.set_xlabel("milliseconds: a circle is the median, a square p95, a triangle p99")
    finish(panel, "Time of an answer", grid="x")
    return figure


def figure_of(height: float) -> Any:
    """An empty figure, `height` inches high."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(h_pad=0.09), facecolor="white")


def beside(panel: Any, at: float, text: str) -> None:
    """Numbers of a row, right of the panel."""
    panel.annotate(text, (1.015, at), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=INK,
                   annotation_clip=False)  # fmt: skip


def percent(value: float, _: int) -> str:
    """A tick of an axis of lifts, in full.

    >>> percent(12.0, 0), percent(-0.025, 1), percent(0.0, 2)
    ('+1,200%', '-2.5%', '0')
    """
    return f"{100 * value:+,.4f}".rstrip("0").rstrip(".") + "%" if abs(value) > 1e-9 else "0"


def colour(results: Results, arm: str) -> str:
    """The arm's colour, the same in all plots of an experiment."""
    treatments = results.experiment.treatments
    return TREATMENTS[treatments.index(arm)] if arm in treatments else CONTROL


def label(name: str, room: int = 28) -> str:
    """A name as matplotlib shall draw it: not too long, and no formula in it."""
    return shortened(name, room).replace("$", r"\$")
