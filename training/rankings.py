"""What each model of a release would have shown at the cut: ranked lists, best first.

The stack's lists come from the serving path, the baselines' from the legacy rules of the same release.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bentos import legacy_rules
from bentos.candidates import draw, opinions
from bentos.index import best
from bentos.legacy_rules import LEGACY_RULES
from bentos.ranking import ranked
from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import Positions
from training.fit import Instant
from training.per_shopper import CANDIDATES, DEPTH, SLOTS
from training.promotions import MODEL as WITH_PROMOTIONS
from training.promotions import Promoted
from training.shoppers import shopper_at

ALONE = ("two_tower", "pool")  # sources that are measured by themselves too
HELD = MappingProxyType({"all": 980, "discover": 700})  # candidates of which it is measured what they hold


def shoppers_of(instant: Instant, user_ids: Sequence[str], now: datetime) -> list[Shopper]:
    """Shoppers as the service would know them at the cut; every id must be known at the instant."""
    row_of = {user: row for row, user in enumerate(instant.users.user_ids.tolist())}
    return [shopper_at(instant.users, row_of[user_id], now, instant.place) for user_id in user_ids]


def shown(
    instant: Instant, release: Release, who: Shopper, task: str, promoted: Promoted | None = None
) -> dict[str, Positions]:
    """What each model shows one shopper, best first, at most DEPTH items.

    `stack` is the served path: candidates, ranker, rules for the first SLOTS. `two_tower` and `pool` are
    sources alone, over the whole catalogue. `candidates` are HELD ones, in no order: more than are served, so
    that draws of another size can be judged. The rest are the legacy rules, and with `promoted` the
    stack that knows the promotions of the coming week.
    """
    thought = opinions(release, who)
    candidates = draw(release, who, task, thought)
    features = instant.item_features[candidates.items]
    allowed = np.ones(len(release.catalogue.item_ids), dtype=bool)
    if task == "discover":
        allowed[who.past.items] = False
    lists = {
        "stack": ranked(release, who, candidates, features, k=SLOTS, task=task).items[:DEPTH],
        CANDIDATES: draw(release, who, task, thought, size=HELD[task]).items,
        **{name: best(thought.scores[name], DEPTH, among=allowed) for name in ALONE},
        **{name: legacy_rules.recommended(name, release, who, DEPTH, task) for name in LEGACY_RULES},
    }
    if promoted:
        known = promoted.shown(release, who, candidates, features, k=SLOTS, task=task)
        lists[WITH_PROMOTIONS] = known[:DEPTH]
    return lists


def ranked_lists(
    instant: Instant,
    release: Release,
    shoppers: Sequence[Shopper],
    task: str,
    *,
    promoted: Promoted | None = None,
    threads: int = 1,
) -> dict[str, NDArray[np.int32]]:
    """Each model's lists: (n_shoppers, DEPTH) catalogue positions, -1 where a list is shorter.

    Those of `candidates` are (n_shoppers, HELD[task]).
    """
    lists: dict[str, NDArray[np.int32]] = {}
    with ThreadPoolExecutor(threads) as pool:
        by_shopper = pool.map(lambda who: shown(instant, release, who, task, promoted), shoppers)
        for row, by_model in enumerate(by_shopper):
            for model, items in by_model.items():
                depth = HELD[task] if model == CANDIDATES else DEPTH
                held = lists.setdefault(model, np.full((len(shoppers), depth), -1, dtype=np.int32))
                held[row, : len(items)] = items
    return lists
