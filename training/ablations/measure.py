"""Train one variant's rankers and measure them: a value for each test shopper.

In: the pairs of its material. Out: values per shopper, as evaluation leaves them.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bentos.candidates import TASKS
from bentos.ranking import ordered
from bentos.scoring import margins
from training.ablations.pairs import Pairs, thinned
from training.ablations.variants import Variant
from training.per_shopper import DEPTH, SLOTS, values_of
from training.ranking import PairSet, joined, ranker_columns, train_ranker


def measured(variant: Variant, pairs: Pairs, *, seed: int, threads: int) -> pd.DataFrame:
    """Values per shopper of one variant, both tasks."""
    n_items = len(pairs.instant.release.catalogue.item_ids)
    return pd.concat(
        [
            values_of(
                variant.name,
                task,
                pairs.tests[task].held,
                ranked_lists(variant, pairs, task, seed=seed, threads=threads),
                n_items,
            )
            for task in TASKS
        ],
        ignore_index=True,
    )


def learned_by(variant: Variant, pairs: Pairs, task: str, *, seed: int) -> PairSet:
    """The pairs that a variant's ranker learns from, all columns."""
    windows = pairs.windows[-variant.windows :] if variant.windows else pairs.windows
    return thinned(joined([by_task[task] for by_task in windows]), variant.negatives, seed=seed)


def ranked_lists(variant: Variant, pairs: Pairs, task: str, *, seed: int, threads: int) -> NDArray[np.int32]:
    """What a variant shows each test shopper: (n_shoppers, DEPTH) positions, -1 where a list is shorter."""
    columns = ranker_columns(pairs.instant.release)
    kept = np.array([place for place, name in enumerate(columns) if name not in variant.columns])
    learned = learned_by(variant, pairs, task, seed=seed)
    learned = replace(learned, rows=learned.rows[:, kept])
    names = [columns[place] for place in kept]
    ranker = train_ranker(learned, names, task, threads=threads, learning=variant.learning)
    test = pairs.tests[task]
    lists = np.full((len(test.rows), DEPTH), -1, dtype=np.int32)
    for row, (candidates, described) in enumerate(zip(test.candidates, test.rows, strict=True)):
        scores = margins(ranker, described[:, kept])
        features = pairs.instant.item_features[candidates.items]
        ranking = ordered(pairs.instant.release, candidates, scores, features, k=SLOTS, task=task)
        items = ranking.items[:DEPTH]
        lists[row, : len(items)] = items
    return lists
