"""Plots of the quality report, as matplotlib figures: nothing is drawn on a screen, nothing is written.

In: tidy quality records. Out: figures by file name. The stack is drawn strong, what it is compared with pale.
"""

from collections.abc import Iterable, Sequence
from math import inf, isfinite
from typing import Any

from training.quality_blocks import LIFT_METRIC, TASK_NAMES, Record, headline, in_order, model_name

INK, PALE, GRID, BASELINE = "#1f2937", "#6b7280", "#e5e7eb", "#cbd5e1"
COLOURS = {
    "stack": "#0f766e",
    "stack_with_promotions": "#14b8a6",
    "two_tower": "#7c3aed",
    "buy_again": "#d97706",
    "segment": "#475569",
    "top_sellers": "#94a3b8",
    "category_affinity": "#be185d",
    "ease": "#2563eb",
    "als": "#0891b2",
    "item_knn": "#65a30d",
    "tifu_knn": "#a16207",
}
ABLATION_METRICS = {"recall@10": COLOURS["stack"], "recall@100": COLOURS["buy_again"]}


def figures(records: Iterable[Record]) -> dict[str, Any]:
    """Figures by name: recall by cutoff, recall@10 by model, lifts (if there are any); of the headline."""
    kept = list(records)
    first = headline(kept)
    shown = [r for r in kept if r["cut"] == first and r.get("value") is not None and isfinite(r["value"])]
    measured = [r for r in shown if not r.get("versus")]
    lifts = [r for r in shown if r.get("versus") and r["model"] == "stack" and r["metric"] == LIFT_METRIC]
    drawn = {"quality_recall_curve": recall_curves(measured), "quality_recall_at_10": recall_bars(measured)}
    return {**drawn, "quality_lift": lift_dots(lifts)} if lifts else drawn


def recall_curves(records: Sequence[Record]) -> Any:
    """Recall over the length of the list, a panel per task and a line per model, named at its end."""
    tasks = _tasks(records)
    figure, panels = _panels(len(tasks), width=6.0, height=4.4)
    for panel, task in zip(panels, tasks, strict=True):
        ends: list[tuple[float, str]] = []
        for model in reversed(in_order(r["model"] for r in records)):
            points = sorted(
                (_cutoff(r), r) for r in _of(records, task, model) if r["metric"].startswith("recall@")
            )
            if not points:
                continue
            ks, values = [k for k, _ in points], [r["value"] for _, r in points]
            panel.plot(ks, values, **_stroke(model))
            if model == "stack" and all(_has_interval(r) for _, r in points):
                band = [r["low"] for _, r in points], [r["high"] for _, r in points]
                panel.fill_between(ks, *band, color=COLOURS[model], alpha=0.15, linewidth=0)
            ends.append((values[-1], model))
        cutoffs = sorted({_cutoff(r) for r in records if r["metric"].startswith("recall@")})
        panel.set_xscale("log")
        panel.set_xticks(cutoffs, [str(k) for k in cutoffs])
        panel.minorticks_off()
        panel.set_ylim(bottom=0)
        panel.set_xlabel("length of the list (k)")
        _name_ends(panel, ends, x=cutoffs[-1])
        finish(panel, task, grid="y")
    panels[0].set_ylabel("recall@k")
    return figure


def recall_bars(records: Sequence[Record], metric: str = "recall@10") -> Any:
    """One bar per model with its interval, a panel per task, the strongest on top."""
    tasks = _tasks(records)
    rows = len({r["model"] for r in records if r["metric"] == metric})
    figure, panels = _panels(len(tasks), width=5.6, height=1.2 + 0.36 * rows)
    for panel, task in zip(panels, tasks, strict=True):
        chosen = sorted(_of(records, task, metric=metric), key=lambda r: r["value"])
        reach = max((r.get("high") or r["value"] for r in chosen), default=1.0)
        for place, record in enumerate(chosen):
            model, value = record["model"], record["value"]
            panel.barh(place, value, height=0.62, color=COLOURS["stack"] if model == "stack" else BASELINE)
            edge = record["high"] if _has_interval(record) else value
            if _has_interval(record):
                arms = _arms(value, record["low"], record["high"])
                panel.errorbar(value, place, xerr=arms, color=INK, elinewidth=1.1, capsize=2.5)
            panel.text(edge + reach * 0.02, place, f"{value:.3f}", va="center", fontsize=9, color=INK)
        panel.set_yticks(range(len(chosen)), [model_name(r["model"]) for r in chosen])
        panel.set_xlim(0, reach * 1.16)
        panel.set_ylim(len(chosen) - rows - 0.6, len(chosen) - 0.4)
        panel.set_xlabel(f"{metric}, 95 % interval over shoppers")
        finish(panel, task, grid="x")
    return figure


def lift_dots(records: Sequence[Record]) -> Any:
    """Lift of the stack over each baseline with its interval; what crosses 0 is not shown to be better."""
    tasks = _tasks(records)
    rows = len({r["versus"] for r in records})
    figure, panels = _panels(len(tasks), width=5.6, height=1.3 + 0.36 * rows)
    for panel, task in zip(panels, tasks, strict=True):
        chosen = {r["versus"]: r for r in _of(records, task)}
        order = in_order(chosen)[::-1]
        for place, model in enumerate(order):
            value, low, high = (
                100 * chosen[model].get(key, chosen[model]["value"]) for key in ("value", "low", "high")
            )
            panel.errorbar(
                value, place, xerr=_arms(value, low, high), fmt="o", color=COLOURS["stack"], capsize=3
            )
            panel.annotate(
                f"{round(value):+d} %",
                (value, place),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )
        panel.axvline(0, color=INK, linewidth=1)
        panel.set_yticks(range(len(order)), [f"over {model_name(model)}" for model in order])
        panel.set_ylim(-0.5, len(order) - 0.2)
        panel.margins(x=0.12)
        panel.set_xlabel(f"lift of Endcap in {LIFT_METRIC}, %")
        finish(panel, task, grid="x")
    return figure


def ablation_dots(records: Sequence[Record]) -> Any:
    """Lift of each variant over the whole stack: a row per variant, a dot per metric, a panel per task."""
    lifts = [r for r in records if r.get("versus") and r["metric"] in ABLATION_METRICS]
    says = list(dict.fromkeys(r["says"] for r in lifts))[::-1]
    tasks = _tasks(lifts)
    figure, panels = _panels(len(tasks), width=5.6, height=1.6 + 0.34 * len(says))
    for panel, task in zip(panels, tasks, strict=True):
        for (metric, colour), shift in zip(ABLATION_METRICS.items(), (0.15, -0.15), strict=True):
            chosen = [r for r in _of(lifts, task, metric=metric) if _has_interval(r)]
            places = [says.index(r["says"]) + shift for r in chosen]
            values = [100 * r["value"] for r in chosen]
            arms = [_arms(*(100 * r[key] for key in ("value", "low", "high"))) for r in chosen]
            both = [[arm[side][0] for arm in arms] for side in (0, 1)]
            panel.errorbar(values, places, xerr=both, fmt="o", color=colour, markersize=4, elinewidth=1.2,
                           label=metric)  # fmt: skip
        panel.axvline(0, color=INK, linewidth=1)
        panel.set_yticks(range(len(says)), says if panel is panels[0] else [""] * len(says))
        panel.set_ylim(-0.6, len(says) - 0.4)
        panel.set_xlabel("lift over the whole stack, %")
        finish(panel, task, grid="both")
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, frameon=False, fontsize=9, loc="outside upper right", ncols=len(ABLATION_METRICS))
    return figure


def _panels(n: int, *, width: float, height: float) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n, height), layout="constrained", facecolor="white")
    return figure, list(figure.subplots(1, n, squeeze=False)[0])


def finish(panel: Any, title: str, *, grid: str) -> None:
    """Title, grid and colours, the same in all plots of reports."""
    panel.set_title(TASK_NAMES.get(title, title), loc="left", fontsize=11, color=INK, fontweight="bold")
    panel.grid(axis=grid, color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.spines["bottom"].set_color(PALE)
    panel.tick_params(colors=INK, length=0, labelsize=9)
    panel.xaxis.label.set(color=PALE, fontsize=9)
    panel.yaxis.label.set(color=PALE, fontsize=9)


def _name_ends(panel: Any, ends: Sequence[tuple[float, str]], *, x: float) -> None:
    """Names at the ends of lines, moved apart where they would cover each other."""
    ordered = sorted(ends)
    top = panel.get_ylim()[1]
    places = spread([value for value, _ in ordered], step=0.055 * top, highest=top)
    for (_, model), place in zip(ordered, places, strict=True):
        bold = "bold" if model == "stack" else "normal"
        panel.annotate(model_name(model), (x, place), (7, 0), textcoords="offset points", va="center",
                       fontsize=9, color=_colour(model), fontweight=bold, annotation_clip=False)  # fmt: skip


def spread(values: Sequence[float], *, step: float, highest: float = inf) -> list[float]:
    """Places at least `step` apart, near ascending `values`: the middle between pushing up and pushing down.

    None lies above `highest`.

    >>> spread([1, 1, 5], step=2)
    [0.0, 2.0, 5.0]
    >>> spread([1, 1, 5], step=2, highest=3.5)
    [-0.5, 1.5, 3.5]
    """
    up, down = list(values), list(values)
    for place in range(1, len(values)):
        up[place] = max(values[place], up[place - 1] + step)
        down[-place - 1] = min(values[-place - 1], down[-place] - step)
    places = [(above + below) / 2 for above, below in zip(up, down, strict=True)]
    rest = range(len(places) - 1, -1, -1)  # places still below, from the highest on
    return [min(place, highest - step * left) for place, left in zip(places, rest, strict=True)]


def _stroke(model: str) -> dict[str, Any]:
    if model == "stack":
        return {"color": _colour(model), "linewidth": 2.6, "marker": "o", "markersize": 5, "zorder": 3}
    return {"color": _colour(model), "linewidth": 1.4, "marker": "o", "markersize": 3, "alpha": 0.85}


def _colour(model: str) -> str:
    return COLOURS.get(model, PALE)


def _tasks(records: Sequence[Record]) -> list[str]:
    present = {r["task"] for r in records}
    return [task for task in TASK_NAMES if task in present] + sorted(present - set(TASK_NAMES))


def _of(
    records: Sequence[Record], task: str, model: str | None = None, metric: str | None = None
) -> list[Record]:
    return [
        r for r in records
        if r["task"] == task and model in (None, r["model"]) and metric in (None, r["metric"])
    ]  # fmt: skip


def _arms(value: float, low: float, high: float) -> list[list[float]]:
    """Lengths of an error bar; of a certain lift, low and high may lie a rounding error past the value."""
    return [[max(value - low, 0.0)], [max(high - value, 0.0)]]


def _cutoff(record: Record) -> int:
    return int(record["metric"].partition("@")[2])


def _has_interval(record: Record) -> bool:
    return all(record.get(key) is not None and isfinite(record[key]) for key in ("low", "high"))
