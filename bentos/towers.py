"""The two towers as arrays: what TensorFlow Recommenders learnt, answered with NumPy alone.

A query (user as of now) and an item meet in one inner product of three parts. Taste: the shopper's lifts over
groups in a space of few dimensions (`training.taste_space`), mapped and moved by a network of either side.
Sales: logs of the item's own sales of four spans, so that learning starts at what sells. Factors: co-purchase
factors of both. The last two cost a request nothing: sales are the same for all queries, and the product of
factors is a source of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.affinity import Raised, item_groups
from bentos.release import Release
from bentos.shopper import Shopper
from bentos.text_vectors import TextVectors
from feature_repo.compiled import compiled
from feature_repo.pair_features import GROUPS, Floats, PastPurchases, Positions

CLIP = 3.0  # two-tower discover recall@100 on cut 43: .0616 with, .0588 without
SALES = ("item_baskets_7d", "item_baskets_28d", "item_baskets_91d", "item_baskets_182d")
KINDS = GROUPS[1:]  # of groups that taste is summed over: departments are too wide

Arrays = Mapping[str, NDArray[Any]]


def profile(past: PastPurchases, text: TextVectors, categories: Positions, n_categories: int) -> Floats:
    """Profile of one shopper: mean text vector of the past, then log counts per category.

    Shape (n_text + n_categories,); purchases weigh by their decayed counts.
    """
    mean = np.zeros(text.steps.shape[1], np.float32)
    add_weighted(mean, text.steps, past.items, past.decayed * text.scales.take(past.items))
    mean = mean / max(float(np.linalg.norm(mean)), 1e-9)
    counts = np.log1p(np.bincount(categories.take(past.items), weights=past.decayed, minlength=n_categories))
    return np.concatenate([mean, counts]).astype(np.float32)


def query_inputs(shopper: Shopper, text: TextVectors, categories: Positions, n_categories: int) -> Floats:
    """What the query tower's network reads: profile, department shares, and the log of the user's numbers.

    `text` (n_items, n_text) and `categories` (n_items,) are those of the items that positions in the
    shopper's past point to.
    """
    known = profile(shopper.past, text, categories, n_categories)
    numbers = np.log1p(np.fmax(shopper.scalars, np.float32(0.0)))  # nothing known is nothing
    return np.concatenate([known, shopper.department_shares, numbers]).astype(np.float32)


def taste(own: Raised, vectors: Sequence[Floats], starts: Sequence[int]) -> Floats:
    """The shopper's lifts over all groups, summed in the taste space: (n_taste,), zero without a past.

    `own` are the shopper's raised groups, all kinds as one; `vectors`, each (n_groups, n_taste), are the
    places of those of KINDS, `starts` the numbers that the kinds begin with, and the number of all groups.
    """
    bought, lift = own
    found = np.zeros(vectors[0].shape[1], np.float32)
    places = np.searchsorted(bought, starts).tolist()
    for kind, of_kind in enumerate(vectors):
        here = slice(places[kind], places[kind + 1])
        add_weighted(found, of_kind, bought[here] - starts[kind], lift[here])
    return found


@compiled
def add_weighted(
    found: Floats, vectors: NDArray[Any], places: NDArray[np.integer[Any]], weights: Floats
) -> None:
    """Add some vectors (n, width), each by its weight, to `found` (width,). None of them is copied."""
    n = len(places)
    for number in range(n):
        if not 0 <= places[number] < len(vectors):
            raise IndexError("a place that no vector has")
    for number in range(0, n - n % 4, 4):  # four at a time wait for memory together
        a, of_a = vectors[places[number]], weights[number]
        b, of_b = vectors[places[number + 1]], weights[number + 1]
        c, of_c = vectors[places[number + 2]], weights[number + 2]
        d, of_d = vectors[places[number + 3]], weights[number + 3]
        for column in range(len(found)):
            found[column] += of_a * a[column] + of_b * b[column] + of_c * c[column] + of_d * d[column]
    for number in range(n - n % 4, n):
        a, of_a = vectors[places[number]], weights[number]
        for column in range(len(found)):
            found[column] += of_a * a[column]


def standardised(inputs: Floats, mean: Floats, scale: Floats) -> Floats:
    """Inputs as the towers were trained on them, cut at CLIP deviations.

    A category that few ever buy has a tiny deviation; uncut, one purchase of it would drown the rest.
    """
    return np.asarray(np.clip((inputs - mean) * scale, -CLIP, CLIP), dtype=np.float32)


def hidden(inputs: Floats, arrays: Arrays, tower: str) -> Floats:
    """Two dense layers, the first with a ReLU: (..., n_in) to (..., n_taste)."""
    first = np.maximum(inputs @ arrays[f"{tower}_kernel_1"] + arrays[f"{tower}_bias_1"], 0.0)
    return np.asarray(first @ arrays[f"{tower}_kernel_2"] + arrays[f"{tower}_bias_2"], dtype=np.float32)


def query_body(inputs: Floats, tasted: Floats, arrays: Arrays) -> Floats:
    """The queries' side of the part of taste, (..., n_taste), of what `query_inputs` and `taste` gave."""
    inputs = standardised(inputs, arrays["query_mean"], arrays["query_scale"])
    return np.asarray(tasted @ arrays["query_map"] + hidden(inputs, arrays, "query"), dtype=np.float32)


def item_bodies(inputs: Floats, tastes: Floats, arrays: Arrays) -> Floats:
    """The items' side of the part of taste: (n_items, n_taste).

    `inputs` (n_items, n_in) are text vectors and item numbers, `tastes` (n_items, n_taste) the items' places
    in the taste space.
    """
    inputs = standardised(inputs, arrays["item_mean"], arrays["item_scale"])
    return np.asarray(hidden(inputs, arrays, "item") + tastes, dtype=np.float32)


def sales_part(log_sales: Floats, arrays: Arrays) -> Floats:
    """The part of sales, the same for every query: (n_items,) of (n_items, n_sales) as SALES."""
    return np.asarray(log_sales @ arrays["query_sales"], dtype=np.float32)


def sales(release: Release) -> Floats:
    """The part of sales of every item: (n_items,)."""
    return release.once("tower_sales", lambda made: sales_part(made.arrays["item_log_sales"], made.arrays))


def query_of(release: Release, shopper: Shopper, own: Raised) -> Floats:
    """The shopper's side of the part of taste, (n_taste,); `own` are their raised groups."""
    arrays, catalogue = release.arrays, release.catalogue
    text, n_categories = TextVectors.of(release), len(catalogue.category_names)
    inputs = query_inputs(shopper, text, catalogue.categories, n_categories)
    vectors = [arrays[f"taste_{kind}"] for kind in KINDS]
    starts = item_groups(release).starts[len(GROUPS) - len(KINDS) :]
    return query_body(inputs, taste(own, vectors, starts), arrays)


def two_tower(release: Release, tasted: Floats, co_purchase: Floats, items: Positions) -> Floats:
    """Inner products of a shopper with items, (n,), of what the parts give.

    `tasted` (n,) are those of the items' bodies with the shopper's `query_of`, `co_purchase` (n,) those of
    the co-purchase factors.
    """
    found = tasted + sales(release).take(items)
    found += release.arrays["query_factors"] * co_purchase
    return np.asarray(found, dtype=np.float32)


def item_side(release: Release, items: Positions) -> Floats:
    """The items' side of all three parts as one, (n, n_factors + n_taste + 1), of some items."""
    arrays = release.arrays
    parts = [arrays["factor_items"][items], arrays["item_bodies"][items], sales(release)[items, None]]
    return np.concatenate(parts, axis=1)


def query_side(release: Release, factors: Floats, query: Floats) -> Floats:
    """The shopper's side of the same, (n_factors + n_taste + 1,): an inner product is a `two_tower` score.

    `factors` (n_factors,) are the shopper's, `query` (n_taste,) is their `query_of`.
    """
    weighed = release.arrays["query_factors"] * factors
    return np.concatenate([weighed, query, [1.0]]).astype(np.float32)
