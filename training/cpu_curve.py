"""Quality against CPU time: what the request path finds, and takes, with fewer candidates or trees.

In: a release and the point-in-time rows of its cut. Out: tidy records. All settings answer the same shoppers
in turn, so that a busy machine slows them alike. CPU time is that of sources, draw, pair features, ranker,
rules and reasons; HTTP and reading features are not in it. The ranker is the released one: with fewer trees
it is its first ones, not one that was trained to be small, and its candidates were drawn as it is served.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.candidates import SIZE, TASKS, draw, opinions
from bentos.ranking import ranked, slots_of
from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import Floats, Positions
from training.fit import Instant, Sources
from training.held_out import HeldOut, held_out_of
from training.intervals import bootstrap_interval, paired_lift
from training.metrics import Metric, calc_per_user
from training.per_shopper import SLOTS
from training.rankings import shoppers_of
from training.split import Split

Setting = tuple[int, int]  # candidates, trees
Record = dict[str, Any]

SIZES = (100, 200, 400, 700, 980)
TREES = (75, 150, 300)
CUTOFFS = (10, 20, 100)
DEPTH = max(CUTOFFS)


@dataclass(frozen=True)
class Trial:
    """One setting and task: the lists (n_shoppers, DEPTH), -1 where shorter, and each answer's CPU time."""

    task: str
    setting: Setting
    lists: NDArray[np.int32]
    cpu_ms: NDArray[np.float64]  # (n_shoppers,)


def curve(
    sources: Sources, split: Split, instant: Instant, release: Release, report: Callable[[str], None]
) -> Iterator[Record]:
    """Records of every setting on both tasks, as of the release's cut; lifts are over what is served."""
    for task in TASKS:
        held = held_out_of(sources.warehouse, split.test, release.catalogue.item_ids, task)
        report(f"{task}: {len(held):,} shoppers, {len(SIZES) * len(TREES)} settings each")
        shoppers = shoppers_of(instant, held.user_ids, split.test.instant)
        settings = settings_of(release.rankers[task].num_boosted_rounds())
        tried = trials(release, instant.item_features, shoppers, task, settings)
        served = tried[settings.index((SIZE, settings[-1][1]))]
        for trial in tried:
            yield from records(trial, served, held, cut=split.cut)


def settings_of(n_trees: int) -> list[Setting]:
    """All pairs of SIZES, with that of the service, and TREES, as far as the ranker has so many."""
    trees = sorted({min(few, n_trees) for few in (*TREES, n_trees)})
    return [(size, few) for size in sorted({*SIZES, SIZE}) for few in trees]


def trials(
    release: Release,
    item_features: Floats,
    shoppers: Sequence[Shopper],
    task: str,
    settings: Sequence[Setting],
) -> list[Trial]:
    """Answer every shopper with every setting in turn.

    `item_features` (n_catalogue, n_item_features) are at hand: reading them is not timed.
    """
    shortened = {trees: with_trees(release, task, trees) for _, trees in settings}
    lists = np.full((len(settings), len(shoppers), DEPTH), -1, dtype=np.int32)
    cpu_ms = np.zeros((len(settings), len(shoppers)))
    for row, who in enumerate(shoppers):
        for number, (items, spent) in enumerate(answers(shortened, item_features, who, task, settings)):
            lists[number, row, : len(items)] = items
            cpu_ms[number, row] = spent
    return [Trial(task, each, lists[number], cpu_ms[number]) for number, each in enumerate(settings)]


def answers(
    shortened: Mapping[int, Release],
    item_features: Floats,
    who: Shopper,
    task: str,
    settings: Iterable[Setting],
) -> Iterator[tuple[Positions, float]]:
    """(items best first, CPU milliseconds) of each setting; what the sources think is the same for all."""
    release = next(iter(shortened.values()))
    began = process_time()
    thought = opinions(release, who)
    shared = process_time() - began
    for size, trees in settings:
        release = shortened[trees]
        began = process_time()
        candidates = draw(release, who, task, thought, size=size)
        found = ranked(release, who, candidates, item_features[candidates.items], k=SLOTS, task=task)
        slots_of(release, who, found, SLOTS)
        yield found.items[:DEPTH], 1e3 * (shared + process_time() - began)


def with_trees(release: Release, task: str, trees: int) -> Release:
    """The release with the first trees only of one ranker."""
    ranker = release.rankers[task][:trees]
    ranker.set_param({"nthread": 1})
    return replace(release, rankers={**release.rankers, task: ranker})


def records(trial: Trial, served: Trial, held: HeldOut, *, cut: int) -> Iterator[Record]:
    """Recall at each cutoff, its lift over the served setting's, and the median of CPU time over shoppers."""
    candidates, trees = trial.setting
    tags = {"task": trial.task, "model": "stack", "cut": cut, "candidates": candidates, "trees": trees}
    tags |= {"users": len(held)}
    metrics = [Metric("recall", k) for k in CUTOFFS]
    before = calc_per_user(served.lists, held.truth, metrics)
    for label, values in calc_per_user(trial.lists, held.truth, metrics).items():
        kind = {"report": "cpu_curve", "metric": label}
        yield {**kind, **bootstrap_interval(values)._asdict(), "unit": "share", **tags}
        if trial.setting != served.setting:
            lift = paired_lift(values, before[label])._asdict()
            yield {**kind, **lift, "unit": "relative lift", **tags, "versus": "served"}
    spent = float(np.median(trial.cpu_ms))
    yield {"report": "cpu_curve", "metric": "cpu_ms", "value": spent, "unit": "ms", **tags}
