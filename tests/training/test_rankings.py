"""What the models of a release show, on a release with known answers."""

import numpy as np
import pytest
from tiny_release import N_ITEMS, NOW, InMemory, user_row

from bentos.shopper import shopper
from training import rankings
from training.fit import Instant
from training.per_shopper import DEPTH


@pytest.mark.parametrize(("task", "new"), [("all", 6), ("discover", 9)])
def test_candidates_are_a_draw_of_their_own_size(release, monkeypatch, task, new):
    """Nine are drawn, whatever is served: the three that were bought, if they may be, and the pool's best."""
    monkeypatch.setattr(rankings, "HELD", {task: 9})
    who = shopper(user_row(), release, NOW)
    items = InMemory({}).read_items(range(N_ITEMS))
    lists = rankings.ranked_lists(Instant(release, None, items, None), release, [who, who], task)
    pool = rankings.opinions(release, who).scores["pool"]
    others = [item for item in np.argsort(-pool, kind="stable").tolist() if item not in (3, 7, 13)][:new]
    expected = sorted([*others, *([3, 7, 13] if task == "all" else [])])
    assert lists["candidates"].tolist() == [expected, expected]
    assert lists["stack"].shape == (2, DEPTH)
    assert (lists["stack"] >= 0).sum() == 2 * (N_ITEMS - (3 if task == "discover" else 0))
