"""A release of many items with planted tastes: whoever buys of some types has those for taste.

Each type is a direction, in the space of factors as in that of tastes; its items lie along it, the
further the more they sell. Sales fall off as one over the root of the rank, so that the shop's best are
not everybody's. The panel's shoppers, as those of `shopper_of`, buy of two types, and more of what sells.
"""

from dataclasses import replace

import numpy as np
from tiny_release import N_CATEGORIES, NOW, tiny_release, user_row

from bentos.affinity import shop_share
from bentos.factors import gram
from bentos.pool import APPEAL, INPUTS
from bentos.shopper import shopper
from bentos.towers import KINDS, SALES
from feature_repo.pair_features import GROUPS

N_TYPES, N_FACTORS, N_TASTE, N_PANEL, BOUGHT = 40, 12, 9, 300, 30
# About what training finds on a year of a grocer.
WEIGHTS = {"co_purchase": 0.5, "neighbours": 0.06, "two_tower": 0.17, "lines": 0.1, "types": 0.1}
APPEALS = 0.1


def directions(n, rng):
    """One for each type, of length one: (N_TYPES, n)."""
    drawn = rng.normal(size=(N_TYPES, n))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def bought_by(types, popularity, two, rng):
    """Positions of BOUGHT items of two types, increasing, drawn by what they sell."""
    chances = np.where(np.isin(types, two), popularity, 0.0)
    return np.sort(rng.choice(len(types), BOUGHT, replace=False, p=chances / chances.sum()))


def panel(types, popularity, spread, rng):
    """Vectors and purchases of the panel's shoppers."""
    vectors, items = [], []
    for _ in range(N_PANEL):
        two = rng.choice(N_TYPES, 2, replace=False)
        vectors.append(spread[two].sum(axis=0))
        items.append(bought_by(types, popularity, two, rng))
    vectors = np.stack(vectors)
    return {
        "panel_vectors": vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        "panel_shoppers": np.repeat(np.arange(N_PANEL, dtype=np.int32), BOUGHT),
        "panel_items": np.concatenate(items).astype(np.int32),
    }


def item_groups(types, n_items):
    """Codes by kind of group."""
    manufacturers = np.arange(n_items, dtype=np.int32) % 60
    kinds = {"departments": types % 2, "categories": types % N_CATEGORIES, "types": types}
    lines = np.unique(types * 60 + manufacturers, return_inverse=True)[1].astype(np.int32)
    return kinds, {"manufacturers": manufacturers, "lines": lines, "variants": lines}


def large_release(n_items, seed=7):
    """A release of `n_items`, all of whose arrays that drawing reads are planted."""
    rng, tiny = np.random.default_rng(seed), tiny_release()
    types = rng.integers(0, N_TYPES, n_items).astype(np.int32)
    popularity = (300.0 / np.sqrt(1 + rng.permutation(n_items))).astype(np.float32)
    logs = np.log1p(popularity)
    wide, narrow = item_groups(types, n_items)
    spread, tastes = directions(N_FACTORS, rng), directions(N_TASTE, rng)
    factors = spread[types] * (0.1 + 0.1 * logs[:, None])
    factors += 0.02 * rng.standard_normal(factors.shape, dtype=np.float32)
    groups = wide | narrow
    kinds = {f"taste_{kind}": np.zeros((groups[kind].max() + 1, N_TASTE), np.float32) for kind in KINDS}
    arrays = {
        **tiny.arrays,
        **narrow,
        **{f"shop_share_{name}": shop_share(groups[name], popularity) for name in GROUPS},
        **kinds,
        "taste_types": tastes,
        "query_kernel_2": np.zeros((3, N_TASTE), np.float32),
        "query_bias_2": np.zeros(N_TASTE, np.float32),
        "query_map": 0.2 * np.eye(N_TASTE, dtype=np.float32),
        "query_factors": np.float32(4),
        "text_steps": np.zeros((n_items, 4), np.int8),
        "text_scales": np.zeros(n_items, np.float32),
        "item_bodies": tastes[types] + 0.3 * rng.standard_normal((n_items, N_TASTE), dtype=np.float32),
        "item_log_sales": np.stack([logs] * len(SALES), axis=1),
        "popularity": popularity,
        "factor_items": factors,
        "factor_gram": gram(factors),
        "appeal_inputs": np.stack([logs] * len(APPEAL)),
        "pool_weights": np.array(
            [APPEALS if name in APPEAL else WEIGHTS.get(name, 0) for name in INPUTS], np.float32
        ),
        **panel(types, popularity, spread, rng),
    }
    ids = np.array([f"i{position:06d}" for position in range(n_items)])
    catalogue = replace(tiny.catalogue, item_ids=ids, titles=ids, **wide)
    return replace(tiny, catalogue=catalogue, arrays=arrays)


def shopper_of(release, seed):
    """Somebody who bought of two types, up to three times each item."""
    rng = np.random.default_rng(seed)
    two = rng.choice(N_TYPES, 2, replace=False)
    items = bought_by(release.catalogue.types, release.arrays["popularity"], two, rng)
    counts = rng.integers(1, 4, BOUGHT).tolist()
    row = user_row(release.catalogue.item_ids[items].tolist(), counts, rng.integers(1, 90, BOUGHT).tolist())
    return shopper(row, release, NOW)
