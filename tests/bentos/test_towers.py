"""The towers in NumPy, against matrices that can be multiplied by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tiny_release import N_CATEGORIES, N_TEXT, NOW, user_row

from bentos.candidates import opinions
from bentos.shopper import shopper
from bentos.towers import CLIP, hidden, item_vectors, query_inputs, query_vector, standardised, taste
from feature_repo.pair_features import PastPurchases

HAND = {
    "item_kernel_1": np.array([[1, -1], [0, 2]], np.float32),
    "item_bias_1": np.array([0.5, -1], np.float32),
    "item_kernel_2": np.array([[1, 10], [100, 1000]], np.float32),
    "item_bias_2": np.array([0.25, 0], np.float32),
    "item_mean": np.array([1, 0], np.float32),
    "item_scale": np.array([2, 1], np.float32),
    "prior_scale": np.float32(0.5),
}


def past_of(items, decayed):
    """A past of which only items and their decayed counts matter."""
    some = np.asarray(decayed, np.float32)
    return PastPurchases(np.asarray(items, np.int32), np.ones_like(some), some, *[np.zeros_like(some)] * 3)


def test_hidden_is_two_layers_with_one_relu():
    """(2, 1) gives (2.5, -1) before the ReLU, hence (2.5, 0), hence (2.75, 25); the second has no ReLU."""
    np.testing.assert_allclose(hidden(np.array([2, 1], np.float32), HAND, "item"), [2.75, 25.0])
    minus = HAND | {"item_kernel_2": -HAND["item_kernel_2"]}
    np.testing.assert_allclose(hidden(np.array([2, 1], np.float32), minus, "item"), [-2.25, -25.0])


def test_inputs_are_standardised_and_cut():
    """Inputs lose their mean, are scaled, and end at CLIP deviations on both sides."""
    inputs = np.array([[1, 1], [2, -1], [900, -900]], np.float32)
    expected = [[0, 1], [2, -1], [CLIP, -CLIP]]
    assert standardised(inputs, HAND["item_mean"], HAND["item_scale"]).tolist() == expected


def test_item_vector_is_tower_plus_identity_and_popularity_prior():
    """The body is the tower's output plus the item's own vector, the last number the scaled log sales."""
    inputs = np.array([[2, 1], [1, 0]], np.float32)  # standardised: (2, 1) and (0, 0)
    identity = np.array([[0, 0], [7, 8]], np.float32)
    popularity = np.log1p(np.array([99, 0], np.float32))
    vectors = item_vectors(inputs, identity, popularity, HAND)
    expected = [[2.75, 25, 0.5 * math.log(100)], [0.5 + 0.25 + 7, 5 + 8, 0]]
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)
    assert vectors.dtype == np.float32


def test_taste_is_mean_direction_and_log_counts():
    """Two purchases of weight 3 and 1: the text points 3 to 1, categories count log(1 + weight)."""
    text, counts = np.eye(3, dtype=np.float32), [0, math.log1p(3.0), 0, math.log1p(1.0)]
    found = taste(past_of([0, 2], [3, 1]), text, np.array([1, 0, 3]), 4)
    np.testing.assert_allclose(found, [3 / math.sqrt(10), 0, 1 / math.sqrt(10), *counts], rtol=1e-6)


def test_taste_of_nobody_is_zero():
    """Without a past there is no direction to point to, and no division by nothing."""
    assert taste(past_of([], []), np.eye(3, dtype=np.float32), np.array([1, 0, 3]), 4).tolist() == [0.0] * 7


def test_query_reads_taste_shares_and_log_numbers(release):
    """After the taste come the department shares, then logs; what is missing or negative counts as zero."""
    row = user_row() | {"user_spend_28d": -5.0, "user_tenure_days": None}
    who = shopper(row, release, NOW)
    text, categories = release.arrays["text_vectors"], release.catalogue.categories
    found = query_inputs(who, text, categories, N_CATEGORIES)
    assert found[: N_TEXT + N_CATEGORIES].tolist() == taste(who.past, text, categories, N_CATEGORIES).tolist()
    assert found[N_TEXT + N_CATEGORIES :].tolist() == [0.75, 0.25, 0.0, 0.0, 0.0]
    spent = query_inputs(shopper(user_row(), release, NOW), text, categories, N_CATEGORIES)
    np.testing.assert_allclose(spent[-2:], [math.log(51), math.log(201)], rtol=1e-6)


def test_zero_towers_rank_by_the_popularity_prior(release):
    """The query's last number is 1: towers that have learnt nothing score each item by its popularity."""
    who = shopper(user_row(), release, NOW)
    assert query_vector(who, release).tolist() == [0.0, 0.0, 1.0]
    found = opinions(release, who).scores["two_tower"]
    np.testing.assert_allclose(found, np.log1p(release.arrays["popularity"]), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_score_is_the_inner_product_of_a_plain_loop(release, seed):
    """With random towers, every item's score is what sums over layers, written out, give."""
    rng = np.random.default_rng(seed)
    shapes = {name: each.shape for name, each in release.arrays.items() if name.startswith("query_")}
    shapes["item_vectors"] = release.arrays["item_vectors"].shape
    drawn = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    random = replace(release, arrays={**release.arrays, **drawn})
    who = shopper(user_row(), random, NOW)
    raw = query_inputs(who, random.arrays["text_vectors"], random.catalogue.categories, N_CATEGORIES)
    centred = zip(raw.tolist(), drawn["query_mean"].tolist(), drawn["query_scale"].tolist(), strict=True)
    x = [max(-CLIP, min(CLIP, (value - mean) * scale)) for value, mean, scale in centred]
    first = [max(0.0, value) for value in layer(x, drawn, 1)]
    query = [*layer(first, drawn, 2), 1.0]
    expected = [sum(q * v for q, v in zip(query, item, strict=True)) for item in drawn["item_vectors"]]
    found = opinions(random, who).scores["two_tower"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def layer(x, arrays, number):
    """One dense layer of the query tower, by loops."""
    kernel, bias = arrays[f"query_kernel_{number}"], arrays[f"query_bias_{number}"]
    sums = [sum(value * kernel[row, column] for row, value in enumerate(x)) for column in range(len(bias))]
    return [float(total + offset) for total, offset in zip(sums, bias, strict=True)]
