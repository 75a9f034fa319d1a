"""Candidate sources, on a release with known answers."""

import numpy as np
from tiny_release import NOW, user_row

from bentos.candidates import SOURCES, draw
from bentos.legacy_rules import recommended
from bentos.shopper import shopper


def test_every_source_scores_every_candidate(release):
    """Scores of a candidate do not depend on which source brought it."""
    who = shopper(user_row(), release, NOW)
    candidates = draw(release, who, "all")
    for column, (_, source) in enumerate(SOURCES.items()):
        np.testing.assert_array_equal(candidates.scores[:, column], source(release, who)[candidates.items])


def test_discover_draws_nothing_that_was_bought(release):
    """Not even through another source."""
    who = shopper(user_row(), release, NOW)
    assert not np.isin(draw(release, who, "discover").items, who.past.items).any()


def test_decay_halves_a_purchase_in_91_days(release):
    """A count of 8 bought 182 days ago weighs 2 now."""
    who = shopper(user_row(items=("i05",), counts=(8,), days_ago=(182,)), release, NOW)
    np.testing.assert_allclose(who.past.decayed, [2.0], rtol=1e-6)


def test_affinity_prefers_the_shoppers_own_category(release):
    """Of two equally popular items, the one of a bought category scores higher."""
    who = shopper(user_row(items=("i03",), counts=(50,), days_ago=(0,)), release, NOW)
    scores = SOURCES["category_affinity"](release, who) / release.arrays["popularity"]
    assert scores[8] > scores[7]


def test_an_unknown_shopper_gets_the_popular(release):
    """Without a past, every source but buy_again has an opinion."""
    who = shopper(None, release, NOW)
    assert not who.known
    candidates = draw(release, who, "all")
    assert len(candidates.items) == 20
    assert not candidates.drawn[:, list(SOURCES).index("buy_again")].any()


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
