"""Tables of an experiment's page, as cells of text: users, metrics, segments, funnel, latency, rejected.

In: `Results`. Out: a `Table`, or None where there is nothing to show. How it looks stands in `page.py`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bentos.experiments import METRICS
from jobs.experiments.results import (
    METHODS,
    QUANTILES,
    STAGES,
    Record,
    Results,
    known,
    level_text,
    lift_text,
    p_text,
    told,
)

ESTIMATORS = {  # of what another policy would have earned, as the page names them
    "ips": "importance sampling",
    "snips": "self-normalised",
    "clipped": "clipped weights",
    "dm": "direct method",
    "dr": "doubly robust",
}


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


def users(results: Results) -> Table | None:
    """Users of each arm against those that its share of all plans; an arm without a record has none."""
    arms = results.experiment.arms
    found = {arm: results.users().get(arm, 0) for arm in results.arms}
    total = sum(found.values())

    def row(arm: str) -> Row:
        planned = arms[arm].share * total
        cells = (
            f"{found[arm]:,}",
            f"{arms[arm].share:.1%}",
            f"{planned:,.1f}",
            f"{found[arm] - planned:+,.1f}",
        )
        return Row(arm_name(results, arm), tuple(map(Cell, cells)))

    header = ("arm", "users", "planned share", "planned users", "difference")
    return plain(header, [row(arm) for arm in results.arms] if total else [])


def metrics(results: Results) -> Table | None:
    """Every metric by arm: its level with a 95 % interval, and its lifts by each method that there is."""
    methods = methods_of(results, segmented=False)
    groups = []
    for metric in results.metrics:
        rows = []
        for arm in results.arms:
            level = results.level(metric, arm)
            lifts = [results.lift(metric, arm, method) for method in methods]
            if level or any(lifts):
                cells = (Cell(*level_text(level, metric)), *(lift_cell(lift, metric) for lift in lifts))
                rows.append(Row(arm_name(results, arm), cells))
        if rows:
            groups.append(Group(title(metric), remarks(results, metric), tuple(rows)))
    header = ("arm", "level", *(f"lift, {METHODS[method]}" for method in methods))
    return Table(header, tuple(groups)) if groups else None


def days(results: Results) -> Table | None:
    """Lift of the primary up to each day: a row for each day, a column for each treatment."""
    metric = results.experiment.primary
    found = {
        arm: {record["day"]: record for record in results.by_day(metric, arm)}
        for arm in results.experiment.treatments
    }
    arms = [arm for arm, lifts in found.items() if lifts]
    rows = (
        Row(day, tuple(lift_cell(found[arm].get(day), metric) for arm in arms))
        for day in sorted({day for lifts in found.values() for day in lifts})
    )
    return plain(("until the end of", *arms), rows)


def segments(results: Results) -> Table | None:
    """Lifts in parts of the users, by metric: a row for each segment and treatment."""
    methods = methods_of(results, segmented=True)
    groups = []
    for metric in results.metrics:
        rows = []
        for segment in results.segments:
            for arm in results.experiment.treatments:
                lifts = [results.lift(metric, arm, method, segment) for method in methods]
                if any(lifts):
                    people = next((r["users"] for r in lifts if r and r.get("users") is not None), None)
                    cells = (Cell(arm), Cell(told(people, ",.0f")), *(lift_cell(r, metric) for r in lifts))
                    rows.append(Row(segment, cells))
        if rows:
            groups.append(Group(title(metric), remarks(results, metric), tuple(rows)))
    header = ("segment", "arm", "users", *(f"lift, {METHODS[method]}" for method in methods))
    return Table(header, tuple(groups)) if groups else None


def funnel(results: Results) -> Table | None:
    """From answers to what was bought: counts by arm, and how many that is for each answer."""
    rows = []
    for arm in results.arms:
        counts = {record["stage"]: record["value"] for record in results.of(metric="funnel", arm=arm)}
        if counts:
            rows.append(Row(arm_name(results, arm), tuple(stage_cell(counts, stage) for stage in STAGES)))
    return plain(("arm", *STAGES), rows)


def latency(results: Results) -> Table | None:
    """Quantiles of the time of an answer, in milliseconds, by arm."""
    rows = []
    for arm in results.arms:
        found = [results.one(metric=f"latency_ms_{quantile}", arm=arm) for quantile in QUANTILES]
        if any(found):
            cells = [Cell(told(record["value"], ",.1f") if record else "-") for record in found]
            rows.append(Row(arm_name(results, arm), tuple(cells)))
    return plain(("arm", *(f"{quantile}, ms" for quantile in QUANTILES)), rows)


def rejected(results: Results) -> Table | None:
    """Outcomes, answers and users that are left out, by reason, most first."""
    found = sorted(results.of(metric="rejected"), key=lambda record: -record["value"])
    return plain(("reason", "count"), [Row(r["reason"], (Cell(f"{r['value']:,.0f}"),)) for r in found])


def off_policy(results: Results) -> Table | None:
    """What other policies would have earned by each estimator."""
    rows = [
        Row(
            record["policy"],
            (
                Cell(str(ESTIMATORS.get(record["method"], record["method"]))),
                Cell(told(record["value"], ".4f"), ends(record)),
                Cell(told(record.get("ess"), ",.0f")),
            ),
        )
        for record in results.of(metric="off_policy")
    ]
    return plain(("policy", "estimator", "reward per answer", "effective answers"), rows)


def ends(record: Record) -> str:
    """The interval of a reward as text."""
    low, high = record.get("low"), record.get("high")
    return f"[{low:.4f}, {high:.4f}]" if known(low) and known(high) else ""


def arm_name(results: Results, arm: str) -> str:
    """The arm, and whether it is the control."""
    return f"{arm} (control)" if arm == results.experiment.control else arm


def title(metric: str) -> str:
    """What the metric is, and its name in the experiment file."""
    return f"{METRICS[metric].title} ({metric})"


def remarks(results: Results, metric: str) -> str:
    """Its part in the decision, and which way is better where that is down."""
    primary = ["primary"] if metric == results.experiment.primary else []
    guards = [
        f"guardrail: at most {each.worst:.3g} of the control's worse"
        for each in results.experiment.guardrails
        if each.metric == metric
    ]
    return ", ".join(primary + guards + ([] if METRICS[metric].more_is_better else ["less is better"]))


def methods_of(results: Results, *, segmented: bool) -> list[str]:
    """Methods by which any lift is given, in the order of METHODS."""
    found: set[Any] = {
        record.get("method")
        for record in results.records
        if record.get("versus") and (record.get("segment") is not None) == segmented
    }
    return [method for method in METHODS if method in found]


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
