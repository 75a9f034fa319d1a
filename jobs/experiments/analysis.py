"""From sums per user to tidy records: levels, lifts and how sure they are.

In: `per_user` of `outcomes.py`, the Ibis table or a frame of it. Out: records, one number each, for
`reports/experiment_<name>.json`; numbers that are not defined or not bounded are None. Lifts are relative, of
an arm over the control, with 95 % intervals, by up to three methods:

- `fixed`: valid if looked at once, at the planned end.
- `cuped`: the same less what the pre-period foretold of each user: narrower where the past tells the future,
  and as right, since no arm could change the past.
- `sequential`: valid at every look; computed elsewhere and passed in.

    analyse(per_user(*tables, experiment, pre=transactions).to_pandas(), experiment)
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ibis
import tea_tasting as tt
from ibis.expr.types import Table
from tea_tasting.aggr import Aggregates
from tea_tasting.experiment import ExperimentResult

from bentos.experiments import METRICS, Experiment
from jobs.experiments.lifts import COVARIATES, Figure, aggregates, level, lift, sample_ratio
from jobs.experiments.outcomes import PERCENTILES, PRE_SUMS, STAGES

Record = dict[str, Any]
LIFT = "relative lift"


class AlwaysValid(NamedTuple):
    """A sequential test of a lift at its last look: bounds of the relative lift (infinite: none), p value."""

    low: float
    high: float
    p_value: float


class AnalysisError(ValueError):
    """The sums do not fit the experiment; the message names the value."""


def analyse(
    per_user: Any, experiment: Experiment, *, sequential: Mapping[tuple[str, str], AlwaysValid] | None = None
) -> list[Record]:
    """What the sums say: the check of the assignment, users, levels, lifts.

    Parameters
    ----------
    per_user
        One row per user, as an Ibis table or a frame (pandas, Arrow): `arm` and the sums of METRICS. With
        PRE_SUMS there are lifts by CUPED too; with `segment`, lifts of the primary metric in each. A table is
        queried several times: of a long log, `cache` it or pass its frame.
    sequential
        Always-valid results by (arm, metric).

    Adjusted p values (`p_adjusted`): the primary metric by Holm over the treatments, if there are several;
    all others but the guardrails by Holm over treatments and metrics, each method by itself; segments by
    Benjamini and Hochberg. Guardrails have none: their question is whether something got worse, and an
    adjustment would let more pass. AnalysisError for an arm that the experiment does not have.
    """
    table = per_user if isinstance(per_user, Table) else ibis.memtable(per_user)
    arms, users = aggregates(table), _users(table)
    if strangers := users.keys() - experiment.arms.keys():
        known = ", ".join(experiment.arms)
        raise AnalysisError(
            f"{experiment.name} has no arm {min(strangers)!r} but {known}: is it another's log?"
        )
    lifts = list(_lifts(arms, experiment, cuped=set(PRE_SUMS) <= set(table.columns)))
    lifts += _always_valid(lifts, sequential or {})
    records: list[Record] = [
        {"metric": "srm", "value": _number(sample_ratio(users, experiment)), "unit": "p"},
        *(
            {"metric": "users", "arm": arm, "value": users.get(arm, 0), "unit": "users"}
            for arm in experiment.arms
        ),
        *_levels(arms, experiment),
        *_adjusted(lifts, experiment),
    ]
    if "segment" in table.columns:
        records += _segments(aggregates(table, by_segment=True), experiment)
    return _tagged(records, experiment)


def log_records(rejected: Table, funnel: Table, latency: Table, experiment: Experiment) -> list[Record]:
    """Records of the three small tables of `attribution.py` and `outcomes.py`."""
    records = [
        {"metric": "rejected", "reason": row["reason"], "value": row["value"], "unit": "rows"}
        for row in rejected.to_pyarrow().to_pylist()
    ]
    records += [
        {"metric": "funnel", "arm": row["arm"], "stage": stage, "value": row[stage], "unit": "rows"}
        for row in funnel.to_pyarrow().to_pylist()
        for stage in STAGES
    ]
    records += [
        {"metric": f"latency_ms_p{p}", "arm": row["arm"], "value": row[f"p{p}"], "unit": "ms"}
        for row in latency.to_pyarrow().to_pylist()
        for p in PERCENTILES
    ]
    return _tagged(records, experiment)


def _users(per_user: Table) -> dict[str, int]:
    """Users by arm."""
    rows = per_user.group_by("arm").aggregate(users=per_user.count()).to_pyarrow().to_pylist()
    return {row["arm"]: row["users"] for row in rows}


def _levels(arms: Mapping[str, Aggregates], experiment: Experiment) -> Iterator[Record]:
    """Levels of every metric in the arms that have users; a level has no p value."""
    for name, metric in METRICS.items():
        for arm in experiment.arms:
            if arm in arms:
                figure = level(arms[arm], metric)
                tags = {"metric": name, "arm": arm, "unit": metric.unit, "users": arms[arm].count()}
                numbers = {key: value for key, value in _numbers(figure).items() if key != "p_value"}
                yield {**tags, **numbers}


def _lifts(arms: Mapping[str, Aggregates], experiment: Experiment, *, cuped: bool) -> Iterator[Record]:
    """Lifts of every metric by the fixed test, and by CUPED where the metric has a covariate."""
    for metric in METRICS:
        methods = ("fixed", "cuped") if cuped and metric in COVARIATES else ("fixed",)
        for method in methods:
            yield from _lifts_of(metric, method, arms, experiment)


def _lifts_of(
    metric: str, method: str, arms: Mapping[str, Aggregates], experiment: Experiment
) -> Iterator[Record]:
    """Lifts of one metric over the control in the arms that have users.

    No CUPED where there was no past, nor where the metric is 0: less a forecast, 0 is something else.
    """
    control, needed = arms.get(experiment.control), ("pre_baskets", METRICS[metric].numerator)
    for arm in experiment.treatments:
        treatment = arms.get(arm)
        if control is None or treatment is None:
            continue
        if method == "cuped" and not all(each.mean(name) for each in (control, treatment) for name in needed):
            continue
        yield {
            "metric": metric,
            "arm": arm,
            "versus": experiment.control,
            "method": method,
            "unit": LIFT,
            "users": control.count() + treatment.count(),
            **_numbers(lift(control, treatment, METRICS[metric], cuped=method == "cuped")),
        }


def _always_valid(lifts: Sequence[Record], given: Mapping[tuple[str, str], AlwaysValid]) -> list[Record]:
    """The fixed lifts again, with the sequential bounds and p value where there are any."""
    return [
        {**lift_, "method": "sequential", **_numbers(Figure(lift_["value"], *found))}
        for lift_ in lifts
        if lift_["method"] == "fixed" and (found := given.get((lift_["arm"], lift_["metric"])))
    ]


def _adjusted(lifts: Iterable[Record], experiment: Experiment) -> list[Record]:
    """Lifts with adjusted p values, by family."""
    guarded = {each.metric for each in experiment.guardrails}
    several = len(experiment.treatments) > 1
    families: dict[Any, list[Record]] = {}
    for each in lifts:
        if each["metric"] == experiment.primary:
            family = ("primary", each["method"]) if several else None
        else:
            family = ("others", each["method"]) if each["metric"] not in guarded else None
        families.setdefault(family, []).append(each)
    alone = families.pop(None, [])
    return [*alone, *(each for family in families.values() for each in _adjust(family, _holm))]


def _segments(cells: Mapping[tuple[str, str], Aggregates], experiment: Experiment) -> list[Record]:
    """Lifts of the primary metric in each segment."""
    found = [
        {**each, "segment": segment}
        for segment in sorted({segment for _, segment in cells})
        for each in _lifts_of(
            experiment.primary,
            "fixed",
            {arm: cell for (arm, of), cell in cells.items() if of == segment},
            experiment,
        )
    ]
    return _adjust(found, tt.adjust_fdr)


def _holm(results: Mapping[object, ExperimentResult]) -> Any:
    """Holm 1979, under any dependence."""
    return tt.adjust_fwer(results, arbitrary_dependence=True, method="bonferroni")


def _adjust(family: Sequence[Record], by: Callable[..., Any]) -> list[Record]:
    """A family of lifts with `p_adjusted`; who has no p value has none of these either."""
    tests = {
        place: ExperimentResult({"lift": {"pvalue": each["p_value"]}})
        for place, each in enumerate(family)
        if each["p_value"] is not None
    }
    found = by(tests) if tests else {}
    return [
        {**each, "p_adjusted": float(found[place]["lift"]["pvalue_adj"])} if place in found else each
        for place, each in enumerate(family)
    ]


def _numbers(figure: Figure) -> Record:
    """A figure's numbers as a record has them."""
    return {name: _number(value) for name, value in figure._asdict().items()}


def _number(value: float | None) -> float | None:
    """None for what is not defined or not bounded, as JSON has no other word for it."""
    return float(value) if value is not None and math.isfinite(value) else None


def _tagged(records: Iterable[Record], experiment: Experiment) -> list[Record]:
    return [{"report": "experiment", "experiment": experiment.name, **each} for each in records]
