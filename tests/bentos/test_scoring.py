"""The ranker's matrix: every column is what its name says."""

import numpy as np
import pytest
from tiny_release import ITEM_FEATURES, NOW, USER_FEATURES, InMemory, user_row

from bentos.affinity import item_groups
from bentos.candidates import SOURCES, draw, opinions
from bentos.scoring import best_first, margins, matrix, matrix_columns, past_numbers
from bentos.shopper import shopper
from feature_repo.pair_features import GROUPS, PAIR_FEATURES, pair_features

COLUMNS = matrix_columns(USER_FEATURES, ITEM_FEATURES)


@pytest.fixture
def scored(release):
    """A shopper, the candidates, their item features, and the matrix as columns by name."""
    who = shopper(user_row(), release, NOW)
    candidates = draw(release, who, "all")
    features = InMemory({}, missing=["i05"]).read_items(candidates.items)
    rows = matrix(release, who, candidates, features)
    assert rows.dtype == np.float32
    assert rows.shape == (len(candidates.items), len(COLUMNS))
    return who, candidates, features, dict(zip(COLUMNS, rows.T, strict=True))


def test_column_names_are_distinct():
    """No name stands for two columns, and none is forgotten."""
    assert len(set(COLUMNS)) == len(COLUMNS)
    opinions_of = {f"{what}_{name}" for what in ("score", "rank") for name in SOURCES}
    lifts = {f"lift_{name}" for name in GROUPS}
    counted = {"past_items", "past_new_items_28d", "type_popularity", "variant_popularity"}
    named = {*ITEM_FEATURES, *USER_FEATURES, *PAIR_FEATURES, "department_share"}
    assert set(COLUMNS) == named | opinions_of | lifts | counted


def test_item_columns_are_the_items(scored):
    """Item features stand in the release's order, NaN where the store has none."""
    _, _, features, columns = scored
    for place, name in enumerate(ITEM_FEATURES):
        np.testing.assert_array_equal(columns[name], features[:, place])
    assert np.isnan(columns[ITEM_FEATURES[0]]).sum() == 1


def test_user_columns_are_the_same_in_every_row(scored):
    """The shopper's numbers are repeated for every candidate."""
    _, _, _, columns = scored
    assert set(columns["user_spend_28d"].tolist()) == {50.0}
    assert set(columns["user_tenure_days"].tolist()) == {200.0}
    assert set(columns["past_items"].tolist()) == {3.0}
    assert set(columns["past_new_items_28d"].tolist()) == {0.0}


def test_past_numbers_count_items_and_the_new_ones(release):
    """Of six items, four were bought once, two of those within the last four weeks, the 28th day included."""
    row = user_row(("i01", "i02", "i03", "i04", "i05", "i06"), (1, 1, 1, 1, 2, 9), (3, 28, 29, 200, 1, 99))
    assert past_numbers(shopper(row, release, NOW)).tolist() == [6.0, 2.0]
    assert past_numbers(shopper(None, release, NOW)).tolist() == [0.0, 0.0]


def test_pair_columns_are_the_pair_features(scored, release):
    """Pair features are those of the one function that training calls too."""
    who, candidates, _, columns = scored
    pairs = pair_features(who.past, item_groups(release), candidates.items, who.tenure_days)
    for place, name in enumerate(PAIR_FEATURES):
        np.testing.assert_array_equal(columns[name], pairs[:, place])
    counts = dict(zip(candidates.items.tolist(), columns["pair_count"].tolist(), strict=True))
    assert {item: count for item, count in counts.items() if count} == {3: 5.0, 13: 2.0, 7: 1.0}


def test_score_columns_are_the_sources_opinions(scored, release):
    """Each source's score of each candidate stands under its name, missing where it would never show it."""
    who, candidates, _, columns = scored
    thought = opinions(release, who)
    for name in SOURCES:
        scores = thought.scores[name][candidates.items]
        np.testing.assert_array_equal(columns[f"score_{name}"], np.where(np.isinf(scores), np.nan, scores))
    assert np.isnan(columns["score_buy_again"]).sum() == len(candidates.items) - 3


def test_rank_columns_count_better_candidates(scored, release):
    """A candidate's rank is how many candidates a source puts before it, ties by position, NaN unscored."""
    who, candidates, _, columns = scored
    thought = opinions(release, who)
    for name in SOURCES:
        scores = thought.scores[name][candidates.items].tolist()
        order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
        ranks = [order.index(row) if scores[row] > -np.inf else np.nan for row in range(len(scores))]
        np.testing.assert_array_equal(columns[f"rank_{name}"], ranks)


def test_lift_columns_are_those_of_the_items_groups(scored, release):
    """The shopper's lift of each kind of group that the candidate is of."""
    who, candidates, _, columns = scored
    thought = opinions(release, who)
    for name in GROUPS:
        np.testing.assert_array_equal(columns[f"lift_{name}"], thought.lifts[name][candidates.items])
    assert len({tuple(columns[f"lift_{name}"].tolist()) for name in GROUPS}) == 4  # two pairs are the same


def test_demand_columns_are_of_the_items_type_and_variant(scored, release):
    """Log of one more than what the type sells, and the variant, summed in a loop."""
    _, candidates, _, columns = scored
    variants = release.arrays["variants"].tolist()
    for row, item in enumerate(candidates.items.tolist()):
        same = [20 - other for other in range(20) if other % 5 == item % 5]
        np.testing.assert_allclose(columns["type_popularity"][row], np.log1p(sum(same)), rtol=1e-6)
        alike = [20 - other for other in range(20) if variants[other] == variants[item]]
        np.testing.assert_allclose(columns["variant_popularity"][row], np.log1p(sum(alike)), rtol=1e-6)


def test_department_share_is_that_of_the_items_department(scored):
    """North, the even positions, has 0.75 of the shopper's lines, south 0.25."""
    _, candidates, _, columns = scored
    assert columns["department_share"].tolist() == [
        0.75 if item % 2 == 0 else 0.25 for item in candidates.items.tolist()
    ]


def test_order_is_by_score_then_position():
    """Best first; equal scores go by the item's position, not by the row."""
    scores = np.array([1, 3, 3, 2, 1], np.float32)
    items = np.array([9, 8, 2, 5, 1], np.int32)
    expected = sorted(range(5), key=lambda row: (-scores[row], items[row]))
    assert best_first(scores, items).tolist() == expected == [2, 1, 3, 4, 0]


def test_margins_keep_apart_what_the_sigmoid_does_not():
    """The raw margin is asked for: scores beyond a sigmoid's float32 range stay in order."""

    class Sure:
        def inplace_predict(self, rows, predict_type):
            """Margins far out, where 1 / (1 + exp(-margin)) rounds to 1 for all."""
            assert predict_type == "margin"
            return rows[:, 0].astype(np.float64)

    found = margins(Sure(), np.array([[30], [40], [50]], np.float32))
    assert (found.tolist(), found.dtype) == ([30.0, 40.0, 50.0], np.float32)
