"""Tables of an experiment's page, as cells of text: users, metrics, segments, funnel, latency and more.

In: `Results`. Out: a `Table`, or None where there is nothing to show. How it looks stands in `page.py`.
"""

from typing import Any

from bentos.experiments import METRICS
from jobs.experiments.cells import (
    Cell,
    Group,
    Row,
    Table,
    arm_name,
    lift_cell,
    plain,
    remarks,
    stage_cell,
    title,
)
from jobs.experiments.results import (
    METHODS,
    QUANTILES,
    SIDE_BY_SIDE,
    STAGES,
    Record,
    Results,
    known,
    level_text,
    told,
)

ESTIMATORS = {  # of what another policy would have earned, as the page names them
    "ips": "importance sampling",
    "snips": "self-normalised",
    "clipped": "clipped weights",
    "dm": "direct method",
    "dr": "doubly robust",
}


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


def side_by_side(results: Results) -> Table | None:
    """Arms on the same trips, by metric: the level of each, and its lift over each of the others."""
    there = {record.get("versus") for record in results.of(method=SIDE_BY_SIDE)}
    others = [arm for arm in results.arms if arm in there]
    groups = []
    for metric in METRICS:
        rows = []
        for arm in results.arms:
            if level := results.side_by_side(metric, arm):
                lifts = (results.side_by_side(metric, arm, other) for other in others)
                cells = (Cell(*level_text(level, metric)), *(lift_cell(lift, metric) for lift in lifts))
                rows.append(Row(arm_name(results, arm), cells))
        if rows:
            groups.append(Group(title(metric), "", tuple(rows)))
    header = ("arm", "level", *(f"lift over {other}" for other in others))
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


def methods_of(results: Results, *, segmented: bool) -> list[str]:
    """Methods by which any lift is given, in the order of METHODS."""
    found: set[Any] = {
        record.get("method")
        for record in results.records
        if record.get("versus") and (record.get("segment") is not None) == segmented
    }
    return [method for method in METHODS if method in found]
