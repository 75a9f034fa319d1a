"""The report of an experiment as one HTML file: styles and plots inside, no script, nothing fetched.

In: the experiment, its records (`results.py`), the verdict, and whether it is a replay. Out: the page's text.
What has no records is left out.
"""

from collections.abc import Iterable
from html import escape
from typing import Any

from bentos.experiments import METRICS, Experiment
from jobs.experiments import tables
from jobs.experiments.cells import Cell, Group, Row, Table, arm_name
from jobs.experiments.dot_plots import lift_dots, segment_dots
from jobs.experiments.page_text import (
    BY_DAY_NOTE,
    FUNNEL_NOTE,
    HOW_TO_READ,
    LATENCY_NOTE,
    LIFT_NOTE,
    OFF_POLICY_NOTE,
    REJECTED_NOTE,
    REPLAY_NOTE,
    SEGMENT_NOTE,
    SIDE_BY_SIDE_NOTE,
    SRM_NOTE,
    STYLE,
)
from jobs.experiments.plots import funnel_bars, latency_dots, lift_by_day
from jobs.experiments.results import Record, Results, known, level_text, lift_text, p_text
from jobs.experiments.summary import Verdict
from training.quality_page import STYLE as HOUSE_STYLE
from training.quality_page import svg

BANDS = {"ship": "ship", "stop": "stop", "keep running": "run"}  # all else is drawn as invalid


def page(experiment: Experiment, records: Iterable[Record], verdict: Verdict, *, replay: bool = False) -> str:
    """The whole page; ResultsError as for `Results`."""
    results = Results(experiment, tuple(records))
    title = METRICS[experiment.primary].title
    parts = (
        replay_note() if replay else "",
        section("Users of each arm", SRM_NOTE, table=tables.users(results), told=srm_told(results)),
        cards(results),
        section("Lift of each metric", LIFT_NOTE, lift_dots(results), tables.metrics(results)),
        section("Side by side on the same trips", SIDE_BY_SIDE_NOTE, table=tables.side_by_side(results)),
        section(
            f"Lift over time: {title}", BY_DAY_NOTE, lift_by_day(results), tables.days(results), fold=True
        ),
        section("Parts of the users", SEGMENT_NOTE, segment_dots(results), tables.segments(results)),
        section("From answers to purchases", FUNNEL_NOTE, funnel_bars(results), tables.funnel(results)),
        section("Time of an answer", LATENCY_NOTE, latency_dots(results), tables.latency(results)),
        section("What another policy would have earned", OFF_POLICY_NOTE, table=tables.off_policy(results)),
        section("Left out of every figure above", REJECTED_NOTE, table=tables.rejected(results)),
        how_to_read(),
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Endcap: experiment {escape(experiment.name)}</title>"
        f"<style>{HOUSE_STYLE}{STYLE}</style></head><body><main>\n"
        f"{band(experiment, verdict)}\n{''.join(parts)}</main></body></html>\n"
    )


def band(experiment: Experiment, verdict: Verdict) -> str:
    """The verdict in words, its reason, and what was tried on whom."""
    arms = ", ".join(f"{arm} {100 * each.share:.3g} %" for arm, each in experiment.arms.items())
    until = f" to {experiment.end:%Y-%m-%d}" if experiment.end else ""
    said = (
        f"Layer {experiment.layer}, {100 * experiment.ramp:.3g} % of its slice's users: {arms}, "
        f"held against {experiment.control}. From {experiment.start:%Y-%m-%d}{until}, "
        f"outcomes within {experiment.window_hours:g} hours."
    )
    return (
        f'<header class="band {BANDS.get(verdict.word, "invalid")}">'
        f"<p>Experiment {escape(experiment.name)}</p><h1>{escape(verdict.word.capitalize())}</h1>"
        f"<p><strong>{escape(verdict.reason)}</strong></p><p>{escape(said)}</p></header>"
    )


def replay_note() -> str:
    """What a replay is and is not, where nobody can miss it."""
    return f'<aside class="replay"><strong>A replay.</strong> {escape(REPLAY_NOTE)}</aside>\n'


def srm_told(results: Results) -> str:
    """The p value of the check of the arms' users, where there is one."""
    found = results.one(metric="srm")
    return f"Sample ratio mismatch: p {p_text(found['value'])}" if found and known(found["value"]) else ""


def section(
    head: str,
    note: str,
    figure: Any = None,
    table: Table | None = None,
    *,
    told: str = "",
    fold: bool = False,
) -> str:
    """A heading, a note, and of one thing a sentence, the plot and the table; nothing where there is none."""
    if figure is None and table is None and not told:
        return ""
    said = f"<p><strong>{escape(told)}</strong></p>" if told else ""
    drawn = "" if figure is None else plot(figure, head)
    listed = "" if table is None else html_table(table, head)
    if listed and fold:
        listed = f"<details><summary>The numbers</summary>{listed}</details>"
    return f"<section><h2>{escape(head)}</h2><p>{escape(note)}</p>{said}{drawn}{listed}</section>\n"


def plot(figure: Any, head: str) -> str:
    """A figure under a name that is read aloud; a narrow screen scrolls it."""
    name = f"Plot: {head}; its numbers stand in the table below"
    return f'<div class="wide plot" role="img" aria-label="{escape(name)}" tabindex="0">{svg(figure)}</div>'


def cards(results: Results) -> str:
    """The primary metric of each arm: level with interval, and lifts over the control."""
    metric = results.experiment.primary
    found = [card(results, metric, arm) for arm in results.arms if results.level(metric, arm)]
    return f'<div class="cards">{"".join(found)}</div>\n' if found else ""


def card(results: Results, metric: str, arm: str) -> str:
    """One arm's card."""
    value, interval = level_text(results.level(metric, arm), metric)
    lifts = {
        "one look": results.best_lift(metric, arm),
        "always valid": results.lift(metric, arm, "sequential"),
    }
    lines = [interval, *(f"{' '.join(lift_text(r))} {how}" for how, r in lifts.items() if r)]
    below = "<br>".join(escape(line) for line in lines if line)
    head = f"{arm_name(results, arm)}: {METRICS[metric].title}"
    return f'<div class="card"><span>{escape(head)}</span><b>{escape(value)}</b><span>{below}</span></div>'


def html_table(table: Table, name: str) -> str:
    """A table that a narrow screen scrolls; rows and columns have headers."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    bodies = "".join(
        f"<tbody>{group_head(group, len(table.header))}{rows(group)}</tbody>" for group in table.groups
    )
    return (
        f'<div class="wide" role="region" aria-label="Table: {escape(name)}" tabindex="0">'
        f"<table><thead><tr>{head}</tr></thead>{bodies}</table></div>"
    )


def group_head(group: Group, width: int) -> str:
    """A row that names the rows below it."""
    if not group.title:
        return ""
    note = f" <small>{escape(group.note)}</small>" if group.note else ""
    name = f"<span>{escape(group.title)}{note}</span>"
    return f'<tr class="group"><th scope="rowgroup" colspan="{width}">{name}</th></tr>'


def rows(group: Group) -> str:
    """The rows of a group."""
    return "".join(html_row(row) for row in group.rows)


def html_row(row: Row) -> str:
    """A row: its name is a header."""
    return f'<tr><th scope="row">{escape(row.name)}</th>{"".join(map(html_cell, row.cells))}</tr>'


def html_cell(cell: Cell) -> str:
    """A figure, and below it in small what is said of it."""
    note = "".join(f"<br><small>{escape(each)}</small>" for each in cell.note.split("; ") if each)
    mark = f' class="{cell.mark}"' if cell.mark else ""
    return f"<td{mark}>{escape(cell.text)}{note}</td>"


def how_to_read() -> str:
    """What the words of the page mean."""
    told = "".join(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in HOW_TO_READ.items())
    return f'<section class="read"><h2>How to read this</h2><dl>{told}</dl></section>\n'
