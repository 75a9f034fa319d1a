"""What promotions of the week that begins would bring: rankers that read them, beside the release's.

In: pairs drawn with the columns of the feature service `item_promotions` behind the items' own. Out: rankers
that learnt from the same pairs and differ in these columns alone. No release reads them: where the data tells
no time of announcement, that they are known when the week starts is an assumption. Of a test window, which is
two weeks long, they know the first week's only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from bentos.candidates import Candidates
from bentos.ranking import ranked
from bentos.release import Release
from bentos.scoring import matrix_columns
from bentos.shopper import Shopper
from feature_repo.pair_features import Floats, Positions
from training.point_in_time import item_rows, number_names
from training.ranking import PairSet, ranker_columns, train_ranker

MODEL = "stack_with_promotions"
SERVICE = "item_promotions"
Rankers = Mapping[str, Any]  # xgboost.Booster by task


def coming_promotions(store: Any, release: Release, instant: datetime) -> Floats:
    """Shares of stores that promote each item in the week that begins at an instant: (n_items, n_names).

    NaN where no promotion was known, or assumed to be known, at that instant.
    """
    rows = item_rows(store, release.catalogue.item_ids.tolist(), [instant], SERVICE)
    return np.asarray(rows.numbers[0], dtype=np.float32)


def two_rankers(
    learned: Mapping[str, PairSet], release: Release, store: Any, *, threads: int
) -> tuple[Rankers, Rankers]:
    """The release's rankers, and those that read promotions too: none of a task in which there were none.

    The columns of `coming_promotions` stand behind the items' own in the rows of `learned`, which are the
    pairs of each task.
    """
    names, features = number_names(store, SERVICE), release.manifest["features"]
    columns = matrix_columns(features["user"], [*features["item"], *names])
    of_promotions = slice(len(features["item"]), len(features["item"]) + len(names))
    rankers, promoted = {}, {}
    for task, pairs in learned.items():
        own = replace(pairs, rows=np.delete(pairs.rows, of_promotions, axis=1))
        rankers[task] = train_ranker(own, ranker_columns(release), task, threads=threads)
        if not np.isnan(pairs.rows[:, of_promotions]).all():
            promoted[task] = train_ranker(pairs, columns, task, threads=threads)
    return rankers, promoted


@dataclass(frozen=True)
class Promoted:
    """The rankers that read promotions, and what they read at one instant."""

    rankers: Rankers
    shares: Floats  # (n_items, n_names) as of the instant, NaN where nothing was known

    def shown(
        self, release: Release, who: Shopper, candidates: Candidates, features: Floats, *, k: int, task: str
    ) -> Positions:
        """The release's candidates and rules, ranked by these rankers: best first.

        `features` (n_candidates, n_item_features) are those that the release's own ranker reads.
        """
        known = np.hstack([features, self.shares[candidates.items]])
        return ranked(replace(release, rankers=self.rankers), who, candidates, known, k=k, task=task).items
