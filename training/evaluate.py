"""Evaluate a release at its cut: every model, both tasks, 95 % intervals over users.

In: a release and the point-in-time rows of the cut. Out: tidy records (DESIGN, reports), among them
the stack's lift over each baseline from paired resamples of the same users.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.candidates import TASKS
from bentos.release import Release
from training.fit import Instant, Sources
from training.intervals import bootstrap_interval, paired_lift
from training.metrics import METRICS, Truth, calc_per_user, coverage
from training.rankings import TestShoppers, ranked_lists, test_shoppers
from training.split import Split

Record = dict[str, Any]
Report = Callable[[str], None]
PerUser = dict[str, NDArray[np.float64]]

LIFTED = ("recall@10", "recall@20", "recall@100", "ndcg@10")
COVERAGE_CUTOFF = 10


def truth_of(shoppers: TestShoppers) -> Truth:
    """What the test's shoppers bought, weighed by what they paid (returns of money count as nothing)."""
    sizes = [len(bought) for bought in shoppers.bought]
    return Truth.from_pairs(
        len(sizes),
        users=np.repeat(np.arange(len(sizes)), sizes),
        items=np.concatenate(shoppers.bought),
        weights=np.maximum(np.concatenate(shoppers.revenue), 0.0),
    )


def model_records(per_user: PerUser, lists: NDArray[np.int32], n_items: int, tags: Record) -> list[Record]:
    """One record per metric of one model, with its interval; coverage has none."""
    records = []
    for metric, values in per_user.items():
        interval = bootstrap_interval(values)
        records.append({"report": "quality", "metric": metric, **interval._asdict(), "unit": "share", **tags})
    share = coverage(lists, COVERAGE_CUTOFF, n_items)
    label = f"coverage@{COVERAGE_CUTOFF}"
    return [*records, {"report": "quality", "metric": label, "value": share, "unit": "share", **tags}]


def lift_records(stack: PerUser, baseline: PerUser, tags: Record) -> list[Record]:
    """The stack's relative lift over one baseline, paired over users."""
    return [
        {
            "report": "quality",
            "metric": metric,
            **paired_lift(stack[metric], baseline[metric])._asdict(),
            "unit": "relative lift",
            **tags,
        }
        for metric in LIFTED
    ]


def task_records(
    sources: Sources,
    split: Split,
    instant: Instant,
    release: Release,
    task: str,
    report: Report,
    threads: int,
) -> list[Record]:
    """All records of one task."""
    purchases = sources.warehouse.purchases(split.test)
    ever_bought = sources.warehouse.ever_bought(split.test.instant)
    shoppers = test_shoppers(instant, purchases, ever_bought, split.test.instant, task)
    if not shoppers.shoppers:
        raise ValueError(
            f"Nobody bought anything in weeks {split.test.first}-{split.test.last}; lower the cut"
        )
    truth = truth_of(shoppers)
    records, per_user = [], {}
    for model, lists in ranked_lists(instant, release, shoppers.shoppers, task, threads=threads).items():
        per_user[model] = calc_per_user(lists, truth, METRICS)
        tags = {"task": task, "model": model, "cut": split.cut, "users": len(shoppers.shoppers)}
        records += model_records(per_user[model], lists, len(release.catalogue.item_ids), tags)
        report(f"{task:<8} {model:<12} recall@10 {per_user[model]['recall@10'].mean():.4f}")
    for baseline in ("segment", "top_sellers", "buy_again", "two_tower"):
        tags = {"task": task, "model": "stack", "versus": baseline, "cut": split.cut}
        records += lift_records(per_user["stack"], per_user[baseline], tags)
    return records


def evaluation_records(
    sources: Sources, split: Split, instant: Instant, release: Release, report: Report, *, threads: int = 1
) -> list[Record]:
    """Tidy records of every model and task at one cut."""
    return [
        record
        for task in TASKS
        for record in task_records(sources, split, instant, release, task, report, threads)
    ]
