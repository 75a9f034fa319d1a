"""Neighbours: what the panel newly bought, weighted by likeness, against loops over the panel."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tiny_release import N_ITEMS

from bentos.neighbours import SHARPNESS, neighbours, newly_bought


def with_panel(release, vectors, shoppers, items):
    """The release with another panel."""
    panel = {
        "panel_vectors": np.asarray(vectors, np.float32),
        "panel_shoppers": np.asarray(shoppers, np.int32),
        "panel_items": np.asarray(items, np.int32),
    }
    return replace(release, arrays={**release.arrays, **panel})


def loop(vectors, shoppers, items, mine):
    """The weighted share of each item, by loops."""
    length = math.hypot(*mine)
    cosines = [sum(a * b for a, b in zip(each, mine, strict=True)) / length for each in vectors]
    likeness = [max(cosine, 0.0) ** SHARPNESS for cosine in cosines]
    shares = [0.0] * N_ITEMS
    for who, item in zip(shoppers, items, strict=True):
        shares[item] += likeness[who] / sum(likeness)
    return shares


def shares(release, factors):
    """The share of every item: (n_items,)."""
    return neighbours(release, factors)[newly_bought(release).place_of]


@pytest.mark.parametrize("seed", range(3))
def test_shares_equal_a_loop_over_the_panel(release, seed):
    """Every item's share is what a loop over the panel's purchases adds up, tastes of all directions."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(12, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    bought = sorted({(int(rng.integers(12)), int(rng.integers(N_ITEMS))) for _ in range(50)})
    shoppers, items = zip(*bought, strict=True)
    mine = rng.normal(size=4)
    found = shares(with_panel(release, vectors, shoppers, items), mine.astype(np.float32))
    expected = loop(vectors.tolist(), shoppers, items, mine.tolist())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert (found.dtype, found.shape) == (np.float32, (N_ITEMS,))


def test_shares_of_the_tiny_panel(release):
    """For a taste of odd items, the second weighs 1, the third 0.8 ** 4, the first nothing."""
    found = shares(release, np.array([0, 0.3], np.float32))
    expected = np.zeros(N_ITEMS)
    expected[1], expected[5] = 1.0, 1 / (1 + 0.8**4)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_an_opposite_taste_counts_for_nothing(release):
    """Whoever points the other way is not like the shopper, though an even power would make them so."""
    apart = with_panel(release, [[-1, 0], [0.6, 0.8]], [0, 1], [3, 4])
    found = shares(apart, np.array([2, 0], np.float32))
    assert (found[3], found[4]) == (0, pytest.approx(1))


def test_only_the_direction_of_the_taste_counts(release):
    """A shopper of many purchases and one of few with the same taste have the same neighbours."""
    few = shares(release, np.array([0.01, 0.02], np.float32))
    many = shares(release, np.array([10, 20], np.float32))
    np.testing.assert_allclose(few, many, rtol=1e-5)


def test_nobody_has_neighbours(release):
    """Without a taste, every item's share is zero, and nothing is divided by nothing."""
    assert shares(release, np.zeros(2, np.float32)).tolist() == [0.0] * N_ITEMS


@pytest.mark.parametrize("vectors", [[[-1, 0], [0, -1]], np.zeros((0, 2))])
def test_nobody_alike_is_no_neighbour(release, vectors):
    """Where all point elsewhere, or the panel is empty, every share is zero."""
    alone = with_panel(release, vectors, [0, 1][: len(vectors)], [3, 4][: len(vectors)])
    assert shares(alone, np.array([1, 1], np.float32)).tolist() == [0.0] * N_ITEMS


def test_no_more_numbers_than_items_were_newly_bought(release):
    """Four items newly bought, and the zero of all others: as many for a catalogue of any size."""
    found = neighbours(release, np.array([0, 0.3], np.float32))
    assert sorted(newly_bought(release).items.tolist()) == [0, 1, 2, 5]
    assert len(found) == 5
    assert found[-1] == 0


@pytest.mark.parametrize("who", [-1, 2])
def test_a_buyer_must_be_of_the_panel(release, who):
    """As of a release whose parts do not fit."""
    with pytest.raises(IndexError, match="whom the panel lacks"):
        newly_bought(with_panel(release, [[1, 0], [0, 1]], [0, who], [3, 4]))
