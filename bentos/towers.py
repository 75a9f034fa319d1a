"""The two towers as arrays: what TensorFlow Recommenders learnt, answered with NumPy alone.

A query (user as of now) and an item meet in one inner product of `n_dim + 1` numbers. The last one is
the popularity prior: the query holds 1, the item a scaled logarithm of its own recent popularity, so
that learning starts at the popularity baseline and adds what is personal.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import Floats, PastPurchases, Positions

CLIP = 3.0  # two-tower discover recall@100 on cut 43: .0616 with, .0588 without

Arrays = Mapping[str, NDArray[Any]]


def taste(past: PastPurchases, text_vectors: Floats, categories: Positions, n_categories: int) -> Floats:
    """Taste of one shopper: mean text vector of the past, then log counts per category.

    Shape (n_text + n_categories,); purchases weigh by their decayed counts.
    """
    text = past.decayed @ text_vectors[past.items]
    text = text / max(float(np.linalg.norm(text)), 1e-9)
    counts = np.log1p(np.bincount(categories[past.items], weights=past.decayed, minlength=n_categories))
    return np.concatenate([text, counts]).astype(np.float32)


def query_inputs(shopper: Shopper, text_vectors: Floats, categories: Positions, n_categories: int) -> Floats:
    """What the query tower reads: taste, department shares, and the log of the user's numbers.

    `text_vectors` (n_items, n_text) and `categories` (n_items,) are those of the items that positions
    in the shopper's past point to.
    """
    tasted = taste(shopper.past, text_vectors, categories, n_categories)
    numbers = np.log1p(np.maximum(np.nan_to_num(shopper.scalars, nan=0.0), 0.0))
    return np.concatenate([tasted, shopper.department_shares, numbers]).astype(np.float32)


def standardised(inputs: Floats, mean: Floats, scale: Floats) -> Floats:
    """Inputs as the towers were trained on them, cut at CLIP deviations.

    A category that few ever buy has a tiny deviation; uncut, one purchase of it would drown the rest.
    """
    return np.asarray(np.clip((inputs - mean) * scale, -CLIP, CLIP), dtype=np.float32)


def hidden(inputs: Floats, arrays: Arrays, tower: str) -> Floats:
    """Two dense layers, the first with a ReLU: (..., n_in) to (..., n_dim)."""
    first = np.maximum(inputs @ arrays[f"{tower}_kernel_1"] + arrays[f"{tower}_bias_1"], 0.0)
    return np.asarray(first @ arrays[f"{tower}_kernel_2"] + arrays[f"{tower}_bias_2"], dtype=np.float32)


def query_vector(shopper: Shopper, release: Release) -> Floats:
    """The shopper's side of the inner product: (n_dim + 1,), the last is the constant 1."""
    arrays, catalogue = release.arrays, release.catalogue
    inputs = query_inputs(
        shopper, arrays["text_vectors"], catalogue.categories, len(catalogue.category_names)
    )
    inputs = standardised(inputs, arrays["query_mean"], arrays["query_scale"])
    return np.append(hidden(inputs, arrays, "query"), np.float32(1.0))


def item_vectors(inputs: Floats, identity: Floats, log_popularity: Floats, arrays: Arrays) -> Floats:
    """The items' side: (n_items, n_dim + 1).

    `inputs` (n_items, n_in) are text vectors and item numbers, `identity` (n_items, n_dim) the learnt
    vectors of items with enough sales (zero for others), `log_popularity` (n_items,) the prior.
    """
    body = hidden(standardised(inputs, arrays["item_mean"], arrays["item_scale"]), arrays, "item") + identity
    prior = log_popularity * arrays["prior_scale"]
    return np.concatenate([body, prior[:, None]], axis=1).astype(np.float32)
