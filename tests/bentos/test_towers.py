"""The towers in NumPy, against matrices that can be multiplied by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tiny_release import N_CATEGORIES, N_TEXT, NOW, user_row

from bentos.affinity import PRIOR, item_groups, joined, raised
from bentos.candidates import opinions
from bentos.factors import shopper_factors
from bentos.shopper import shopper
from bentos.text_vectors import TextVectors
from bentos.towers import (
    CLIP,
    KINDS,
    add_weighted,
    hidden,
    item_bodies,
    profile,
    query_inputs,
    standardised,
    taste,
)
from feature_repo.pair_features import GROUPS, Groups, PastPurchases

HAND = {
    "item_kernel_1": np.array([[1, -1], [0, 2]], np.float32),
    "item_bias_1": np.array([0.5, -1], np.float32),
    "item_kernel_2": np.array([[1, 10], [100, 1000]], np.float32),
    "item_bias_2": np.array([0.25, 0], np.float32),
    "item_mean": np.array([1, 0], np.float32),
    "item_scale": np.array([2, 1], np.float32),
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


def test_item_body_is_tower_plus_taste():
    """The tower's output plus the item's place in the taste space."""
    inputs = np.array([[2, 1], [1, 0]], np.float32)  # standardised: (2, 1) and (0, 0)
    bodies = item_bodies(inputs, np.array([[0, 0], [7, 8]], np.float32), HAND)
    np.testing.assert_allclose(bodies, [[2.75, 25], [0.5 + 0.25 + 7, 5 + 8]], rtol=1e-6)
    assert bodies.dtype == np.float32


def test_a_raised_group_is_its_lift_over_one_never_bought():
    """Log share over the shop's, less what a group has of which nothing was bought; others are left out."""
    codes, share = np.array([2, 0, 2, 1]), np.array([0.5, 0.3, 0.2], np.float32)
    own, lift = raised(past_of([0, 1, 2], [3, 1, 2]), codes, share)
    assert own.tolist() == [0, 2]

    def lifted(count, part):
        return math.log((count + PRIOR * part) / ((6 + PRIOR) * part))

    expected = [lifted(1, 0.5) - lifted(0, 0.5), lifted(5, 0.2) - lifted(0, 0.2)]
    np.testing.assert_allclose(lift, expected, rtol=1e-6)


def test_taste_sums_lifts_over_groups_of_every_kind():
    """By a loop over kinds and groups; nothing bought is no taste."""
    rng = np.random.default_rng(4)
    codes = {kind: rng.permutation([0, 0, 1, 1, 2, 2]).astype(np.int32) for kind in GROUPS}
    shop = {kind: rng.dirichlet([1, 1, 1]).astype(np.float32) for kind in KINDS}
    vectors = {kind: rng.normal(size=(3, 2)).astype(np.float32) for kind in KINDS}
    past, expected = past_of([1, 3, 4], [2, 1, 4]), np.zeros(2)
    for kind in KINDS:
        for group in range(3):
            count = sum(past.decayed[codes[kind][past.items] == group])
            expected += math.log(1 + count / (PRIOR * shop[kind][group])) * vectors[kind][group]
    shop["departments"] = np.ones(3, np.float32) / 3
    places, groups = [vectors[kind] for kind in KINDS], Groups(**codes)
    for bought, sums in ((past, expected), (past_of([], []), [0, 0])):
        own = raised(bought, groups.joint, joined(shop))
        np.testing.assert_allclose(taste(own, places, groups.starts[1:]), sums, rtol=1e-4)


def test_profile_is_mean_direction_and_log_counts():
    """Weights 3 and 1, texts of length 1 and 2: the text points 3 to 2, categories count log(1 + weight)."""
    text, counts = np.diag([1, 1, 2]).astype(np.float32), [0, math.log1p(3.0), 0, math.log1p(1.0)]
    found = profile(past_of([0, 2], [3, 1]), TextVectors.rounded(text), np.array([1, 0, 3]), 4)
    np.testing.assert_allclose(found, [3 / math.sqrt(13), 0, 2 / math.sqrt(13), *counts], rtol=1e-6)


def test_profile_of_nobody_is_zero():
    """Without a past there is no direction to point to, and no division by nothing."""
    text = TextVectors.rounded(np.eye(3, dtype=np.float32))
    assert profile(past_of([], []), text, np.array([1, 0, 3]), 4).tolist() == [0.0] * 7


def test_query_reads_profile_shares_and_log_numbers(release):
    """After the profile come the department shares, then logs; what is missing or negative counts as zero."""
    row = user_row() | {"user_spend_28d": -5.0, "user_tenure_days": None}
    who = shopper(row, release, NOW)
    text, categories = TextVectors.of(release), release.catalogue.categories
    found = query_inputs(who, text, categories, N_CATEGORIES)
    assert (
        found[: N_TEXT + N_CATEGORIES].tolist() == profile(who.past, text, categories, N_CATEGORIES).tolist()
    )
    assert found[N_TEXT + N_CATEGORIES :].tolist() == [0.75, 0.25, 0.0, 0.0, 0.0]
    spent = query_inputs(shopper(user_row(), release, NOW), text, categories, N_CATEGORIES)
    np.testing.assert_allclose(spent[-2:], [math.log(51), math.log(201)], rtol=1e-6)


def test_zero_towers_rank_by_sales(release):
    """Towers that have learnt nothing, factors included, score each item by its log sales."""
    who = shopper(user_row(), release, NOW)
    found = opinions(release, who).scores["two_tower"]
    np.testing.assert_allclose(found, np.log1p(release.arrays["popularity"]), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_score_is_the_inner_product_of_a_plain_loop(release, seed):
    """With random towers, every item's score is what sums over layers, written out, give."""
    rng = np.random.default_rng(seed)
    learnt = ("query_", "taste_", "item_bodies", "item_log_sales", "factor_items")
    shapes = {name: np.shape(each) for name, each in release.arrays.items() if name.startswith(learnt)}
    drawn = {name: np.asarray(rng.normal(size=shape), np.float32) for name, shape in shapes.items()}
    random = replace(release, arrays={**release.arrays, **drawn})
    who = shopper(user_row(), random, NOW)
    raw = query_inputs(who, TextVectors.of(random), random.catalogue.categories, N_CATEGORIES)
    centred = zip(raw.tolist(), drawn["query_mean"].tolist(), drawn["query_scale"].tolist(), strict=True)
    x = [max(-CLIP, min(CLIP, (value - mean) * scale)) for value, mean, scale in centred]
    first = [max(0.0, value) for value in layer(x, drawn, 1)]
    groups, shares = item_groups(random), random.arrays
    tasted = np.zeros(drawn["query_map"].shape[0])
    for kind in KINDS:
        bought, lift = raised(who.past, getattr(groups, kind), shares[f"shop_share_{kind}"])
        for group, by in zip(bought, lift, strict=True):
            tasted += by * drawn[f"taste_{kind}"][group]
    body = [
        value + float(tasted @ drawn["query_map"][:, n]) for n, value in enumerate(layer(first, drawn, 2))
    ]
    factors = drawn["query_factors"] * shopper_factors(random, who.past)
    query = [*body, *drawn["query_sales"].tolist(), *factors.tolist()]
    items = np.hstack([drawn["item_bodies"], drawn["item_log_sales"], drawn["factor_items"]])
    expected = [sum(q * v for q, v in zip(query, item, strict=True)) for item in items]
    found = opinions(random, who).scores["two_tower"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def layer(x, arrays, number):
    """One dense layer of the query tower, by loops."""
    kernel, bias = arrays[f"query_kernel_{number}"], arrays[f"query_bias_{number}"]
    sums = [sum(value * kernel[row, column] for row, value in enumerate(x)) for column in range(len(bias))]
    return [float(total + offset) for total, offset in zip(sums, bias, strict=True)]


def test_places_of_groups_without_items_are_passed_over(release):
    """A manufacturer of whom nothing is sold any more moves no other group to a wrong place."""
    rng = np.random.default_rng(3)
    drawn = {
        name: np.asarray(rng.normal(size=each.shape), np.float32)
        for name, each in release.arrays.items()
        if name.startswith("taste_")
    }
    arrays = {**release.arrays, **drawn, "query_map": np.eye(drawn["taste_lines"].shape[1], dtype=np.float32)}
    more = np.concatenate([drawn["taste_manufacturers"], np.full((1, arrays["query_map"].shape[0]), 9.0)])
    who = shopper(user_row(), release, NOW)
    found = [
        opinions(replace(release, arrays=made), who).query
        for made in (arrays, {**arrays, "taste_manufacturers": more.astype(np.float32)})
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("place", [-1, 3])
def test_a_place_without_a_vector_is_an_error(place):
    """As of a release whose parts do not fit."""
    with pytest.raises(IndexError, match="no vector"):
        add_weighted(
            np.zeros(2, np.float32), np.ones((3, 2), np.float32), np.array([0, place]), np.ones(2, np.float32)
        )
