"""Figures of an ablation: tidy records (DESIGN, reports) and what a terminal shows of them.

In: values per shopper of the whole stack and of each variant. Out: one record a number:

    {"report": "ablations", "metric": "recall@10", "value": -0.02, "low": -0.03, "high": -0.01,
     "unit": "relative lift", "task": "all", "model": "no_lifts", "versus": "stack", "cut": 43,
     "kind": "features", "says": "ranker without lifts"}

A record without `versus` is the variant's own figure.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

import pandas as pd

from bentos.candidates import TASKS
from training.ablations.variants import WHOLE, Variant
from training.intervals import Interval, bootstrap_interval, paired_lift
from training.quality_records import LIFTED, Record


def ablation_records(
    found: Sequence[Variant], values: Mapping[str, pd.DataFrame], *, cut: int
) -> list[Record]:
    """Figures of each variant, and its lift over the whole stack; ValueError where shoppers differ."""
    records = []
    for variant in found:
        tags = {"cut": cut, "kind": variant.kind, "says": variant.says}
        for task in TASKS:
            mine, whole = (of_task(values[name], task) for name in (variant.name, WHOLE))
            if mine["user_id"].tolist() != whole["user_id"].tolist():
                raise ValueError(
                    f"{variant.name} was measured on other shoppers than the whole stack (task {task}); "
                    "remove its values in state/training and measure again"
                )
            for metric in LIFTED:
                theirs, base = mine[metric].to_numpy(), whole[metric].to_numpy()
                figure = {"task": task, "model": variant.name, **tags}
                records.append(record(metric, bootstrap_interval(theirs), "share", **figure))
                if variant.name != WHOLE:
                    lift = paired_lift(theirs, base)
                    records.append(record(metric, lift, "relative lift", **figure, versus=WHOLE))
    return records


def of_task(values: pd.DataFrame, task: str) -> pd.DataFrame:
    """Rows of one task, by shopper."""
    return values[values["task"] == task].sort_values("user_id", ignore_index=True)


def record(metric: str, interval: Interval, unit: str, **tags: Any) -> Record:
    """One number with its interval."""
    return {"report": "ablations", "metric": metric, **interval._asdict(), "unit": unit, **tags}


def lines(records: Iterable[Record]) -> str:
    """A block per task: the whole stack's figures, then a row per variant with lifts in per cent."""
    kept = list(records)
    return "\n\n".join(
        block(task, [r for r in kept if r["task"] == task])
        for task in TASKS
        if any(r["task"] == task for r in kept)
    )


def block(task: str, records: Sequence[Record]) -> str:
    """One task's figures as text."""
    whole = {r["metric"]: r["value"] for r in records if r["model"] == WHOLE and "versus" not in r}
    rows = [["lift over the whole stack", *LIFTED]]
    rows.append([WHOLE, *(f"{whole[metric]:.4f}" for metric in LIFTED)])
    lifts = [r for r in records if r.get("versus")]
    for says in dict.fromkeys(r["says"] for r in lifts):
        by_metric = {r["metric"]: r for r in lifts if r["says"] == says}
        rows.append([says, *(lift_cell(by_metric[metric]) for metric in LIFTED)])
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([task, *(line.rstrip() for line in text)])


def lift_cell(found: Record) -> str:
    """A lift with its interval, in per cent: "-2.1 [-3.4, -0.9]"."""
    if not isfinite(found["value"]):
        return "undefined"
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * found[key] for key in ("value", "low", "high")))
