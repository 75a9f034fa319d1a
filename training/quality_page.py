"""The quality report as one HTML file: styles and plots inside, no script, nothing fetched.

In: blocks of `training.quality_blocks` and figures of `training.quality_plots`. Out: the page's text.
"""

import io
from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import Any

from training.quality_blocks import HEADER, MODEL_NAMES, Block, cut_name
from training.quality_households import STYLE as HOUSEHOLDS
from training.quality_households import households_section
from training.quality_report import CTR_NOTE, HOW_TO_READ, LIFT_NOTE, MORE_NOTE

NONE: Mapping[str, Any] = MappingProxyType({})
ABLATION_NOTE = (
    "Rankers trained anew without one part at a time, or in another way, and held against the whole stack on "
    "the same shoppers, with 95 % intervals: left of the line, the part was worth having. What crosses the "
    "line is not told apart from noise. The cut is an earlier one than the tables': parts are chosen there."
)

STYLE = """
:root { --ink: #1f2937; --pale: #6b7280; --line: #e5e7eb; --strong: #0f766e; --wash: #f0fdfa; }
* { box-sizing: border-box; }
body { margin: 0; background: #f8fafc; color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { margin: 0 0 .4rem; font-size: 2rem; letter-spacing: -.02em; }
h2 { margin: 0 0 1rem; font-size: 1.15rem; }
p { max-width: 46rem; margin: 0 0 1rem; color: var(--pale); }
section, .card { background: white; border: 1px solid var(--line); border-radius: 12px; }
section { margin-top: 1.5rem; padding: 1.5rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem; }
.card { padding: 1.1rem 1.25rem; }
.card b { display: block; color: var(--strong); font-size: 1.9rem; line-height: 1.2; letter-spacing: -.02em; }
.card span { color: var(--pale); font-size: .9rem; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--pale); }
td { white-space: nowrap; }
th:first-child, td:first-child { position: sticky; left: 0; background: white; text-align: left; }
small { font-size: .78em; }
tr.stack td { background: var(--wash); }
td.best { font-weight: 700; color: var(--strong); }
small { color: var(--pale); font-weight: 400; }
section > p { margin: 1.2rem 0 .3rem; font-size: .9rem; }
svg { display: block; width: 100%; height: auto; }
.plot svg { min-width: 44rem; }
section > h2 + p { margin: -.5rem 0 1rem; }
@media (max-width: 600px) {
  main { padding: 1.5rem .75rem 3rem; }
  section { padding: 1rem; }
  h1 { font-size: 1.6rem; }
}
"""


def page(
    blocks: Sequence[Block],
    figures: Mapping[str, Any],
    ablations: Mapping[str, Any] = NONE,
    households: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The whole page; `ablations` are figures too, shown with what they mean."""
    first = blocks[0].cut  # the pool of most cuts, or the latest cut: as in the plots
    cards = "".join(_card(block) for block in blocks if block.cut == first)
    tables = "".join(_section(block) for block in blocks)
    plots = "".join(f"<section>{_plot(figure)}</section>" for figure in figures.values())
    parts = "".join(
        f"<section><h2>What each part brings</h2><p>{escape(ABLATION_NOTE)}</p>{_plot(figure)}</section>\n"
        for figure in ablations.values()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Endcap: quality</title><style>{STYLE}{HOUSEHOLDS}</style></head><body><main>\n"
        f"<h1>Quality of the recommendations</h1><p>{escape(HOW_TO_READ)}</p>\n"
        f"<p>{escape(CTR_NOTE)}</p><p>{escape(MORE_NOTE)}</p>\n"
        f"<p>Cards and plots: {escape(cut_name(first))}.</p>\n"
        f'<div class="cards">{cards}</div>\n{plots}\n{tables}\n'
        f"{parts}{households_section(households)}</main></body></html>\n"
    )


def _card(block: Block) -> str:
    """Headline of a task: the stack's recall@10 and its lifts over the first two baselines."""
    row = next((row for row in block.rows if row[0] == MODEL_NAMES["stack"]), block.rows[0])
    value, _, interval = row[1].partition(" ")
    over = "".join(
        f"<br>{escape(lift[1])} over {escape(lift[0].partition(' over ')[2])}" for lift in block.lifts[:2]
    )
    name = escape(block.title.partition(",")[0])
    below = f"<span>{escape(interval)}{over}</span>"
    return f'<div class="card"><span>{name}, recall@10</span><b>{escape(value)}</b>{below}</div>'


def _section(block: Block) -> str:
    rows = "".join(_row(block, place) for place in range(len(block.rows)))
    more = _table(block.more_header, _plain(block.more)) if block.more else ""
    lifts = _plain(block.lifts)
    below = f"<p>{escape(LIFT_NOTE)}</p>{_table(block.lift_header, lifts)}" if lifts else ""
    return f"<section><h2>{escape(block.title)}</h2>{_table(HEADER, rows)}{more}{below}</section>\n"


def _plain(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a table in which nothing stands out."""
    return "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{_cell(cell)}</td>' for cell in cells)}</tr>"
        for name, *cells in rows
    )


def _table(header: Sequence[str], rows: str) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(block: Block, place: int) -> str:
    name, *cells = block.rows[place]
    columns = "".join(
        f'<td class="best">{_cell(cell)}</td>' if place in best else f"<td>{_cell(cell)}</td>"
        for cell, best in zip(cells, block.best, strict=True)
    )
    kind = ' class="stack"' if name == MODEL_NAMES["stack"] else ""
    return f"<tr{kind}><td>{escape(name)}</td>{columns}</tr>"


def _cell(cell: str) -> str:
    value, space, interval = cell.partition(" ")
    return f"{escape(value)}{space}<small>{escape(interval)}</small>" if interval else escape(value)


def _plot(figure: Any) -> str:
    """A figure that a narrow screen scrolls rather than shrinks until nobody can read it."""
    return f'<div class="wide plot">{svg(figure)}</div>'


def svg(figure: Any) -> str:
    """A figure as an SVG element, without a word on when and with what; equal figures give equal text."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": "endcap"}):
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    _, tag, rest = text.getvalue().partition("<svg")  # without the XML declaration
    return tag + rest
