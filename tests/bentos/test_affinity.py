"""Affinity: the shopper's shares of groups over the shop's, against loops and numbers by hand."""

import math

import numpy as np
import pytest
from tiny_release import NOW, user_row

from bentos.affinity import PRIOR, item_groups, joined, lifts, raised, shop_share
from bentos.shopper import NOBODY, shopper
from feature_repo.pair_features import GROUPS, Groups, PastPurchases

N_ITEMS = 60


def told(past, groups, shop):
    """The lifts of a past, by kind of group."""
    shares = joined(shop)
    found = lifts(past, raised(past, groups.joint, shares), len(shares))
    return dict(zip(GROUPS, np.split(found, groups.starts[1:-1]), strict=True))


def random_groups(rng):
    """Codes of 60 items by kind of group."""
    return Groups(*(rng.integers(0, size, N_ITEMS).astype(np.int32) for size in (3, 9, 20, 15, 40, 55)))


def random_shares(rng, groups):
    """Some share of the shop for each group of each kind, summing to one."""
    sizes = {name: int(getattr(groups, name).max()) + 1 for name in GROUPS}
    return {name: rng.dirichlet(np.full(size, 2.0)).astype(np.float32) for name, size in sizes.items()}


def past_of(items, decayed):
    """A past of which only items and their decayed counts matter."""
    some = np.asarray(decayed, np.float32)
    return PastPurchases(np.asarray(items, np.int32), np.ones_like(some), some, *[np.zeros_like(some)] * 3)


def alike(codes):
    """Groups of every kind with the same codes."""
    return Groups(*(np.asarray(codes, np.int32) for _ in GROUPS))


def test_groups_are_the_releases_codes(release):
    """Three kinds of groups are the catalogue's, three the arrays', none mistaken for another."""
    groups = item_groups(release)
    assert groups.departments is release.catalogue.departments
    assert groups.categories is release.catalogue.categories
    assert groups.types is release.catalogue.types
    assert groups.manufacturers is release.arrays["manufacturers"]
    assert groups.lines is release.arrays["lines"]
    assert groups.variants is release.arrays["variants"]


def test_shop_share_is_of_baskets_plus_one_half_each():
    """Baskets 3 and an unknown number in group 0, 1 in group 2: (3.5, 0.5, 1.5) of 5.5."""
    found = shop_share(np.array([0, 0, 2], np.int32), np.array([3, np.nan, 1], np.float32))
    np.testing.assert_allclose(found, [3.5 / 5.5, 0.5 / 5.5, 1.5 / 5.5], rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_bought", [1, 25])
def test_lifts_equal_a_loop_over_the_past(seed, n_bought):
    """Every lift is log((own + PRIOR * share) / ((all + PRIOR) * share)), own summed in a plain loop."""
    rng = np.random.default_rng(seed)
    groups = random_groups(rng)
    shop = random_shares(rng, groups)
    bought = np.sort(rng.choice(N_ITEMS, n_bought, replace=False))
    past = past_of(bought, rng.uniform(0, 9, n_bought))
    found = told(past, groups, shop)
    purchases = list(zip(past.items.tolist(), past.decayed.tolist(), strict=True))
    total = sum(weight for _, weight in purchases)
    assert tuple(found) == GROUPS
    for name in GROUPS:
        codes = getattr(groups, name).tolist()
        expected = []
        for group, share in enumerate(shop[name].tolist()):
            own = sum(weight for item, weight in purchases if codes[item] == group)
            expected.append(math.log((own + PRIOR * share) / ((total + PRIOR) * share)))
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)
        assert found[name].dtype == np.float32


def test_lifts_are_zero_without_a_past():
    """Exactly zero for every group: an unknown shopper buys as the shop does."""
    rng = np.random.default_rng(0)
    groups = random_groups(rng)
    for values in told(NOBODY, groups, random_shares(rng, groups)).values():
        assert not values.any()


def test_ten_purchases_weigh_as_much_as_the_shop():
    """All ten in a group of a quarter of the shop: half 1, half 0.25, which is 2.5 times the shop's share."""
    shop = {name: np.array([0.25, 0.75], np.float32) for name in GROUPS}
    found = told(past_of([0], [10]), alike([0, 1]), shop)
    for values in found.values():
        np.testing.assert_allclose(values, [math.log(2.5), math.log(0.5)], rtol=1e-5)


def test_buying_as_the_shop_does_is_no_lift():
    """Three purchases to one where the shop's shares are three to one: nothing is preferred, however many."""
    shop = {name: np.array([0.75, 0.25], np.float32) for name in GROUPS}
    for values in told(past_of([0, 1], [300, 100]), alike([0, 1]), shop).values():
        np.testing.assert_allclose(values, [0, 0], atol=1e-6)


def test_lifts_of_the_tiny_release(release):
    """Somebody who buys odd items only has a lift for the south and the opposite for the north."""
    who = shopper(user_row(), release, NOW)
    shop = {name: release.arrays[f"shop_share_{name}"] for name in GROUPS}
    north, south = told(who.past, item_groups(release), shop)["departments"].tolist()
    total = sum(count * 0.5 ** (days / 91) for count, days in ((5, 2), (2, 10), (1, 100)))
    share = sum(range(1, 20, 2)) / sum(range(21))  # odd positions sold 19, 17, ... 1 of 210 baskets
    assert south == pytest.approx(math.log((total + 10 * share) / ((total + 10) * share)), rel=1e-4)
    assert north == pytest.approx(math.log(10 / (total + 10)), rel=1e-4)


@pytest.mark.parametrize("n_bought", [0, 1, 25])
def test_raised_groups_are_the_same_however_many_groups_there_are(monkeypatch, n_bought):
    """Bit for bit, counted in an array of all groups or of those bought from alone."""
    rng = np.random.default_rng(n_bought)
    groups = random_groups(rng)
    past = past_of(np.sort(rng.choice(N_ITEMS, n_bought, replace=False)), rng.random(n_bought))
    shares = joined(random_shares(rng, groups))
    found = []
    for sparse in (0, 10**6):
        monkeypatch.setattr("feature_repo.pair_features.SPARSE", sparse)
        found.append(raised(past, groups.joint, shares))
    for few, many in zip(*found, strict=True):
        np.testing.assert_array_equal(few, many)
        assert few.dtype == many.dtype


def test_a_group_that_the_shop_has_no_share_of_is_an_error():
    """As of a release whose parts do not fit: no number is taken from beyond an array."""
    rng = np.random.default_rng(0)
    groups = random_groups(rng)
    past = past_of(np.arange(N_ITEMS), np.ones(N_ITEMS))
    with pytest.raises(IndexError, match="no share"):
        raised(past, groups.joint, joined(random_shares(rng, groups))[:-1])
