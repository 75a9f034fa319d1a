"""A release with a larger catalogue: what a shop of many more items would ask of a request.

In: a release. Out: the same with items added that are like its own, for benches of how the cost of a
request grows. Each added item is a copy of one of the release's: of the same department, category and type,
of another manufacturer, and so of lines and variants of its own; it sells a share of what its model sells,
its vectors are shorter by as much and moved by noise. Shoppers and their pasts are those of the release:
its items keep their positions. What was newly bought in the panel falls to copies half of the time.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.affinity import shop_share
from bentos.pool import APPEAL
from bentos.release import Release
from bentos.towers import SALES
from feature_repo.pair_features import Floats, Positions

NOISE = 0.3  # of a copy's vector, as a share of the vector's length
OWN_GROUPS = ("manufacturers", "lines", "variants")  # kinds of which each round of copies has its own
WIDE_GROUPS = ("departments", "categories", "types")
Arrays = dict[str, NDArray[Any]]


def grown(release: Release, n_items: int, *, seed: int = 7) -> Release:
    """The release with `n_items` in its catalogue, its own first.

    Raises ValueError for fewer than it has. Copies have no titles and no text vectors: drawing needs none.
    """
    had = len(release.catalogue.item_ids)
    if n_items < had:
        raise ValueError(f"n_items is {n_items}, and the release has {had} already")
    rng = np.random.default_rng(seed)
    model = np.arange(n_items) % had
    share = np.where(np.arange(n_items) < had, 1.0, rng.random(n_items) ** 2).astype(np.float32)
    catalogue = replace(
        release.catalogue,
        item_ids=np.arange(n_items).astype(np.str_),
        **{kind: getattr(release.catalogue, kind)[model] for kind in WIDE_GROUPS},
    )
    arrays = {**release.arrays, **_sales(release, model, share)}
    arrays |= _vectors(release, model, share, rng)
    arrays |= _groups(release, model, arrays["popularity"])
    arrays["panel_items"] = _panel(release.arrays["panel_items"], had, n_items, rng)
    return replace(release, tag=f"{release.tag} with {n_items} items", catalogue=catalogue, arrays=arrays)


def _sales(release: Release, model: NDArray[np.intp], share: Floats) -> Arrays:
    """What is logs of sales, of copies that sell a share of their model's."""
    arrays = release.arrays
    appeal = arrays["appeal_inputs"][:, model]
    sold = [place for place, name in enumerate(APPEAL) if name != "item_age_days"]
    appeal[sold] = np.log1p(share * np.expm1(appeal[sold]))
    return {
        "item_log_sales": np.log1p(share[:, None] * np.expm1(arrays["item_log_sales"][model])),
        "popularity": share * arrays["popularity"][model],
        "appeal_inputs": appeal,
    }


def _vectors(release: Release, model: NDArray[np.intp], share: Floats, rng: np.random.Generator) -> Arrays:
    """Vectors of copies: shorter as their sales are, and moved by noise."""
    sales = release.arrays["item_log_sales"][:, SALES.index("item_baskets_182d")][model]
    length = np.log1p(share * np.expm1(sales)) / np.maximum(sales, np.float32(1e-6))
    length = np.where(share < 1.0, length, np.float32(1.0)).astype(np.float32)[:, None]
    found: Arrays = {"factor_items": release.arrays["factor_items"][model] * length}
    found["item_bodies"] = release.arrays["item_bodies"][model]
    copies = slice(int((share == 1.0).sum()), None)
    for vectors in found.values():
        moved = vectors[copies]
        norms = np.linalg.norm(moved, axis=1, keepdims=True) / np.float32(np.sqrt(vectors.shape[1]))
        moved += np.float32(NOISE) * norms * rng.standard_normal(moved.shape, dtype=np.float32)
    return found


def _groups(release: Release, model: NDArray[np.intp], popularity: Floats) -> Arrays:
    """Groups of all items, what each sells, and where it lies in the taste space."""
    arrays, found = release.arrays, {}
    turn = (np.arange(len(model)) // len(release.catalogue.item_ids)).astype(np.int32)
    for kind in OWN_GROUPS:
        size = len(arrays[f"shop_share_{kind}"])
        found[kind] = arrays[kind][model] + turn * np.int32(size)
        n_groups = int(found[kind].max()) + 1
        found[f"shop_share_{kind}"] = shop_share(found[kind], popularity)
        found[f"taste_{kind}"] = arrays[f"taste_{kind}"][np.arange(n_groups) % size]
    for kind in WIDE_GROUPS:
        found[f"shop_share_{kind}"] = shop_share(getattr(release.catalogue, kind)[model], popularity)
    return found


def _panel(items: Positions, had: int, n_items: int, rng: np.random.Generator) -> Positions:
    """What was newly bought: the item itself or, half of the time, one of its copies."""
    rounds = (n_items - 1 - items) // had  # copies that an item has
    turn = rng.integers(0, rounds + 1)
    turn[rng.random(len(items)) < 0.5] = 0
    return (items + had * turn).astype(np.int32)
