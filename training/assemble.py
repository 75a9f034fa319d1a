"""A release as of one instant: catalogue, item vectors, popularity and legacy lists, before any ranker.

The ranker's training pairs are drawn by releases assembled as of its windows, the test's by the one
assembled as of the cut: the same code on the same kind of arrays as in the service.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bentos.affinity import shop_share
from bentos.factors import gram
from bentos.pool import APPEAL, INPUTS
from bentos.release import Catalogue, Release
from bentos.rule_file import load_rules
from bentos.text_vectors import TextVectors
from bentos.towers import KINDS, item_bodies
from feature_repo.pair_features import GROUPS, Floats, Positions
from training.panel import Panel
from training.purchases import log_sales, world_groups
from training.taste_space import TasteSpace
from training.world import World

POPULARITY = "item_baskets_28d"
Arrays = dict[str, NDArray[Any]]


def item_inputs(text: Floats, numbers: Floats) -> Floats:
    """What the item tower reads: text vectors, then logs of the item's numbers."""
    return np.concatenate([text, np.log1p(np.maximum(np.nan_to_num(numbers), 0.0))], axis=1, dtype=np.float32)


def tower_items(
    world: World,
    items: Positions,
    numbers: Floats,
    learnt: "Learnt",
) -> Floats:
    """The item tower's side of some of the world's items, (n, n_taste).

    `numbers` (n, n_features) are theirs.
    """
    groups = world_groups(world)
    tastes = learnt.space.places({kind: getattr(groups, kind)[items] for kind in KINDS})
    inputs = item_inputs(world.text_vectors[items], numbers)
    return item_bodies(inputs, tastes, learnt.towers)


def taste_arrays(world: World, items: Positions, space: TasteSpace) -> Arrays:
    """Places of the catalogue's groups as a shopper's history names them, numbered as `group_arrays` does."""
    groups = world_groups(world)
    places = dict(space.queries)
    for kind in ("lines", "variants"):
        places[kind] = places[kind][np.unique(getattr(groups, kind)[items])]
    return {f"taste_{kind}": places[kind] for kind in KINDS}


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


@dataclass(frozen=True)
class Learnt:
    """What was learnt by an instant, of the catalogue's items and of shoppers."""

    towers: Mapping[str, NDArray[Any]]
    space: TasteSpace
    factors: Floats  # (n_catalogue, n_factors)
    panel: Panel
    segments: tuple[NDArray[np.str_], Floats]  # names, and (n_segments, n_catalogue) baskets of four weeks


@dataclass(frozen=True)
class FeatureNames:
    """Names of the columns of item and user numbers, and of the slots of department shares."""

    item: tuple[str, ...]
    user: tuple[str, ...]
    department_slots: list[str]


def appeal_inputs(numbers: Floats, names: tuple[str, ...], newcomers: Floats) -> Floats:
    """The pool's inputs that are the same for everybody, (n_appeal, n_items): logs of one more than each."""
    rows = [newcomers if name == "newcomers" else numbers[:, names.index(name)] for name in APPEAL]
    return np.log1p(np.maximum(np.nan_to_num(np.stack(rows)), 0.0)).astype(np.float32)


def demand(codes: Positions, popularity: Floats) -> Floats:
    """Log of one more than the baskets of four weeks of each item's group: (n_items,)."""
    return np.log1p(np.bincount(codes, weights=popularity)[codes]).astype(np.float32)


def catalogue_of(world: World, items: Positions) -> Catalogue:
    """Some of the world's items as a release's catalogue."""
    return Catalogue(
        item_ids=world.item_ids[items],
        titles=world.titles[items],
        departments=world.departments.codes[items],
        categories=world.categories.codes[items],
        types=world.types.codes[items],
        department_names=world.departments.names,
        category_names=world.categories.names,
        type_names=world.types.names,
    )


def group_arrays(world: World, items: Positions, numbers: Floats, names: tuple[str, ...]) -> Arrays:
    """Groups that are no part of the catalogue, and how each kind of group sells."""
    popularity = np.nan_to_num(numbers[:, names.index(POPULARITY)])
    kinds = {
        "departments": world.departments.codes[items],
        "categories": world.categories.codes[items],
        "types": world.types.codes[items],
        "manufacturers": world.manufacturers.codes[items],
        # Numbered anew: what is first sold after the instant, or no longer, counts in no share.
        "lines": np.unique(world.lines[items], return_inverse=True)[1].astype(np.int32),
        "variants": np.unique(world.variants[items], return_inverse=True)[1].astype(np.int32),
    }
    baskets = numbers[:, names.index("item_baskets_91d")]
    return {
        **{name: kinds[name] for name in ("manufacturers", "lines", "variants")},
        **{f"shop_share_{name}": shop_share(kinds[name], baskets) for name in GROUPS},
        "type_popularity": demand(kinds["types"], popularity),
        "variant_popularity": demand(kinds["variants"], popularity),
    }


def release_as_of(
    world: World, instant: datetime, *, items: Positions, numbers: Floats, names: FeatureNames, learnt: Learnt
) -> Release:
    """Assemble what requests at `instant` would be answered from, without rankers or a fitted pool.

    `items` (n_catalogue,) are positions in the world, `numbers` (n_catalogue, n_item_features) theirs.
    """
    slots = {name: slot for slot, name in enumerate(names.department_slots)}
    other = len(names.department_slots) - 1
    panel, n_items = learnt.panel, len(items)
    text = TextVectors.rounded(world.text_vectors[items])
    newcomers = np.bincount(panel.items, minlength=n_items)
    return Release(
        tag=f"as-of-{instant:%Y-%m-%d}",
        manifest={
            "as_of": instant.isoformat(),
            "features": {"user": list(names.user), "item": list(names.item)},
        },
        catalogue=catalogue_of(world, items),
        arrays={
            **{name: array for name, array in learnt.towers.items() if name.startswith("query_")},
            **group_arrays(world, items, numbers, names.item),
            **taste_arrays(world, items, learnt.space),
            "text_steps": text.steps,
            "text_scales": text.scales,
            "item_bodies": tower_items(world, items, numbers, learnt),
            "item_log_sales": log_sales(numbers, names.item),
            "factor_items": learnt.factors,
            "factor_gram": gram(learnt.factors),
            "panel_vectors": panel.vectors,
            "panel_shoppers": panel.shoppers,
            "panel_items": panel.items,
            "popularity": np.nan_to_num(numbers[:, names.item.index(POPULARITY)]).astype(np.float32),
            "appeal_inputs": appeal_inputs(numbers, names.item, newcomers.astype(np.float32)),
            "pool_weights": np.zeros(len(INPUTS), dtype=np.float32),
            "segment_names": learnt.segments[0],
            "segment_popularity": learnt.segments[1],
            "department_slots": np.asarray(names.department_slots, dtype=np.str_),
            "department_slot_of": np.array(
                [slots.get(name, other) for name in world.departments.names], dtype=np.int32
            ),
        },
        rankers={},
        rules=load_rules(),
    )
