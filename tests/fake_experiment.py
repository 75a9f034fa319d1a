"""Records of experiments that never ran, as the analysis writes them: numbers of a size that shops see."""

from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from bentos.experiments import METRICS, Experiment
from jobs.experiments.results import Results

LEVELS = {  # metric: level of the control, its half width as a share, and the first treatment's lift
    "ctr": (0.0312, 0.012, 0.106),
    "repeat_ctr": (0.0247, 0.013, 0.141),
    "discover_ctr": (0.0065, 0.028, -0.021),
    "conversion": (0.2216, 0.011, 0.048),
    "slot_revenue": (1.234, 0.021, 0.077),
    "revenue_per_basket": (28.91, 0.014, 0.002),
    "items_per_basket": (8.412, 0.012, -0.001),
    "latency_ms": (12.41, 0.004, 0.183),
    "degraded": (0.0021, 0.15, -0.062),
}
SEGMENTS = ("heavy", "light", "new", "regular")  # as a table that is grouped by them brings them
DAYS = 19


class Verdict(NamedTuple):
    """What the page is told was decided."""

    word: str
    reason: str


def fake_experiment(treatments: int = 1, longer: str = "") -> Experiment:
    """A control and one to nine treatments, their names `longer`; with two guardrails."""
    names = [f"engine{longer}", *(f"engine_hot_{place}{longer}" for place in range(1, treatments))]
    share = 1 / (treatments + 1)
    return Experiment(
        name="engine",
        layer="page",
        arms={"segment": {"share": share, "legacy": "segment"}, **{name: {"share": share} for name in names}},
        control="segment",
        primary="ctr",
        start=datetime(2017, 12, 4, 5, tzinfo=UTC),
        guardrails=({"metric": "latency_ms", "worst": 0.5}, {"metric": "degraded", "worst": 0.1}),
    )


def fake_records(experiment: Experiment, seed: int = 0) -> list[dict[str, Any]]:
    """Every kind of record, of every arm; numbers are drawn around those of LEVELS."""
    rng = np.random.default_rng(seed)
    rows = [*side_by_side(experiment, rng), *of_arms(experiment, rng), {"metric": "srm", "value": 0.4317}]
    for place, arm in enumerate(experiment.treatments):
        scale = 1 - 0.35 * place
        rows += by_day(
            arm, scale, rng
        )  # before the lifts of all days, so that order is not what tells them apart
        rows += [row for metric in LEVELS for row in lifts(metric, arm, scale, rng)]
        rows += [
            {**row, "segment": segment, "users": 5_000 - 700 * at, "p_adjusted": min(1.0, 4 * row["p_value"])}
            for at, segment in enumerate(SEGMENTS)
            for row in lifts("ctr", arm, scale * (1.4 - 0.3 * at), rng, width=2.0)
            if row["method"] != "sequential"
        ]
    rows += [
        {"metric": "rejected", "reason": reason, "value": value}
        for reason, value in (("before its exposure", 12), ("after the window", 1_431), ("duplicate", 87))
    ]
    rows += off_policy(experiment.treatments[0])
    return [{"report": "experiment", "experiment": experiment.name, **row} for row in rows]


def fake_results(treatments: int = 2, longer: str = "") -> Results:
    """An experiment with every kind of record."""
    experiment = fake_experiment(treatments, longer)
    return Results(experiment, tuple(fake_records(experiment)))


def of_arms(experiment: Experiment, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Levels, users, funnel and latency of each arm."""
    rows = []
    for place, arm in enumerate(experiment.arms):
        users = int(rng.integers(10_000, 10_300))
        for metric, (level, width, lift) in LEVELS.items():
            value = level * (1 + lift * (1 - 0.35 * (place - 1)) * (place > 0))
            ends = {"low": value * (1 - width), "high": value * (1 + width)}
            rows.append({"metric": metric, "arm": arm, "value": value, **ends, "unit": METRICS[metric].unit,
                         "users": users})  # fmt: skip
        rows.append({"metric": "users", "arm": arm, "value": users})
        answers = 4 * users
        counts = answers, 10 * answers, round(0.31 * answers * (1 + 0.1 * place)), round(0.22 * answers)
        rows += [
            {"metric": "funnel", "arm": arm, "stage": stage, "value": count}
            for stage, count in zip(("answers", "slots", "clicks", "bought"), counts, strict=True)
        ]
        rows += [
            {"metric": f"latency_ms_{name}", "arm": arm, "value": value * (1 + 0.2 * place)}
            for name, value in (("p50", 11.93), ("p95", 19.37), ("p99", 41.28))
        ]
    return rows


def lifts(
    metric: str, arm: str, scale: float, rng: np.random.Generator, width: float = 1.0
) -> list[dict[str, Any]]:
    """Lifts of an arm by each method; with CUPED narrower, always valid wider."""
    _, half, lift = LEVELS[metric]
    rows = []
    for method, factor in (("fixed", 1.4), ("cuped", 1.0), ("sequential", 2.1)):
        value = lift * scale + float(rng.normal(0, 0.2 * half))
        reach = width * half * 1.4 * factor
        rows.append({"metric": metric, "arm": arm, "versus": "segment", "method": method, "value": value,
                     "low": value - reach, "high": value + reach, "unit": "relative lift",
                     "p_value": float(np.exp(-2 * (value / reach) ** 2)), "users": 20_310})  # fmt: skip
    return [{**row, "p_adjusted": min(1.0, 3 * row["p_value"])} if row["method"] != "sequential" else row
            for row in rows]  # fmt: skip


def by_day(arm: str, scale: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Lift of the primary up to each day; on the first nothing is known, on the second little."""
    rows = []
    for place in range(DAYS):
        value = 0.106 * scale + float(rng.normal(0, 0.08 / (place + 1)))
        reach = 0.6 / (place + 1)
        ends = {"low": None, "high": None} if place == 0 else {"low": value - reach, "high": value + reach}
        day = (date(2017, 12, 4) + timedelta(days=place)).isoformat()
        rows.append({"metric": "ctr", "arm": arm, "versus": "segment", "method": "sequential", "day": day,
                     "value": value, **ends, "unit": "relative lift"})  # fmt: skip
    return rows


def side_by_side(experiment: Experiment, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Levels on the same trips, which differ from those of the arms' users, and lifts over all other arms."""
    rows = []
    for metric in ("slot_revenue", "ctr"):
        levels = {arm: LEVELS[metric][0] * float(rng.uniform(1.1, 1.6)) for arm in experiment.arms}
        for arm, level in levels.items():
            row = {"metric": metric, "arm": arm, "method": "side by side"}
            rows.append({**row, "value": level, "low": 0.98 * level, "high": 1.03 * level})
            for other in sorted(set(levels) - {arm}) if arm != experiment.control else ():
                lift = level / levels[other] - 1
                rows.append({**row, "versus": other, "value": lift, "low": lift - 0.01, "high": lift + 0.02})
    return rows


def off_policy(arm: str) -> list[dict[str, Any]]:
    """What an arm that explores earned, and what the greedy policy would have, by each estimator."""
    return [
        {"metric": "off_policy", "arm": arm, "policy": f"{arm}, {name}", "method": method,
         "value": 0.0912 + 0.001 * place, "low": 0.081 + 0.001 * place, "high": 0.102 + 0.001 * place,
         "ess": 812.4 + place, "unit": "clicks of drawn slots per answer"}
        for place, (name, method) in enumerate(
            product(("as served", "greedy"), ("ips", "snips", "clipped", "dm", "dr")))
    ]  # fmt: skip
