"""An experiment in a terminal: the verdict, then arms by metrics with their lifts, at most 110 columns wide.

In: the experiment, its records (`results.py`) and the verdict. Out: text.

    endcap experiment report engine
"""

from collections.abc import Iterable
from textwrap import wrap
from typing import Protocol

from bentos.experiments import METRICS, Experiment
from jobs.experiments.page_text import REPLAY_NOTE
from jobs.experiments.results import (
    MISSING,
    Record,
    Results,
    in_words,
    known,
    level_text,
    lift_text,
    p_text,
    shortened,
)
from training.quality_report import aligned

WIDTH = 110
SAME_TRIPS = "Side by side on the same trips, each shown to testers of every arm, so nobody is assigned:"
SHORTEST = 4  # letters of an arm's name that are left where the figures are wide


class Verdict(Protocol):
    """What was decided."""

    @property
    def word(self) -> str:
        """One of: ship, stop, keep running, invalid."""

    @property
    def reason(self) -> str:
        """A sentence."""


def summary(
    experiment: Experiment, records: Iterable[Record], verdict: Verdict, *, replay: bool = False
) -> str:
    """Verdict and reason, who took part, and a row for each metric and arm; ResultsError as for `Results`."""
    results = Results(experiment, tuple(records))
    parts = [
        f"{verdict.word.upper()}: {verdict.reason}",
        f"A replay. {REPLAY_NOTE}" if replay else "",
        shared_out(results),
        "\n".join(table(results)),
        "\n".join(same_trips(results)),
        turned_away(results),
    ]
    lines = [line for part in parts if part for line in (*part.split("\n"), "")]
    return "\n".join(
        short for line in lines for short in (wrap(line, WIDTH) if len(line) > WIDTH else [line])
    )


def shared_out(results: Results) -> str:
    """Users of each arm, and the p value of their shares."""
    found, srm = results.users(), results.one(metric="srm")
    told = ", ".join(f"{found[arm]:,} {arm}" for arm in results.arms if arm in found)
    said = [f"Users: {told}"] if told else []
    return "; ".join(
        said + ([f"as planned (SRM): p {p_text(srm['value'])}"] if srm and known(srm["value"]) else [])
    )


def table(results: Results) -> list[str]:
    """Lines: a row for each metric and arm, and what the columns hold; none without metrics."""
    rows = [
        row
        for metric in results.metrics
        for row in [row_of(results, metric, arm, first=arm == results.arms[0]) for arm in results.arms]
    ]
    if not rows:
        return []
    header = ["metric", "arm", "level", "lift", "always valid", "p"]
    widest = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    room = max(SHORTEST, WIDTH - 2 * (len(header) - 1) - sum(widest) + widest[1])
    cut = [[row[0], shortened(row[1], room), *row[2:]] for row in rows]
    legend = (
        f"*: the primary. Lifts over {results.experiment.control} with 95 % intervals, c: with CUPED. "
        "Always valid: however often one looks. p: of the lift, adjusted where several are compared."
    )
    return [*aligned([header, *cut]), "", legend]


def row_of(results: Results, metric: str, arm: str, *, first: bool) -> list[str]:
    """A metric in an arm; its name stands in the first row only."""
    lift, valid = results.best_lift(metric, arm), results.lift(metric, arm, "sequential")
    level, _ = level_text(results.level(metric, arm), metric)
    unit = " ms" if METRICS[metric].unit == "ms" and level != MISSING else ""
    control = arm == results.experiment.control
    cells = [
        "" if control and not each else " ".join(filter(None, lift_text(each))) for each in (lift, valid)
    ]
    if lift and lift["method"] == "cuped":
        cells[0] += " c"
    p = next((lift[key] for key in ("p_adjusted", "p_value") if lift and known(lift.get(key))), None)
    named = f"{metric} *" if metric == results.experiment.primary else metric
    return [named if first else "", arm, level + unit, *cells, "" if control and not lift else p_text(p)]


def same_trips(results: Results) -> list[str]:
    """Lines: of each metric side by side, the lifts of the treatment that is highest over every other arm."""
    lines = []
    for metric in METRICS:
        found = {arm: results.side_by_side(metric, arm) for arm in results.experiment.treatments}
        levels = {arm: r["value"] for arm, r in found.items() if r and known(r["value"])}
        best = max(levels, key=lambda arm: levels[arm], default="")
        lifts = {other: results.side_by_side(metric, best, other) for other in results.arms}
        over = [f"over {arm} {' '.join(lift_text(lift, in_words))}" for arm, lift in lifts.items() if lift]
        if over:
            lines.append(f"{metric} of {best} {', '.join(over)}")
    return [SAME_TRIPS, *lines] if lines else []


def turned_away(results: Results) -> str:
    """How many outcomes, answers and users are left out, by reason."""
    found = sorted(results.of(metric="rejected"), key=lambda record: -record["value"])
    counts = ", ".join(f"{record['value']:,.0f} {record['reason']}" for record in found)
    return f"Left out: {counts}" if found else ""
