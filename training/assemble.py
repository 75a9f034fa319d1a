"""A release as of one instant: catalogue, item vectors, popularity and legacy lists, before any ranker.

The ranker's training pairs are drawn by releases assembled as of its windows, the test's by the one
assembled as of the cut: the same code on the same kind of arrays as in the service.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bentos.release import Catalogue, Release
from bentos.rules import load_rules
from bentos.shopper import Shopper, past_purchases
from bentos.towers import item_vectors
from feature_repo.pair_features import Floats, Positions
from training.point_in_time import UserRows
from training.world import World

POPULARITY = "item_baskets_28d"


def item_inputs(text: Floats, numbers: Floats) -> Floats:
    """What the item tower reads: text vectors, then logs of the item's numbers."""
    return np.concatenate([text, np.log1p(np.maximum(np.nan_to_num(numbers), 0.0))], axis=1, dtype=np.float32)


def log_popularity(numbers: Floats, names: tuple[str, ...]) -> Floats:
    """The popularity prior of items: log of one more than their baskets of four weeks."""
    return np.asarray(np.log1p(np.nan_to_num(numbers[..., names.index(POPULARITY)])), dtype=np.float32)


def tower_items(
    world: World,
    items: Positions,
    numbers: Floats,
    names: tuple[str, ...],
    towers: Mapping[str, NDArray[Any]],
) -> Floats:
    """Item vectors of some of the world's items, (n, n_dim + 1), from their numbers (n, n_features)."""
    identity = towers["item_identity"][towers["item_identity_of"][items]]
    identity = identity + towers["category_vectors"][world.categories.codes[items]]
    inputs = item_inputs(world.text_vectors[items], numbers)
    return item_vectors(inputs, identity, log_popularity(numbers, names), towers)


def segment_popularity(
    baskets: pd.DataFrame, segments: Mapping[str, str], item_ids: NDArray[np.str_]
) -> tuple[NDArray[np.str_], Floats]:
    """Segment names and (n_segments, n_items) baskets of four weeks within each segment."""
    names = np.unique([name for name in segments.values() if name] or [""])
    held = baskets[baskets["item_id"].isin(item_ids)]
    segment = held["user_id"].map(segments).fillna("")
    known = segment.isin(names).to_numpy() & (segment != "").to_numpy()
    rows = np.searchsorted(names, segment[known].to_numpy(dtype=np.str_))
    columns = np.searchsorted(item_ids, held.loc[known, "item_id"].to_numpy(dtype=np.str_))
    counts = np.zeros((len(names), len(item_ids)), dtype=np.float32)
    np.add.at(counts, (rows, columns), held.loc[known, "baskets"].to_numpy(dtype=np.float32))
    return names, counts


def release_as_of(
    world: World,
    instant: datetime,
    *,
    catalogue_ids: list[str],
    item_numbers: Floats,
    item_features: tuple[str, ...],
    user_features: list[str],
    towers: Mapping[str, NDArray[Any]],
    segments: tuple[NDArray[np.str_], Floats],
    department_slots: list[str],
) -> Release:
    """Assemble what requests at `instant` would be answered from, without rankers.

    `item_numbers` is (n_world, n_item_features) as of the instant.
    """
    items = np.searchsorted(world.item_ids, np.asarray(catalogue_ids, dtype=np.str_)).astype(np.int32)
    numbers = item_numbers[items]
    popularity = np.nan_to_num(numbers[:, item_features.index(POPULARITY)])
    categories = world.categories.codes[items]
    shares = np.bincount(categories, weights=popularity, minlength=len(world.categories.names))
    slots = {name: slot for slot, name in enumerate(department_slots)}
    other = len(department_slots) - 1
    query = {name: array for name, array in towers.items() if name.startswith("query_")}
    return Release(
        tag=f"as-of-{instant:%Y-%m-%d}",
        manifest={
            "as_of": instant.isoformat(),
            "features": {"user": list(user_features), "item": list(item_features)},
        },
        catalogue=Catalogue(
            item_ids=world.item_ids[items],
            titles=world.titles[items],
            departments=world.departments.codes[items],
            categories=categories,
            types=world.types.codes[items],
            department_names=world.departments.names,
            category_names=world.categories.names,
            type_names=world.types.names,
        ),
        arrays={
            **query,
            "manufacturers": world.manufacturers.codes[items],
            "text_vectors": world.text_vectors[items],
            "item_vectors": tower_items(world, items, numbers, item_features, towers),
            "popularity": popularity.astype(np.float32),
            "category_shares": (shares / max(shares.sum(), 1.0)).astype(np.float32),
            "segment_names": segments[0],
            "segment_popularity": segments[1],
            "department_slots": np.asarray(department_slots, dtype=np.str_),
            "department_slot_of": np.array(
                [slots.get(name, other) for name in world.departments.names], dtype=np.int32
            ),
        },
        rankers={},
        rules=load_rules(),
    )


def shopper_at(users: UserRows, row: int, now: datetime, place: Positions | None = None) -> Shopper:
    """The shopper of one point-in-time row, as `bentos.shopper.shopper` makes one from an online row.

    `place` maps the world's positions to the release's (-1: not in its catalogue); None keeps them.
    """
    span = slice(int(users.offsets[row]), int(users.offsets[row + 1]))
    positions = users.positions[span]
    if place is not None:
        positions = np.where(positions >= 0, place[positions], -1)
    tenure = float(users.numbers[row, users.names.index("user_tenure_days")])
    return Shopper(
        past=past_purchases(positions, users.counts[span], users.decayed[span], users.last_times[span], now),
        scalars=users.numbers[row],
        department_shares=users.department_shares[row],
        top_department=str(users.top_departments[row]),
        tenure_days=0.0 if np.isnan(tenure) else tenure,
    )
