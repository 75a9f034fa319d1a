"""The panel of a release: whose likes `bentos.neighbours` looks at, and what was lately new to them."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from bentos.factors import folded, gram, unit
from bentos.neighbours import PANEL
from feature_repo.pair_features import Floats, Positions
from feature_repo.positions import positions_of
from training.point_in_time import UserRows
from training.shoppers import shopper_at


@dataclass(frozen=True)
class Panel:
    """Shoppers as of some weeks before a release, and what each bought since that was new to them."""

    vectors: Floats  # (n_panel, n_factors), length one
    shoppers: Positions  # (n_bought,) rows of `vectors`
    items: Positions  # (n_bought,) positions in the catalogue


def panel_of(
    users: UserRows, now: datetime, bought: pd.DataFrame, place: Positions, ids: np.ndarray, factors: Floats
) -> Panel:
    """The panel among `users`, whose rows are as of `now`.

    `bought` has user_id and item_id of what was purchased from then on, `ids` (n_world,) are the world's
    sorted items, `place` maps them to the catalogue (-1: not held), `factors` are the catalogue's.
    """
    chosen = np.arange(len(users))
    if len(chosen) > PANEL:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, size=PANEL, replace=False))
    row_of = pd.Series(np.arange(len(chosen)), index=users.user_ids[chosen])
    rows = bought["user_id"].map(row_of)
    world = positions_of(ids, bought["item_id"].to_numpy(dtype=np.str_))
    items = np.where(world >= 0, place[world], -1)
    kept = rows.notna().to_numpy() & (items >= 0)
    rows, items = rows[kept].to_numpy(dtype=np.int32), items[kept].astype(np.int32)
    shared, vectors = gram(factors), np.zeros((len(chosen), factors.shape[1]), dtype=np.float32)
    new = np.ones(len(rows), dtype=bool)
    by_row = np.split(
        np.argsort(rows, kind="stable"), np.cumsum(np.bincount(rows, minlength=len(chosen)))[:-1]
    )
    for row, mine in enumerate(by_row):
        past = shopper_at(users, int(chosen[row]), now, place).past
        vectors[row] = folded(past, factors, shared)
        new[mine] = ~np.isin(items[mine], past.items)
    return Panel(vectors=unit(vectors), shoppers=rows[new], items=items[new])
