"""The quality report: one set of tidy records, shown as text, Markdown, a page and plots.

In: records (DESIGN, reports), one number each:

    {"report": "quality", "metric": "recall@10", "value": 0.124, "low": 0.118, "high": 0.131,
     "unit": "share", "task": "all", "model": "stack", "cut": 49, "users": 2312}

A record with `versus` is the relative lift of `model` over that model. A `cut` like "45+49" is a pool: the
mean of the cuts' figures. Out: `table` for the terminal, and with `write` in the folder of reports:
quality.json (the records), quality.md, quality.html (one file, plots inside) and the plots as PNG.
"""

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from training.quality_blocks import HEADER, Block, Record, blocks

LIFT_NOTE = "Lift, with 95 % intervals over the same shoppers:"
HOW_TO_READ = (
    "Recall@k is the share of what a shopper bought in the two weeks after the cut that stood in the top k, "
    "counting items that no model could name. Everything up to the cut was known, nothing after it; "
    "only Endcap + promotions knows the promotions of the first of the two weeks, ASSUMED to be announced "
    "when it starts, which the data need not tell. "
    "Brackets hold 95 % intervals over shoppers. The mean of several cuts weighs each cut alike; a shopper "
    "is drawn with all their cuts."
)
CTR_NOTE = (
    "The data has no impressions, so there is no click-through rate: the CTR proxy@10 is the share of the "
    "first 10 slots of a list, as of the cut, that stand in the basket of a recorded trip (in Discover, as "
    "something never bought before), averaged over all trips of a shopper and then over shoppers."
)
MORE_NOTE = (
    "Novelty is the mean of -log2 of the share of shoppers who ever bought an item, over the first 10: "
    "higher is rarer, not better. Repeats are what the shopper bought before the cut; who has nothing of a "
    "kind to find is left out of its recall."
)


def table(records: Iterable[Record]) -> str:
    """Plain text for the terminal: a block per task and cut, a row per model, lifts below."""
    return "\n\n".join(_text(block) for block in blocks(records))


def _text(block: Block) -> str:
    lifts = [LIFT_NOTE, *aligned([block.lift_header, *block.lifts])] if block.lifts else []
    return "\n".join([block.title, *aligned([HEADER, *block.rows]), *lifts])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of text in which the cells of a column stand below each other."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def markdown(records: Iterable[Record], plots: Sequence[str]) -> str:
    """The report as Markdown; `plots` are names of picture files beside it."""
    parts = ["# Quality", HOW_TO_READ, CTR_NOTE, MORE_NOTE]
    for block in blocks(records):
        parts += [f"## {block.title}", _pipes([HEADER, *block.rows])]
        if block.more:
            parts += [_pipes([block.more_header, *block.more])]
        if block.lifts:
            parts += [LIFT_NOTE, _pipes([block.lift_header, *block.lifts])]
    parts += [f"![{Path(plot).stem.replace('_', ' ')}]({plot})" for plot in plots]
    return "\n\n".join(parts) + "\n"


def _pipes(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]])


def write(records: Iterable[Record], folder: Path, households: Sequence[Record] = ()) -> Path:
    """Write quality.json, .md, .html and the plots into `folder`; the path of the page.

    `households` are those of `training.households`. Ablations are shown where `folder` has ablations.json.
    """
    import orjson

    from training.quality_page import page
    from training.quality_plots import ablation_dots, figures

    kept = list(records)
    drawn = figures(kept)
    folder.mkdir(parents=True, exist_ok=True)
    ablations, parts = folder / "ablations.json", {}
    if ablations.exists():
        parts["quality_ablations"] = ablation_dots(json.loads(ablations.read_text()))
    for name, figure in {**drawn, **parts}.items():
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=160)
        _write(folder / f"{name}.png", picture.getvalue())
    _write(folder / "quality.html", page(blocks(kept), drawn, parts, households).encode())
    _write(folder / "quality.md", markdown(kept, [f"{name}.png" for name in {**drawn, **parts}]).encode())
    # The records last: whoever finds them finds the rest.
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2  # nan becomes null
    _write(folder / "quality.json", orjson.dumps(kept, option=options))
    return folder / "quality.html"


def _write(path: Path, content: bytes) -> None:
    aside = path.with_name(f"{path.name}.aside")
    aside.write_bytes(content)
    aside.replace(path)
