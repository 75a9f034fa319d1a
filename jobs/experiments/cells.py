"""Parts of the tables of an experiment's page: cells of text, rows, groups, and what stands in them.

In: `Results` and its records. Out: `Cell`, `Row`, `Group` and `Table`, from which `tables.py` makes tables.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bentos.experiments import METRICS
from jobs.experiments.results import Record, Results, known, lift_text, p_text


class Cell(NamedTuple):
    """A figure, what is said of it in small (an interval, a p value), and whether it is better or worse."""

    text: str
    note: str = ""
    mark: str = ""


class Row(NamedTuple):
    """Its name, then one cell a column."""

    name: str
    cells: tuple[Cell, ...]


class Group(NamedTuple):
    """Rows under a title of their own; no title where the table has but one group."""

    title: str
    note: str
    rows: tuple[Row, ...]


class Table(NamedTuple):
    """What is shown; the header names the column of names first."""

    header: tuple[str, ...]
    groups: tuple[Group, ...]


def plain(header: Sequence[str], rows: Iterable[Row]) -> Table | None:
    """A table of one group; None of no rows."""
    kept = tuple(rows)
    return Table(tuple(header), (Group("", "", kept),)) if kept else None


def arm_name(results: Results, arm: str) -> str:
    """The arm, and whether it is the control."""
    return f"{arm} (control)" if arm == results.experiment.control else arm


def title(metric: str) -> str:
    """What the metric is, and its name in the experiment file."""
    return f"{METRICS[metric].title} ({metric})"


def remarks(results: Results, metric: str) -> str:
    """Its part in the decision, and which way is better where that is down."""
    primary = ["primary"] if metric == results.experiment.primary else []
    turn = "fall" if METRICS[metric].more_is_better else "rise"
    guards = [
        f"guardrail: may {turn} by {100 * each.worst:,.4g} % at most"
        for each in results.experiment.guardrails
        if each.metric == metric
    ]
    return ", ".join(primary + guards + ([] if METRICS[metric].more_is_better else ["less is better"]))


def lift_cell(record: Record | None, metric: str) -> Cell:
    """A lift with its interval and p values, marked where the interval leaves 0 out."""
    text, interval = lift_text(record)
    if record is None:
        return Cell(text)
    said = [f"p {p_text(record['p_value'])}"] if known(record.get("p_value")) else []
    said += [f"adjusted {p_text(record['p_adjusted'])}"] if known(record.get("p_adjusted")) else []
    return Cell(text, "; ".join(filter(None, (interval, ", ".join(said)))), mark_of(record, metric))


def mark_of(record: Record, metric: str) -> str:
    """Better, worse, or nothing where the interval holds 0."""
    low, high = record.get("low"), record.get("high")
    if known(low) and low > 0:
        return "better" if METRICS[metric].more_is_better else "worse"
    if known(high) and high < 0:
        return "worse" if METRICS[metric].more_is_better else "better"
    return ""


def stage_cell(counts: dict[str, float], stage: str) -> Cell:
    """A count, and how many that is for each answer."""
    if stage not in counts:
        return Cell("-")
    answers = counts.get("answers")
    note = f"{counts[stage] / answers:.3g} per answer" if answers and stage != "answers" else ""
    return Cell(f"{counts[stage]:,.0f}", note)
