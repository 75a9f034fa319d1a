"""Measure a release at its cut: every model of its own, both tasks and cold items, a value for each shopper.

In: a release and the point-in-time rows of the cut. Out: values per shopper, from which
`training.quality_records` makes figures with intervals.
"""

from collections.abc import Callable

import pandas as pd

from bentos.candidates import TASKS
from bentos.release import Release
from training import cold_items
from training.fit import Instant, Sources
from training.held_out import held_out_of
from training.per_shopper import CANDIDATES, candidate_values, summary, values_of
from training.promotions import Promoted, Rankers, coming_promotions
from training.rankings import ranked_lists, shoppers_of
from training.split import Split

Report = Callable[[str], None]


def measured(
    sources: Sources,
    split: Split,
    instant: Instant,
    release: Release,
    report: Report,
    *,
    promoted: Rankers | None = None,
    threads: int = 1,
) -> pd.DataFrame:
    """Values per shopper of the stack, of its candidates, of retrieval alone and of the rules.

    With `promoted` rankers also of the stack that knows the promotions of the week after the cut. Then of
    models of cold items, which have tasks of their own.
    """
    coming = None
    if promoted:
        coming = Promoted(promoted, coming_promotions(sources.store, release, split.test.instant))
    found = []
    catalogue = release.catalogue.item_ids
    for task in TASKS:
        held = held_out_of(sources.warehouse, split.test, catalogue, task)
        shoppers = shoppers_of(instant, held.user_ids, split.test.instant)
        by_model = ranked_lists(instant, release, shoppers, task, promoted=coming, threads=threads)
        for model, lists in by_model.items():
            if model == CANDIDATES:
                values = candidate_values(task, held, lists)
            else:
                values = values_of(model, task, held, lists, len(catalogue))
            report(summary(values))
            found.append(values)
    found.append(cold_items.measured(sources, split, instant, release, report))
    return pd.concat(found, ignore_index=True)
