"""Pair features: what a shopper's past says about an item."""

import numpy as np
import pytest

from feature_repo.pair_features import PAIR_FEATURES, Groups, PastPurchases, few_groups, pair_features

RNG = np.random.default_rng(3)


def random_groups(n_items):
    """Random codes for every kind of group, some of which no item has."""
    sizes = (4, 9, 20, 15, 40, 70)
    draws = [RNG.integers(0, size, n_items).astype(np.int32) for size in sizes]
    return Groups(*draws)


def random_past(n_items, n_bought):
    """A past of distinct items."""
    days = (RNG.random(n_bought) * 300).astype(np.float32)
    return PastPurchases(
        items=np.sort(RNG.choice(n_items, n_bought, replace=False)).astype(np.int32),
        counts=RNG.integers(1, 9, n_bought).astype(np.float32),
        decayed=RNG.random(n_bought).astype(np.float32),
        days_since=days,
        days_since_first=days + RNG.integers(0, 200, n_bought).astype(np.float32),
        baskets_since=RNG.integers(0, 90, n_bought).astype(np.float32),
    )


def naive_row(past, groups, item, tenure):
    """One pair's features by name, by loops over the past."""
    own = [row for row in range(len(past.items)) if past.items[row] == item]
    total = sum(past.decayed)

    def same(codes):
        return [row for row in range(len(past.items)) if codes[past.items[row]] == codes[item]]

    def share(codes):
        return sum(past.decayed[row] for row in same(codes)) / total if total else 0.0

    def days(codes):
        return min((past.days_since[row] for row in same(codes)), default=np.nan)

    count = past.counts[own[0]] if own else 0.0
    since, first = (
        float(days[own[0]]) if own else np.nan for days in (past.days_since, past.days_since_first)
    )
    interval = (first - since) / (count - 1) if count > 1 else np.nan
    return {
        "pair_count": count,
        "pair_decayed_count": past.decayed[own[0]] if own else 0.0,
        "pair_days_since_last": since,
        "pair_dueness": since / (max(tenure, 1.0) / max(count, 1)),
        "pair_days_since_first": first,
        "pair_interval_days": interval,
        "pair_interval_dueness": since / (interval if np.isnan(interval) else max(interval, 1.0)),
        "pair_baskets_since_last": float(past.baskets_since[own[0]]) if own else np.nan,
        "pair_departments_share": share(groups.departments),
        "pair_categories_share": share(groups.categories),
        "pair_types_share": share(groups.types),
        "pair_manufacturers_share": share(groups.manufacturers),
        "pair_lines_share": share(groups.lines),
        "pair_variants_share": share(groups.variants),
        "pair_categories_days_since_last": days(groups.categories),
        "pair_types_days_since_last": days(groups.types),
        "pair_lines_days_since_last": days(groups.lines),
        "pair_variants_days_since_last": days(groups.variants),
        "pair_types_items": len(same(groups.types)),
        "pair_lines_items": len(same(groups.lines)),
        "pair_variants_items": len(same(groups.variants)),
    }


@pytest.mark.parametrize("n_bought", [0, 1, 25])
def test_matrix_equals_a_loop_over_the_past(n_bought):
    """Every cell of the matrix equals a naive loop over the shopper's purchases."""
    groups, past = random_groups(60), random_past(60, n_bought)
    candidates = np.sort(RNG.choice(60, 30, replace=False)).astype(np.int32)
    matrix = pair_features(past, groups, candidates, tenure_days=90.0)
    expected = [naive_row(past, groups, item, 90.0) for item in candidates]
    assert matrix.shape == (30, len(PAIR_FEATURES))
    assert set(PAIR_FEATURES) == expected[0].keys()
    for name, column in zip(PAIR_FEATURES, matrix.T, strict=True):
        np.testing.assert_allclose(column, [row[name] for row in expected], rtol=1e-5, err_msg=name)


def test_one_candidate_equals_its_row_in_a_batch():
    """A candidate's features do not depend on the other candidates."""
    groups, past = random_groups(60), random_past(60, 20)
    candidates = np.arange(60, dtype=np.int32)
    batch = pair_features(past, groups, candidates, tenure_days=30.0)
    for item in (0, 17, 59):
        single = pair_features(past, groups, np.array([item], dtype=np.int32), tenure_days=30.0)
        np.testing.assert_array_equal(single[0], batch[item])


def test_a_past_out_of_order_is_refused():
    """Positions that are not increasing would be looked up wrongly."""
    numbers = np.ones(2, dtype=np.float32)
    with pytest.raises(ValueError, match="strictly increasing"):
        PastPurchases(np.array([3, 1], dtype=np.int32), *[numbers] * 5)


@pytest.mark.parametrize("n_bought", [0, 1, 12])
def test_groups_are_numbered_anew_where_there_are_many_and_nothing_else_changes(monkeypatch, n_bought):
    """Bit for bit the same with a short numbering as with that of all groups."""
    groups, past = random_groups(60), random_past(60, n_bought)
    asked = np.arange(0, 60, 2, dtype=np.int32)
    expected = pair_features(past, groups, asked, 200.0)
    monkeypatch.setattr("feature_repo.pair_features.SPARSE", 0)
    np.testing.assert_array_equal(pair_features(past, groups, asked, 200.0), expected)


def test_a_short_numbering_undoes_itself():
    """Names of the places are the codes; with few groups these stay as they are."""
    codes = np.array([[700_000, 3], [3, 999_999]])
    names, places = few_groups(codes, 1_000_000)
    assert names.tolist() == [3, 700_000, 999_999]
    np.testing.assert_array_equal(names[places], codes)
    assert few_groups(codes, 4)[0] is None
    assert few_groups(codes, 4)[1] is codes
