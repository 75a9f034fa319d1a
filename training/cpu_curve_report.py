"""The curve of quality against CPU time as text and as a plot.

In: records of `training.cpu_curve`. Out: `table` for the terminal, and with `write` in the folder of reports
cpu_curve.png and cpu_curve.json (the records).
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from training.quality_blocks import TASK_NAMES, Record
from training.quality_plots import COLOURS, INK, PALE, _panels, finish
from training.quality_report import _write, aligned

RECALLS = ("recall@10", "recall@20", "recall@100")
DRAWN = ("recall@10", "recall@100")
SHADES = (BASE := COLOURS["stack"], "#5eaaa3", "#a7d3cf")  # all trees, and fewer


def table(records: Iterable[Record]) -> str:
    """A block per task, a row per setting: CPU time, recall with intervals, lift over what is served."""
    kept = list(records)
    parts = []
    for task in dict.fromkeys(r["task"] for r in kept if "task" in r):
        rows = [["candidates", "trees", "CPU ms", *RECALLS, "over what is served, in the same order"]]
        rows += [_row(found) for found in _settings(kept, task).values()]
        parts.append("\n".join([TASK_NAMES[task], *aligned(rows)]))
    parts += [
        f"Reading an item's features from the {r['store']} store takes {r['value']:.3f} ms of CPU time more"
        for r in kept
        if r["metric"] == "item_read_cpu_ms"
    ]
    return "\n\n".join(parts)


def _settings(records: Iterable[Record], task: str) -> dict[tuple[int, int], dict[tuple[str, bool], Record]]:
    """Records of each (candidates, trees) of a task, by metric and by whether it is a lift."""
    found: dict[tuple[int, int], dict[tuple[str, bool], Record]] = {}
    for record in records:
        if record.get("task") == task:
            held = found.setdefault((record["candidates"], record["trees"]), {})
            held[record["metric"], "versus" in record] = record
    return found


def _row(found: dict[tuple[str, bool], Record]) -> list[str]:
    spent = found["cpu_ms", False]
    recalls = [found[metric, False] for metric in RECALLS]
    lifts = [found[metric, True] for metric in RECALLS if (metric, True) in found]
    return [
        str(spent["candidates"]),
        str(spent["trees"]),
        f"{spent['value']:.1f}",
        *(f"{r['value']:.4f} [{r['low']:.4f}, {r['high']:.4f}]" for r in recalls),
        "  ".join(f"{r['value']:+.1%} [{r['low']:+.1%}, {r['high']:+.1%}]" for r in lifts) or "served",
    ]


def figure(records: Iterable[Record]) -> Any:
    """Recall over CPU milliseconds: a line per number of trees, a point per number of candidates."""
    kept = list(records)
    tasks = list(dict.fromkeys(r["task"] for r in kept if "task" in r))
    drawn, panels = _panels(len(tasks) * len(DRAWN), width=4.6, height=4.2)
    places = [(task, metric) for task in tasks for metric in DRAWN]
    for panel, (task, metric) in zip(panels, places, strict=True):
        found = _settings(kept, task)
        for shade, trees in zip(SHADES, sorted({trees for _, trees in found}, reverse=True), strict=False):
            chosen = [each for (_, few), each in sorted(found.items()) if few == trees]
            _line(panel, chosen, metric, shade, name=f"{trees} trees", whole=shade == BASE)
        panel.set_xlabel("CPU ms per request, without HTTP and reading features")
        panel.set_ylabel(metric)
        panel.margins(x=0.12)
        panel.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower right")
        finish(panel, TASK_NAMES[task].partition(":")[0], grid="y")
    return drawn


def _line(
    panel: Any,
    chosen: Sequence[dict[tuple[str, bool], Record]],
    metric: str,
    shade: str,
    *,
    name: str,
    whole: bool,
) -> None:
    """One number of trees; for the whole ranker with the interval and the numbers of candidates."""
    recalls = [each[metric, False] for each in chosen]
    spent, values = [each["cpu_ms", False]["value"] for each in chosen], [r["value"] for r in recalls]
    panel.plot(
        spent, values, color=shade, marker="o", markersize=4, linewidth=2 if whole else 1.4, label=name
    )
    if whole:
        band = [r["low"] for r in recalls], [r["high"] for r in recalls]
        panel.fill_between(spent, *band, color=shade, alpha=0.12, linewidth=0)
        for x, y, record in zip(spent, values, recalls, strict=True):
            panel.annotate(str(record["candidates"]), (x, y), (0, 7), textcoords="offset points",
                           ha="center", fontsize=8, color=PALE)  # fmt: skip


def write(records: Iterable[Record], folder: Path) -> Path:
    """Write cpu_curve.png and, last, cpu_curve.json into `folder`; the path of the records."""
    import orjson

    kept = list(records)
    picture = io.BytesIO()
    figure(kept).savefig(picture, format="png", dpi=160)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "cpu_curve.png", picture.getvalue())
    _write(
        folder / "cpu_curve.json", orjson.dumps(kept, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2)
    )
    return folder / "cpu_curve.json"
