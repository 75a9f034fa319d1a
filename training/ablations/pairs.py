"""What variants learn from and are tested on: pairs of the ranker's windows, candidates of the test.

In: prepared instants (`training.fit`). Out: `Pairs`, which all variants of one material share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from bentos.candidates import TASKS, Candidates, draw, opinions
from bentos.pool import INPUTS
from bentos.scoring import matrix
from feature_repo.pair_features import Floats
from training.ablations.variants import Material
from training.fit import Instant, Prepared, Report, Sources, labelled, pooled_rows, with_pool
from training.held_out import HeldOut, held_out_of
from training.point_in_time import UserRows
from training.pool import PoolRows, fitted_weights
from training.ranking import PairSet, pairs, sampled
from training.rankings import shoppers_of
from training.split import Split

MOST_NEGATIVES = 120  # of any variant: fewer are drawn from these


@dataclass(frozen=True)
class Trial:
    """One task's test shoppers with their candidates, described as a request would."""

    held: HeldOut
    candidates: Sequence[Candidates]
    rows: Sequence[Floats]  # (n_candidates, n_columns) each


@dataclass(frozen=True)
class Pairs:
    """Pairs of one material, by task."""

    instant: Instant  # the cut, with a release whose pool is fitted and that has no rankers
    windows: Sequence[Mapping[str, PairSet]]
    tests: Mapping[str, Trial]


def pairs_of(
    material: Material, ready: Prepared, sources: Sources, split: Split, *, threads: int, report: Report
) -> Pairs:
    """Draw the pairs of one material from what is prepared."""
    if material.history_weeks is not None:
        ready = forgetful(ready, sources, split, material.history_weeks)
    weights = weights_without(material.inputs, pooled_rows(ready.instants, ready.examples, seed=split.cut))
    instants = [replace(one, release=with_pool(one.release, weights)) for one in ready.instants]
    windows = []
    for instant, window, shoppers in zip(instants, split.ranker, ready.examples, strict=False):
        windows.append(
            pairs(
                instant.release,
                instant.item_features,
                shoppers,
                seed=split.cut,
                threads=threads,
                negatives=MOST_NEGATIVES,
            )
        )
        report(f"pairs of weeks {window.first}-{window.last}: {len(shoppers):,} shoppers")
    tests = tests_of(instants[-1], sources, split)
    report(f"candidates of weeks {split.test.first}-{split.test.last}: {len(tests['all'].rows):,} shoppers")
    return Pairs(instants[-1], windows, tests)


def weights_without(inputs: frozenset[str], rows: Sequence[PoolRows]) -> Floats:
    """Weights of the pool where some inputs are left out (0); ValueError for unknown ones."""
    if unknown := inputs - set(INPUTS):
        raise ValueError(f"The pool has no inputs {sorted(unknown)}; use {', '.join(INPUTS)}")
    kept = np.array([name not in inputs for name in INPUTS], dtype=np.float32)
    return fitted_weights([replace(one, inputs=one.inputs * kept) for one in rows])


def tests_of(instant: Instant, sources: Sources, split: Split) -> dict[str, Trial]:
    """Candidates of every test shopper, by task."""
    release, found = instant.release, {}
    for task in TASKS:
        held = held_out_of(sources.warehouse, split.test, release.catalogue.item_ids, task)
        candidates, rows = [], []
        for who in shoppers_of(instant, held.user_ids, split.test.instant):
            drawn = draw(release, who, task, opinions(release, who))
            candidates.append(drawn)
            rows.append(matrix(release, who, drawn, instant.item_features[drawn.items]))
        found[task] = Trial(held, candidates, rows)
    return found


def forgetful(ready: Prepared, sources: Sources, split: Split, weeks: int) -> Prepared:
    """The same, where shoppers remember no item that they last bought more than some weeks ago.

    What was learnt of items (towers, factors, the panel) stays: only who asks knows less.
    """
    instants = [
        replace(one, users=lately(one.users, when.timestamp() - timedelta(weeks=weeks).total_seconds()))
        for one, when in zip(ready.instants, split.instants, strict=True)
    ]
    return replace(ready, instants=instants, examples=labelled(sources, split, instants))


def lately(users: UserRows, since: float) -> UserRows:
    """User rows without history slots whose last purchase is before `since` (epoch seconds)."""
    return users.with_slots(users.last_times >= since)


def thinned(learned: PairSet, negatives: int, *, seed: int) -> PairSet:
    """The pairs with at most `negatives` that were not bought in each group."""
    rng = np.random.default_rng(seed)
    bought = learned.labels > 0
    starts = np.concatenate([[0], np.cumsum(learned.groups)[:-1]])
    kept: list[NDArray[np.intp]] = [
        start + sampled(bought[start : start + size], negatives, rng)
        for start, size in zip(starts.tolist(), learned.groups.tolist(), strict=True)
    ]
    rows = np.concatenate(kept)
    sizes = np.array([len(group) for group in kept], dtype=np.int64)
    return PairSet(learned.rows[rows], learned.labels[rows], sizes)
