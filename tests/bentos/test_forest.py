"""The ranker's trees as arrays, against XGBoost itself: the same bits or not at all."""

from dataclasses import replace

import numpy as np
import pytest
import xgboost
from tiny_release import NOW, user_row

from bentos import forest as forests
from bentos.candidates import draw
from bentos.forest import forest, forest_of
from bentos.ranking import ranked
from bentos.scoring import margins, matrix
from bentos.shopper import shopper

N_COLUMNS = 9


def rows_of(seed, n=300):
    """Rows of which a third of the numbers are missing, and many are equal."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, N_COLUMNS)).astype(np.float32).round(1)
    rows[rng.random(rows.shape) < 0.3] = np.nan
    return rows


def trained(depth=4, trees=30, objective="binary:logistic", **more):
    """A ranker of a made-up task, in which what is missing tells something."""
    rows = rows_of(1, 2_000)
    wanted = (np.nan_to_num(rows[:, 0], nan=1.0) * np.nan_to_num(rows[:, 1], nan=-1.0) > 0.2).astype(float)
    told = xgboost.DMatrix(rows, wanted, group=[100] * 20) if objective.startswith("rank:") else None
    data = told or xgboost.DMatrix(rows, wanted)
    parameters = {"objective": objective, "nthread": 1, "seed": 1, **more}
    if more.get("booster") != "gblinear":
        parameters["max_depth"] = depth
    return xgboost.train(parameters, data, trees)


def assert_same(ranker, rows):
    """The arrays' margins are XGBoost's, bit for bit."""
    expected = ranker.inplace_predict(rows, predict_type="margin")
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(forest_of(ranker).margins(rows), expected)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6, 7])
def test_margins_are_xgboosts_to_the_bit(depth):
    """Of trees that are not complete as of those that are, with numbers missing."""
    assert_same(trained(depth), rows_of(2))


@pytest.mark.parametrize("objective", ["rank:ndcg", "rank:pairwise", "reg:squarederror"])
def test_other_objectives_begin_with_another_base(objective):
    """The base is as it is stored where no sigmoid follows."""
    assert_same(trained(objective=objective), rows_of(2))


def test_a_threshold_itself_goes_right():
    """As numbers just below, at and above each threshold of the trees tell."""
    ranker = trained(depth=3)
    thresholds = np.unique(forest_of(ranker).thresholds)
    thresholds = thresholds[np.isfinite(thresholds)]
    around = np.concatenate([thresholds, *(np.nextafter(thresholds, np.float32(to)) for to in (-9, 9))])
    assert_same(ranker, np.repeat(around[:, None], N_COLUMNS, axis=1))


def test_rows_may_lie_in_memory_either_way():
    """Row by row, column by column, or a part of something larger."""
    ranker, rows = trained(), rows_of(2)
    expected = ranker.inplace_predict(rows, predict_type="margin")
    for same in (np.asfortranarray(rows), np.repeat(rows, 2, axis=0)[::2]):
        np.testing.assert_array_equal(forest_of(ranker).margins(same), expected)
    assert forest_of(ranker).margins(rows[:0]).shape == (0,)
    np.testing.assert_array_equal(forest_of(ranker).margins(rows[:1]), expected[:1])


@pytest.mark.parametrize("n_columns", [1, N_COLUMNS - 1, N_COLUMNS + 1])
def test_rows_of_other_columns_are_refused(n_columns):
    """As XGBoost would, and not answered from whatever lies beside them."""
    with pytest.raises(ValueError, match=f"{n_columns} columns, the ranker reads {N_COLUMNS}"):
        forest_of(trained()).margins(np.zeros((3, n_columns), np.float32))


def test_few_of_the_trees_are_a_ranker_of_their_own():
    """As the figure of quality against CPU time cuts them."""
    assert_same(trained()[:7], rows_of(2))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: trained(depth=8, min_child_weight=0), id="deeper"),
        pytest.param(lambda: trained(booster="gblinear"), id="no trees"),
        pytest.param(lambda: trained(booster="dart", rate_drop=0.5), id="trees that weigh differently"),
        pytest.param(lambda: trained(objective="count:poisson"), id="another objective"),
        pytest.param(object, id="no booster"),
    ],
)
def test_what_is_not_plain_shallow_trees_is_left_to_xgboost(other):
    """None, and nothing is said: it is no fault."""
    assert forest_of(other()) is None


def test_arrays_that_differ_are_not_used(monkeypatch, caplog):
    """One bit in what all margins begin with, and XGBoost is asked instead; the log says so."""
    ranker = trained()
    base = forests.base_margin
    monkeypatch.setattr(forests, "base_margin", lambda learner: np.nextafter(base(learner), np.float32(9)))
    assert forest_of(ranker) is None
    assert "differ from XGBoost's margins" in caplog.text


def test_probes_come_to_almost_every_leaf():
    """So that a wrong number in the arrays would be seen."""
    made = forest_of(trained(depth=3))
    rows = forests.rows_about(made)
    for tree in range(len(made.features)):
        come_to = set()
        for row in rows:
            node = 0
            while node < made.features.shape[1]:
                value = row[made.features[tree, node]]
                right = (
                    made.missing_right[tree, node]
                    if np.isnan(value)
                    else value >= made.thresholds[tree, node]
                )
                node = 2 * node + 1 + int(right)
            come_to.add(made.leaves[tree, node - made.features.shape[1]])
        assert len(come_to) >= 0.75 * len(set(made.leaves[tree]))


def test_requests_are_ranked_by_the_arrays(release, monkeypatch):
    """With the very scores that XGBoost would give."""
    who = shopper(user_row(), release, NOW)
    candidates = draw(release, who, "all")
    features = rows_of(3, len(candidates.items))[:, : len(release.manifest["features"]["item"])]
    rows = matrix(release, who, candidates, features)
    ranker = xgboost.train({"max_depth": 3}, xgboost.DMatrix(rows, np.arange(len(rows)) % 3), 20)
    shop = replace(release, rankers={"all": ranker})
    monkeypatch.delattr("bentos.ranking.margins")  # XGBoost must not be asked
    found = ranked(shop, who, candidates, features, k=5, task="all").scores
    assert np.ptp(found) > 0
    np.testing.assert_array_equal(found, ranker.inplace_predict(rows, predict_type="margin"))


def test_a_ranker_that_is_no_forest_answers_itself(release):
    """As the tiny release's, which has no trees."""
    who = shopper(user_row(), release, NOW)
    candidates = draw(release, who, "all")
    features = rows_of(3, len(candidates.items))[:, : len(release.manifest["features"]["item"])]
    rows = matrix(release, who, candidates, features)
    assert forest(release, "all") is None
    found = ranked(release, who, candidates, features, k=5, task="all").scores
    np.testing.assert_array_equal(found, margins(release.rankers["all"], rows))
