"""What each model would have shown at the cut: ranked lists and the truth they are held against.

The stack's lists come from the serving path, the baselines' from the legacy rules of the same release.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bentos import legacy_rules
from bentos.candidates import draw, opinions
from bentos.index import best
from bentos.legacy_rules import LEGACY_RULES
from bentos.recommend import ranked
from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import Positions
from training.assemble import shopper_at
from training.fit import Instant

DEPTH = 500  # the longest list that is measured
SLOTS = 10  # what a page shows: the rules apply to these


@dataclass(frozen=True)
class TestShoppers:
    """The shoppers of the test window and what they bought, position -1 for items outside the catalogue."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    user_ids: list[str]
    shoppers: list[Shopper]
    bought: list[Positions]
    revenue: list[np.ndarray]


def test_shoppers(
    instant: Instant, purchases: pd.DataFrame, ever_bought: pd.DataFrame, now: datetime, task: str
) -> TestShoppers:
    """Shoppers with something to find: for `discover`, something that they never bought before."""
    if task == "discover":
        known = pd.MultiIndex.from_frame(ever_bought)
        purchases = purchases[~pd.MultiIndex.from_frame(purchases[["user_id", "item_id"]]).isin(known)]
    ids = instant.release.catalogue.item_ids
    wanted = purchases["item_id"].to_numpy(dtype=np.str_)
    place = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    held = purchases.assign(position=np.where(ids[place] == wanted, place, -1))
    row_of = {user: row for row, user in enumerate(instant.users.user_ids.tolist())}
    found = TestShoppers([], [], [], [])
    for user_id, rows in held.groupby("user_id", sort=True):
        row = row_of.get(str(user_id))
        if row is None:
            continue  # never seen before the cut: nobody could know them
        found.user_ids.append(str(user_id))
        found.shoppers.append(shopper_at(instant.users, row, now, instant.place))
        found.bought.append(rows["position"].to_numpy(dtype=np.int32))
        found.revenue.append(rows["revenue"].to_numpy(dtype=np.float64))
    return found


def shown(instant: Instant, release: Release, who: Shopper, task: str) -> dict[str, Positions]:
    """What each model shows one shopper, best first, at most DEPTH items.

    `stack` is the served path: candidates, ranker, rules for the first SLOTS. `two_tower` is retrieval alone,
    over the whole catalogue. The rest are the legacy rules.
    """
    scores = opinions(release, who)
    candidates = draw(release, who, task, scores)
    features = instant.item_features[candidates.items]
    allowed = np.ones(len(release.catalogue.item_ids), dtype=bool)
    if task == "discover":
        allowed[who.past.items] = False
    return {
        "stack": ranked(release, who, candidates, features, k=SLOTS, task=task).items[:DEPTH],
        "two_tower": best(scores["two_tower"], DEPTH, among=allowed),
        **{name: legacy_rules.recommended(name, release, who, DEPTH, task) for name in LEGACY_RULES},
    }


def ranked_lists(
    instant: Instant, release: Release, shoppers: Sequence[Shopper], task: str, *, threads: int = 1
) -> dict[str, NDArray[np.int32]]:
    """Each model's lists: (n_shoppers, DEPTH) catalogue positions, -1 where a list is shorter."""
    lists: dict[str, NDArray[np.int32]] = {}
    with ThreadPoolExecutor(threads) as pool:
        by_shopper = pool.map(lambda who: shown(instant, release, who, task), shoppers)
        for row, by_model in enumerate(by_shopper):
            for model, items in by_model.items():
                held = lists.setdefault(model, np.full((len(shoppers), DEPTH), -1, dtype=np.int32))
                held[row, : len(items)] = items
    return lists
