"""The quality report: one set of tidy records, shown as text, Markdown, a page and plots.

In: records (DESIGN, reports), one number each:

    {"report": "quality", "metric": "recall@10", "value": 0.124, "low": 0.118, "high": 0.131,
     "unit": "share", "task": "all", "model": "stack", "cut": 49, "users": 2312}

A record with `versus` is the relative lift of `model` over that model. Out: `table` for the terminal, and
with `write` in the folder of reports: quality.json (the records), quality.md, quality.html (one file, plots
inside) and the plots as PNG.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]

MODEL_NAMES = {  # in the order of display
    "stack": "Endcap",
    "stack_with_promotions": "Endcap + promotions",
    "two_tower": "two-tower alone",
    "buy_again": "buy again",
    "segment": "segment rule",
    "top_sellers": "top sellers",
    "category_affinity": "category affinity",
    "ease": "EASE",
    "als": "ALS",
    "item_knn": "item k-NN",
    "tifu_knn": "TIFU k-NN",
}
TASK_NAMES = {
    "all": "All purchases",
    "discover": "Discover: only items new to the shopper",
}
COLUMNS = ("recall@10", "recall@20", "recall@100", "ndcg@10", "hit@10", "coverage@10")
WITH_INTERVAL = ("recall@10", "recall@100")
SHORT = {"recall@10": "R@10", "recall@20": "R@20", "recall@100": "R@100", "ndcg@10": "NDCG@10"}
LIFT_METRIC = "recall@10"  # the one that is drawn
LIFT_METRICS = ("recall@10", "recall@100", "ndcg@10")
LIFT_GAP = "   "
LIFT_NOTE = "Lift, with 95 % intervals over the same users:"
HOW_TO_READ = (
    "Recall@k is the share of what a shopper bought in the two weeks after the cut that stood in the top k, "
    "counting items that no model could name. Everything up to the cut was known, nothing after it. "
    "Brackets hold 95 % intervals over shoppers."
)
MISSING = "-"


@dataclass(frozen=True)
class Block:
    """What is shown of one task at one cut; cells are text."""

    task: str
    cut: int
    title: str
    rows: tuple[tuple[str, ...], ...]  # the model's name, then one cell per column
    lifts: tuple[tuple[str, str], ...]  # (over which model, lifts with their intervals)
    best: tuple[frozenset[int], ...]  # rows of the highest value in each column


HEADER = ("model", *(SHORT.get(column, column) for column in COLUMNS))


def blocks(records: Iterable[Record]) -> list[Block]:
    """One block per task and cut, tasks and models in the order of display, the latest cut first."""
    kept = list(records)
    if not kept:
        raise ValueError("There are no quality records; run `endcap evaluate`")
    groups = {(record["task"], record["cut"]) for record in kept}
    ordered = sorted(groups, key=lambda group: (*_place(group[0], TASK_NAMES), -group[1]))
    return [
        _block(task, cut, [r for r in kept if (r["task"], r["cut"]) == (task, cut)]) for task, cut in ordered
    ]


def in_order(models: Iterable[str]) -> list[str]:
    """Models in the order of display; unknown ones last, by name."""
    return sorted(set(models), key=lambda model: _place(model, MODEL_NAMES))


def model_name(model: str) -> str:
    """Readable name of a model tag."""
    return MODEL_NAMES.get(model, model.replace("_", " "))


def _place(name: str, names: Mapping[str, str]) -> tuple[int, str]:
    known = list(names)
    return (known.index(name) if name in known else len(known), name)


def _block(task: str, cut: int, records: Sequence[Record]) -> Block:
    measured = {(r["model"], r["metric"]): r for r in records if not r.get("versus")}
    models = in_order(model for model, _ in measured)
    table = [[measured.get((model, column)) for column in COLUMNS] for model in models]
    rows = tuple(
        (model_name(model), *(_cell(record, column) for record, column in zip(row, COLUMNS, strict=True)))
        for model, row in zip(models, table, strict=True)
    )
    users = next((f", {r['users']:,} shoppers" for r in records if r.get("users")), "")
    weeks = f"cut {cut} (bought in weeks {cut + 1} and {cut + 2}{users})"
    best = tuple(_best([row[place] for row in table]) for place in range(len(COLUMNS)))
    return Block(task, cut, f"{TASK_NAMES.get(task, task)}, {weeks}", rows, _lifts(records), best)


def _cell(record: Record | None, column: str) -> str:
    if record is None or not _known(record.get("value")):
        return MISSING
    text = f"{record['value']:.3f}"
    if column in WITH_INTERVAL and _known(record.get("low")) and _known(record.get("high")):
        text += f" [{record['low']:.3f}, {record['high']:.3f}]"
    return text


def _known(value: float | None) -> bool:
    return value is not None and isfinite(value)


def _best(column: Sequence[Record | None]) -> frozenset[int]:
    values = {row: r["value"] for row, r in enumerate(column) if r is not None and _known(r.get("value"))}
    highest = max(values.values(), default=0.0)
    return frozenset(row for row, value in values.items() if value == highest)


def _lifts(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """Lifts of the stack, over the segment rule (the system to beat) first; each of LIFT_METRICS by name."""
    lifts = {(r["versus"], r["metric"]): r for r in records if r.get("versus") and r["model"] == "stack"}
    models = {model for model, metric in lifts if metric in LIFT_METRICS}
    order = sorted(models, key=lambda model: (model != "segment", _place(model, MODEL_NAMES)))
    return tuple(
        (
            model_name(model),
            LIFT_GAP.join(
                f"{SHORT[metric]} {_lift(lifts[model, metric])}"
                for metric in LIFT_METRICS
                if (model, metric) in lifts
            ),
        )
        for model in order
    )


def _lift(record: Record) -> str:
    if not _known(record.get("value")):
        return "undefined (it never hits)"
    text = f"{record['value']:+.1%}"
    if _known(record.get("low")) and _known(record.get("high")):
        text += f" [{record['low']:+.1%}, {record['high']:+.1%}]"
    return text


def table(records: Iterable[Record]) -> str:
    """Plain text for the terminal: a block per task and cut, a row per model, lifts below."""
    return "\n\n".join(_text(block) for block in blocks(records))


def _text(block: Block) -> str:
    rows = [HEADER, *block.rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEADER))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    width = max((len(over) for over, _ in block.lifts), default=0)
    lifts = [f"  {MODEL_NAMES['stack']} over {over.ljust(width)}  {lift}" for over, lift in block.lifts]
    return "\n".join([block.title, *lines, *([LIFT_NOTE, *lifts] if lifts else [])])


def markdown(records: Iterable[Record], plots: Sequence[str]) -> str:
    """The report as Markdown; `plots` are names of picture files beside it."""
    parts = ["# Quality", HOW_TO_READ]
    for block in blocks(records):
        lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
        lines += [f"| {' | '.join(row)} |" for row in block.rows]
        parts += [f"## {block.title}", "\n".join(lines)]
        if block.lifts:
            parts += [
                LIFT_NOTE,
                "\n".join(f"- {MODEL_NAMES['stack']} over {over}: {lift}" for over, lift in block.lifts),
            ]
    parts += [f"![{Path(plot).stem.replace('_', ' ')}]({plot})" for plot in plots]
    return "\n\n".join(parts) + "\n"


def write(records: Iterable[Record], folder: Path) -> Path:
    """Write quality.json, .md, .html and the plots into `folder`; the path of the page."""
    import orjson

    from training.quality_page import page
    from training.quality_plots import figures

    kept = list(records)
    drawn = figures(kept)
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=160)
        _write(folder / f"{name}.png", picture.getvalue())
    _write(folder / "quality.html", page(blocks(kept), drawn).encode())
    _write(folder / "quality.md", markdown(kept, [f"{name}.png" for name in drawn]).encode())
    # The records last: whoever finds them finds the rest.
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2  # nan becomes null
    _write(folder / "quality.json", orjson.dumps(kept, option=options))
    return folder / "quality.html"


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f"{path.name}.aside")
    aside.write_bytes(content)
    aside.replace(path)
