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
from training.per_shopper import summary, values_of
from training.rankings import ranked_lists, shoppers_of
from training.split import Split

Report = Callable[[str], None]


def measured(
    sources: Sources, split: Split, instant: Instant, release: Release, report: Report, *, threads: int = 1
) -> pd.DataFrame:
    """Values per shopper of the stack, of retrieval alone and of the rules, then of models of cold items."""
    found = []
    catalogue = release.catalogue.item_ids
    for task in TASKS:
        held = held_out_of(sources.warehouse, split.test, catalogue, task)
        shoppers = shoppers_of(instant, held.user_ids, split.test.instant)
        for model, lists in ranked_lists(instant, release, shoppers, task, threads=threads).items():
            values = values_of(model, task, held, lists, len(catalogue))
            report(summary(values))
            found.append(values)
    found.append(cold_items.measured(sources, split, instant, release, report))
    return pd.concat(found, ignore_index=True)
