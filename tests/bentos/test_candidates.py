"""Candidates and their sources, on a release with known answers."""

import math

import numpy as np
import pytest
from tiny_release import N_ITEMS, NOW, user_row

from bentos.candidates import SOURCES, Candidates, draw, opinions, ranks
from bentos.legacy_rules import recommended
from bentos.shopper import shopper
from feature_repo.pair_features import GROUPS


def by_score(scores, among):
    """Positions sorted by score, highest first, ties by position."""
    return sorted(among, key=lambda item: (-scores[item], item))


def held(**places):
    """200 candidates of which the first has that place in some sources' order; others have no opinion."""
    scores = np.full((200, len(SOURCES)), np.nan, np.float32)
    for name, place in places.items():
        column = SOURCES.index(name)
        scores[1:, column] = -np.arange(199)
        scores[0, column] = 0.5 - place  # behind 0, -1, ..., 1 - place
    items = np.arange(200, dtype=np.int32)
    return Candidates(items, scores, np.zeros((200, len(GROUPS)), np.float32))


@pytest.mark.parametrize("task", ["all", "discover"])
def test_every_source_scores_every_candidate(release, task):
    """Scores and lifts of a candidate are the opinions of the whole catalogue, NaN for no opinion."""
    who = shopper(user_row(), release, NOW)
    thought, candidates = opinions(release, who), draw(release, who, task)
    assert candidates.scores.shape == (len(candidates.items), len(SOURCES))
    assert candidates.lifts.shape == (len(candidates.items), len(GROUPS))
    for column, name in enumerate(SOURCES):
        expected = [score if score > -np.inf else np.nan for score in thought.scores[name].tolist()]
        np.testing.assert_array_equal(candidates.scores[:, column], np.array(expected)[candidates.items])
    for column, name in enumerate(GROUPS):
        np.testing.assert_array_equal(candidates.lifts[:, column], thought.lifts[name][candidates.items])
    assert thought.scores.keys() == set(SOURCES)


def test_discover_draws_nothing_that_was_bought(release):
    """Of the whole catalogue, all but what was bought."""
    who = shopper(user_row(), release, NOW)
    assert draw(release, who, "discover").items.tolist() == sorted(set(range(N_ITEMS)) - {3, 7, 13})


@pytest.mark.parametrize(("task", "repurchases"), [("all", {3, 13}), ("discover", set())])
def test_candidates_are_repurchases_and_the_best_of_the_pool(release, monkeypatch, task, repurchases):
    """Eight candidates: the two most bought and the pool's best others, where i07 counts as bought too."""
    monkeypatch.setattr("bentos.candidates.REPURCHASES", 0.25)
    who = shopper(user_row(), release, NOW)
    pool = opinions(release, who).scores["pool"].tolist()
    others = by_score(pool, set(range(N_ITEMS)) - {3, 7, 13})[: 8 - len(repurchases)]
    items = draw(release, who, task, size=8).items
    assert items.tolist() == sorted(repurchases | set(others))
    assert items.dtype == np.int32


def test_who_bought_little_leaves_room_for_the_pool(release):
    """Repurchases that are fewer than allowed are no gap: the pool fills all places."""
    who = shopper(user_row(items=("i19",), counts=(1,), days_ago=(1,)), release, NOW)
    items = draw(release, who, "all", size=8).items.tolist()
    assert len(items) == 8
    assert 19 in items


def test_tasks_can_share_opinions(release):
    """Drawn from opinions that are at hand, candidates are the same as drawn from the shopper."""
    who = shopper(user_row(), release, NOW)
    thought = opinions(release, who)
    for task in ("all", "discover"):
        shared, alone = draw(release, who, task, thought), draw(release, who, task)
        for name in ("items", "scores", "lifts"):
            np.testing.assert_array_equal(getattr(shared, name), getattr(alone, name))
    other = opinions(release, shopper(user_row(items=("i04",), counts=(9,), days_ago=(1,)), release, NOW))
    assert not np.array_equal(draw(release, who, "all", other).lifts, draw(release, who, "all").lifts)


@pytest.mark.parametrize("seed", range(3))
def test_ranks_count_better_rows(seed):
    """A rank is how many rows the column puts before this one, ties by row; no score is no rank."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, (15, 4)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = np.nan
    scores[:, 3] = np.nan
    for found, column in zip(ranks(scores).T, scores.T.tolist(), strict=True):
        order = by_score(column, [row for row, score in enumerate(column) if not math.isnan(score)])
        expected = [order.index(row) if row in order else np.nan for row in range(15)]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ({"top_sellers": 4, "neighbours": 0, "two_tower": 2}, ("neighbours", "two_tower", "top_sellers")),
        ({"affinity": 7, "buy_again": 7, "co_purchase": 7}, ("buy_again", "co_purchase", "affinity")),
        ({"buy_again": 99, "two_tower": 100, "affinity": 98}, ("affinity", "buy_again")),
        ({"pool": 0, "top_sellers": 3}, ("top_sellers",)),
        ({"pool": 0, "neighbours": 150}, ()),
    ],
)
def test_sources_are_those_with_a_place_below_100(places, told):
    """The surest first, ties as the sources are listed; the pool, which brings all, is never told."""
    candidates = held(**places)
    for name, place in places.items():
        assert candidates.ranks[0, SOURCES.index(name)] == place
    assert candidates.sources_of([0]) == [told]


def test_buy_again_knows_only_what_was_bought(release):
    """Decayed counts of the past, and no opinion of anything else."""
    who = shopper(user_row(), release, NOW)
    bought = {3: 5 * 0.5 ** (2 / 91), 13: 2 * 0.5 ** (10 / 91), 7: 0.5 ** (100 / 91)}
    expected = [bought.get(item, -math.inf) for item in range(N_ITEMS)]
    np.testing.assert_allclose(opinions(release, who).scores["buy_again"], expected, rtol=1e-5)


def test_co_purchase_is_the_inner_product_of_factors(release):
    """Odd items lie one way, which three are bought of; even ones the other, which nothing is."""
    who = shopper(user_row(), release, NOW)
    confidence = sum(4 * math.log1p(decayed) for decayed in who.past.decayed.tolist())
    expected = [item % 2 * confidence / (40 + confidence - 3) for item in range(N_ITEMS)]
    np.testing.assert_allclose(opinions(release, who).scores["co_purchase"], expected, rtol=1e-5)


def test_neighbours_are_those_of_the_shoppers_factors(release):
    """A taste for odd items sees what the second and third of the panel newly bought, and nothing else."""
    found = opinions(release, shopper(user_row(), release, NOW)).scores["neighbours"]
    expected = {1: 1.0, 5: 1 / (1 + 0.8**4)}
    np.testing.assert_allclose(found, [expected.get(item, -np.inf) for item in range(N_ITEMS)], rtol=1e-5)


def test_affinity_is_the_sum_of_lifts(release):
    """One lift an item for each kind of group, as logs over the shop's shares written out in a loop."""
    who = shopper(user_row(), release, NOW)
    thought = opinions(release, who)
    decayed = dict(zip(who.past.items.tolist(), who.past.decayed.tolist(), strict=True))
    total = sum(decayed.values())
    for item in range(N_ITEMS):
        lifts = {}
        for name, modulus in (("departments", 2), ("categories", 5), ("types", 5), ("lines", 10)):
            own = sum(count for bought, count in decayed.items() if bought % modulus == item % modulus)
            share = sum(20 - other for other in range(N_ITEMS) if other % modulus == item % modulus) / 210
            lifts[name] = math.log((own + 10 * share) / ((total + 10) * share))
            assert thought.lifts[name][item] == pytest.approx(lifts[name], rel=1e-3, abs=1e-5)
        narrow = sum(float(thought.lifts[name][item]) for name in ("manufacturers", "variants"))
        assert thought.scores["affinity"][item] == pytest.approx(sum(lifts.values()) + narrow, abs=1e-4)


def test_affinity_prefers_what_is_like_the_purchases(release):
    """The other item of a bought line goes before another of its category, which goes before any else."""
    who = shopper(user_row(items=("i03",), counts=(50,), days_ago=(0,)), release, NOW)
    scores = opinions(release, who).scores["affinity"]
    assert scores[13] > scores[8] > scores[10]


def test_top_sellers_are_everybodys(release):
    """Baskets of four weeks, whoever asks."""
    for row in (None, user_row()):
        found = opinions(release, shopper(row, release, NOW)).scores["top_sellers"]
        assert found.tolist() == [20 - item for item in range(N_ITEMS)]


def test_decay_halves_a_purchase_in_91_days(release):
    """A count of 8 bought 182 days ago weighs 2 now."""
    who = shopper(user_row(items=("i05",), counts=(8,), days_ago=(182,)), release, NOW)
    np.testing.assert_allclose(who.past.decayed, [2.0], rtol=1e-6)


@pytest.mark.parametrize("task", ["all", "discover"])
def test_an_unknown_shopper_gets_the_popular(release, task):
    """Without a past the pool's best are the best sellers, and all that goes by a past is silent."""
    who = shopper(None, release, NOW)
    assert not who.known
    candidates = draw(release, who, task, size=6)
    assert candidates.items.tolist() == [0, 1, 2, 3, 4, 5]
    assert not candidates.lifts.any()
    silent = {
        name for name, column in zip(SOURCES, candidates.scores.T, strict=True) if np.isnan(column).all()
    }
    assert silent == {"buy_again", "co_purchase", "neighbours", "affinity"}
    heard = [place for place, name in enumerate(SOURCES) if name not in silent]
    assert np.isfinite(candidates.scores[:, heard]).all()
    assert set(candidates.sources_of([0])[0]) == {"two_tower", "top_sellers"}


def test_segment_rule_follows_the_shoppers_department(release):
    """Segment north prefers the least popular (its counts are reversed), south only odd positions."""
    north = shopper(user_row(department="north"), release, NOW)
    south = shopper(user_row(department="south"), release, NOW)
    nobody = shopper(None, release, NOW)
    assert recommended("segment", release, north, 3, "all").tolist() == [19, 18, 17]
    assert recommended("segment", release, south, 3, "all").tolist() == [1, 3, 5]
    assert recommended("segment", release, nobody, 3, "all").tolist() == [0, 1, 2]


def test_buy_again_fills_with_top_sellers(release):
    """Own purchases by decayed count come first, then the most popular others."""
    who = shopper(user_row(), release, NOW)
    assert recommended("buy_again", release, who, 6, "all").tolist() == [3, 13, 7, 0, 1, 2]
    assert recommended("buy_again", release, who, 3, "discover").tolist() == [0, 1, 2]
