"""The monitor's page of one day: one HTML file, styles and plots inside, no script, nothing fetched.

In: the day's alerts by section, plots by section. Out: the page's text.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from html import escape
from typing import Any

from jobs.monitor.alerts import FAIL, LEVELS, OK, WARN, Alert, worst
from training.quality_page import STYLE as HOUSE_STYLE
from training.quality_page import svg

STYLE = """
.band { padding: 1.4rem 1.5rem; border-radius: 12px; color: white; background: #0f766e; }
.band.warn { background: #b45309; } .band.fail { background: #be123c; }
.band p, .band h1 { color: inherit; margin: 0; }
td.level { font-weight: 700; } td.ok { color: #0f766e; }
td.warn { color: #b45309; } td.fail { color: #be123c; }
td { white-space: normal; } td, th { text-align: left; }
section > .plot { margin-top: 1.2rem; }
summary { cursor: pointer; color: var(--pale); }
"""
WORDS = {OK: "In order", WARN: "Worth a look", FAIL: "Broken"}
HEADS = {
    "data": (
        "The day's rows",
        "Against the same weekdays of the eight weeks before; the band is what is in order.",
    ),
    "features": (
        "Features",
        "As of the day's end, against a week before and against what rankers learnt from; and as answers read"
        " them, against the tables. PSI below .1 is no change, above .25 a shift.",
    ),
    "served": ("What was served", "Answers of the day, from the log of exposures."),
    "parity": (
        "Served and trained on",
        "What answers read, recomputed offline: equal to the last bit, or named.",
    ),
}


def page(day: date, alerts: Sequence[Alert], figures: Mapping[str, Sequence[Any]]) -> str:
    """The whole page."""
    sections = [section(name, [each for each in alerts if each.section == name], figures) for name in HEADS]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Endcap: {day}</title><style>{HOUSE_STYLE}{STYLE}</style></head><body><main>\n"
        f"{band(day, alerts)}\n{''.join(sections)}</main></body></html>\n"
    )


def band(day: date, alerts: Sequence[Alert]) -> str:
    """The worst level, and how many of each."""
    level = worst(alerts)
    counts = ", ".join(f"{sum(each.level == name for each in alerts)} {name}" for name in reversed(LEVELS))
    return (
        f'<header class="band {level}"><p>{day:%A}, {day}</p><h1>{WORDS[level]}</h1><p>{counts}</p></header>'
    )


def section(name: str, alerts: Sequence[Alert], figures: Mapping[str, Sequence[Any]]) -> str:
    """What is not ok in a table, the plots, and what is ok folded away; nothing where there is nothing."""
    if not alerts:
        return ""
    head, note = HEADS[name]
    odd = sorted((a for a in alerts if a.level != OK), key=lambda a: -LEVELS.index(a.level))
    fine = [each for each in alerts if each.level == OK]
    drawn = "".join(f'<div class="wide plot">{svg(figure)}</div>' for figure in figures.get(name, ()))
    shown = table(odd) if odd else "<p><strong>Nothing to see.</strong></p>"
    folded = f"<details><summary>{len(fine)} in order</summary>{table(fine)}</details>" if fine else ""
    return f"<section><h2>{escape(head)}</h2><p>{escape(note)}</p>{shown}{drawn}{folded}</section>\n"


def table(alerts: Sequence[Alert]) -> str:
    """A row for each alert."""
    rows = "".join(
        f'<tr><td class="level {each.level}">{each.level}</td><td>{escape(each.name)}</td>'
        f"<td>{escape(each.about)}</td><td>{escape(each.text)}</td></tr>"
        for each in alerts
    )
    head = "<thead><tr><th>level</th><th>what</th><th>of</th><th>found</th></tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>{rows}</tbody></table></div>'
