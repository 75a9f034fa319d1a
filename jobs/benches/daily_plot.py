"""The picture of the daily bench: what fresh releases are worth by day, and what a day costs.

In: the tidy records of `bench_daily.json`. Out: a matplotlib figure, or with `write` bench_daily.png.

    endcap bench-daily
"""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from training.quality_plots import BASELINE, COLOURS, INK, PALE, finish

Record = Mapping[str, Any]
METRIC = "recall@10"
TASKS = {"all": "all purchases", "discover": "discover: never bought before"}
MODELS = {
    "fresh": ("retrained daily", COLOURS["stack"]),
    "frozen": ("left as on the first day", COLOURS["two_tower"]),
    "buy_again": ("buy again", COLOURS["buy_again"]),
    "segment": ("segment rule (legacy)", COLOURS["segment"]),
}
STAGES = ("#0f766e", "#14b8a6", "#2563eb", "#7c3aed", "#d97706", "#be185d", "#475569", "#94a3b8", "#65a30d")


def figure(records: Iterable[Record]) -> Any:
    """Four panels: quality by day of both tasks, the lift of fresh over frozen, CPU time by day and step."""
    from matplotlib.figure import Figure

    kept = list(records)
    made = Figure(figsize=(15.0, 9.0), layout="constrained", facecolor="white")
    panels = made.subplots(2, 2)
    shown = [each for each in kept if each["metric"] == METRIC and each["day"] != "all"]
    for panel, task in zip(panels[0], TASKS, strict=True):
        draw_quality(panel, [each for each in shown if each["task"] == task and "versus" not in each], task)
    lifts = [each for each in kept if each.get("versus") == "frozen" and each["metric"] == METRIC]
    draw_lifts(panels[1][0], lifts)
    draw_costs(panels[1][1], [each for each in kept if each["metric"] == "cpu_s" and "stage" in each])
    return made


def write(folder: Path, records: Iterable[Record]) -> Path:
    """Replace the picture in a folder of reports; its path."""
    picture, path = BytesIO(), folder / "bench_daily.png"
    figure(records).savefig(picture, format="png", dpi=160)
    aside = path.with_name(f"{path.name}.aside")
    aside.write_bytes(picture.getvalue())
    aside.replace(path)
    return path


def draw_quality(panel: Any, records: Sequence[Record], task: str) -> None:
    """A line a model over the days, named at its end; the fresh one's interval as a band."""
    days = sorted({each["day"] for each in records})
    for model, (name, colour) in MODELS.items():
        by_day = {each["day"]: each for each in records if each["model"] == model}
        if not by_day:
            continue
        xs = [days.index(day) for day in sorted(by_day)]
        values = [by_day[day]["value"] for day in sorted(by_day)]
        panel.plot(xs, values, color=colour, linewidth=2.4 if model == "fresh" else 1.6, label=name)
        if model == "fresh":
            low, high = ([by_day[day][end] for day in sorted(by_day)] for end in ("low", "high"))
            panel.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
    panel.set_ylim(bottom=0, top=1.25 * panel.get_ylim()[1])
    panel.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)
    panel.set_xticks(range(len(days)), ticks(days))
    panel.set_ylabel(f"{METRIC} on the day after")
    finish(panel, TASKS[task], grid="y")


def draw_lifts(panel: Any, records: Sequence[Record]) -> None:
    """The paired lift of fresh over frozen on each day and over all, both tasks side by side."""
    days = sorted({each["day"] for each in records if each["day"] != "all"})
    places = {day: number for number, day in enumerate([*days, "all"])}
    panel.axhline(0, color=BASELINE, linewidth=1)
    for task, shift, colour in (("all", -0.14, COLOURS["stack"]), ("discover", 0.14, COLOURS["two_tower"])):
        mine = [each for each in records if each["task"] == task]
        for each in mine:
            x = places[each["day"]] + shift
            panel.plot([x, x], [100 * each["low"], 100 * each["high"]], color=colour, linewidth=1.5)
            panel.plot(
                [x], [100 * each["value"]], "o", color=colour, markersize=6 if each["day"] == "all" else 4
            )
        panel.plot([], [], "o", color=colour, label=TASKS[task])
    panel.legend(frameon=False, fontsize=9)
    panel.set_xticks(range(len(places)), [*ticks(days), "all"])
    panel.set_ylabel(f"% of {METRIC}, 95 % interval")
    finish(panel, "retrained daily over left as on the first day", grid="y")


def draw_costs(panel: Any, records: Sequence[Record]) -> None:
    """CPU seconds of each day, stacked by step, beside the full build from ingest to materialize."""
    days = sorted({each["day"] for each in records if "day" in each})
    stages = list(dict.fromkeys(each["stage"] for each in records))
    bottoms = dict.fromkeys(["full", *days], 0.0)
    for stage, colour in zip(stages, (STAGES * 2)[: len(stages)], strict=True):
        for place, column in enumerate(bottoms):
            value = sum(
                each["value"]
                for each in records
                if each["stage"] == stage and each.get("day", "full") == column
            )
            panel.bar([place], [value], 0.7, bottom=bottoms[column], color=colour, linewidth=0)
            bottoms[column] += value
        panel.bar([0], [0], color=colour, label=stage)
    panel.set_ylim(top=1.35 * panel.get_ylim()[1])
    panel.legend(frameon=False, fontsize=9, ncols=5, loc="upper left")
    panel.set_xticks(range(len(bottoms)), ["full", *ticks(days)], color=INK)
    panel.set_ylabel("CPU seconds", color=PALE)
    finish(panel, "what a day takes; the full build is without training", grid="y")


def ticks(days: Sequence[str]) -> list[str]:
    """Days as ticks have room for: the number, with the month where it begins."""
    from datetime import date

    found = [date.fromisoformat(day) for day in days]
    before = [None, *(day.month for day in found)]
    return [
        f"{day.day}\n{day:%b}" if day.month != month else str(day.day)
        for day, month in zip(found, before, strict=False)
    ]
