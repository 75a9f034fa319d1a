"""Legacy rules, against plain sorting."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_release import N_ITEMS, NOW, user_row

from bentos.legacy_rules import LEGACY_RULES, recommended
from bentos.shopper import shopper


@pytest.fixture(params=range(3))
def shuffled(release, request):
    """The tiny release with random popularity, in which many items tie."""
    rng = np.random.default_rng(request.param)
    popularity = rng.integers(0, 6, N_ITEMS).astype(np.float32)
    segments = rng.integers(0, 6, (2, N_ITEMS)).astype(np.float32)
    return replace(
        release, arrays={**release.arrays, "popularity": popularity, "segment_popularity": segments}
    )


def ranked(keys, without=()):
    """Positions sorted by key, highest first, ties by position."""
    keys = list(keys)
    return sorted(
        (item for item in range(N_ITEMS) if item not in without), key=lambda item: (-keys[item], item)
    )


@pytest.mark.parametrize("task", ["all", "discover"])
@pytest.mark.parametrize("n", [0, 3, N_ITEMS, 100])
def test_top_sellers_are_sorted_by_popularity(shuffled, task, n):
    """Everybody's best sellers, most baskets first; discover leaves out what was bought."""
    who = shopper(user_row(), shuffled, NOW)
    without = {3, 7, 13} if task == "discover" else ()
    expected = ranked(shuffled.arrays["popularity"].tolist(), without)[:n]
    assert recommended("top_sellers", shuffled, who, n, task).tolist() == expected


@pytest.mark.parametrize(
    ("department", "row"), [("north", 0), ("south", 1), ("", None), ("elsewhere", None), (None, None)]
)
def test_segment_sorts_by_its_own_popularity(shuffled, department, row):
    """A shopper's segment has its own best sellers; without a known segment they are everybody's."""
    who = shopper(user_row(department=department), shuffled, NOW)
    popularity = shuffled.arrays["popularity"] if row is None else shuffled.arrays["segment_popularity"][row]
    assert recommended("segment", shuffled, who, N_ITEMS, "all").tolist() == ranked(popularity.tolist())


def test_buy_again_is_the_own_past_then_top_sellers(shuffled):
    """First the own purchases by decayed count, even a nearly forgotten one, then popular others."""
    bought = {"i03": 4 * 0.5 ** (2 / 91), "i13": 0.5 ** (3_000 / 91), "i07": 2 * 0.5 ** (91 / 91)}
    row = user_row(items=tuple(bought), counts=(4, 1, 2), days_ago=(2, 3_000, 91))
    who = shopper(row, shuffled, NOW)
    own = [int(item[1:]) for item in sorted(bought, key=lambda item: -bought[item])]
    expected = own + ranked(shuffled.arrays["popularity"].tolist(), own)
    assert recommended("buy_again", shuffled, who, N_ITEMS, "all").tolist() == expected


def test_category_affinity_is_popularity_times_the_lift(shuffled):
    """Popularity times the share of the category in the own purchases, ten of the shop's added, over its."""
    who = shopper(user_row(), shuffled, NOW)
    bought = dict(zip(who.past.items.tolist(), who.past.decayed.tolist(), strict=True))
    shares = shuffled.arrays["shop_share_categories"].tolist()
    popularity = shuffled.arrays["popularity"].tolist()
    expected = []
    for item in range(N_ITEMS):
        own = sum(count for other, count in bought.items() if other % 5 == item % 5)
        share = shares[item % 5]
        expected.append(popularity[item] * (own + 10 * share) / ((sum(bought.values()) + 10) * share))
    found = LEGACY_RULES["category_affinity"](shuffled, who)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert recommended("category_affinity", shuffled, who, N_ITEMS, "all").tolist() == ranked(found.tolist())


@pytest.mark.parametrize("rule", LEGACY_RULES)
def test_every_rule_answers_for_nobody(release, rule):
    """A shopper without a past and without a segment gets top sellers from each rule."""
    who = shopper(None, release, NOW)
    assert recommended(rule, release, who, 5, "all").tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("rule", LEGACY_RULES)
def test_rules_do_not_change_the_release(release, rule):
    """Scores are new arrays or read only: the release's own stay as they are."""
    who = shopper(user_row(), release, NOW)
    before = {name: array.copy() for name, array in release.arrays.items()}
    recommended(rule, release, who, 10, "discover")
    for name, array in release.arrays.items():
        np.testing.assert_array_equal(array, before[name])


def test_no_sales_at_all_are_no_error(release):
    """In a shop that has sold nothing, items come by position."""
    empty = replace(release, arrays={**release.arrays, "popularity": np.zeros(N_ITEMS, np.float32)})
    who = shopper(user_row(), empty, NOW)
    assert recommended("buy_again", empty, who, 5, "all").tolist() == [3, 13, 7, 0, 1]
