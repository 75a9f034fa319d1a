"""Fitting the pool: what weighs is what purchases follow, and the drawing of others leaves no mark."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tiny_release import N_ITEMS, NOW, user_row

from bentos.candidates import opinions
from bentos.pool import INPUTS
from bentos.shopper import shopper
from training import pool
from training.pool import DRAWN, PoolRows, drawing_chances, fitted_weights, shopper_rows, window_rows

POPULAR = INPUTS.index("item_baskets_28d")


def planted(seed, slope, column, *, n_shoppers=60, n_items=80):
    """Rows of a shop where the odds of a purchase follow one input alone."""
    rng = np.random.default_rng(seed)
    for _ in range(n_shoppers):
        inputs = rng.normal(size=(n_items, len(INPUTS))).astype(np.float32)
        bought = rng.random(n_items) < 1 / (1 + np.exp(2.0 - slope * inputs[:, column]))
        yield PoolRows(inputs=inputs, bought=bought, weights=np.ones(n_items))


@pytest.mark.parametrize("name", ["item_age_days", "lines", "neighbours"])
def test_the_input_that_purchases_follow_dominates(name):
    """Its weight is the planted one, all others are nearly zero."""
    weights = dict(zip(INPUTS, fitted_weights(list(planted(1, 1.5, INPUTS.index(name)))), strict=True))
    assert weights.pop(name) == pytest.approx(1.5, abs=0.15)
    assert max(map(abs, weights.values())) < 0.15


def test_weights_fit_the_inputs_as_they_are():
    """An input a thousand times as small gets a thousand times the weight; a constant one none."""
    stretched = []
    for rows in planted(2, 1.0, POPULAR):
        inputs = rows.inputs.copy()
        inputs[:, POPULAR] = inputs[:, POPULAR] / 1000 + 5
        inputs[:, 0] = 3.0
        stretched.append(replace(rows, inputs=inputs))
    weights = fitted_weights(stretched)
    assert weights[POPULAR] == pytest.approx(
        fitted_weights(list(planted(2, 1.0, POPULAR)))[POPULAR] * 1000, rel=0.02
    )
    assert weights[0] == 0


def drawn_by_popularity(seed, *, n_items=2_000, n_shoppers=80, importance=True):
    """Rows of a shop that buys evenly, whatever sells; the others are drawn as `shopper_rows` draws them."""
    rng = np.random.default_rng(seed)
    popularity = rng.pareto(1.2, n_items) * 5
    chances = 0.5 / n_items + 0.5 * popularity / popularity.sum()
    inputs = rng.normal(size=(n_items, len(INPUTS))).astype(np.float32)
    inputs[:, POPULAR] = np.log1p(popularity)
    for _ in range(n_shoppers):
        new = rng.choice(n_items, 12, replace=False)
        others = rng.choice(n_items, DRAWN, p=chances)
        others = others[~np.isin(others, new)]
        stands_for = 1 / (DRAWN * chances[others]) if importance else np.ones(len(others))
        asked = np.concatenate([new, others])
        weights = np.concatenate([np.ones(len(new)), stands_for])
        yield PoolRows(inputs=inputs[asked], bought=np.arange(len(asked)) < len(new), weights=weights)


def test_importance_weights_undo_the_drawing_by_popularity():
    """Where purchases ignore what sells, so does the pool; rows counted alike would speak against it."""
    weighed = fitted_weights(list(drawn_by_popularity(3)))[POPULAR]
    alike = fitted_weights(list(drawn_by_popularity(3, importance=False)))[POPULAR]
    assert abs(weighed) < 0.08
    assert alike < -0.3


def test_items_are_drawn_half_evenly_and_half_by_popularity(release):
    """Each chance is the mean of an even one and the share of four weeks' sales, a fifth added to all."""
    total = sum(20 - item + 0.2 for item in range(N_ITEMS))
    expected = [(1 / N_ITEMS + (20 - item + 0.2) / total) / 2 for item in range(N_ITEMS)]
    np.testing.assert_allclose(drawing_chances(release), expected, rtol=1e-12)


def test_each_row_stands_for_the_items_like_it(release):
    """Over many drawings the weights of every item that was not bought sum to one, whatever it sells."""
    who, new = shopper(user_row(), release, NOW), np.array([5, 3, 9], np.int32)  # i03 is bought again
    names = {round(float(np.log1p(20 - item)), 4): item for item in range(N_ITEMS)}
    rng, summed, n = np.random.default_rng(6), Counter(), 150
    for _ in range(n):
        rows = shopper_rows(release, who, new, drawing_chances(release), rng)
        items = [names[round(float(row[POPULAR]), 4)] for row in rows.inputs]
        assert [item for item, bought in zip(items, rows.bought, strict=True) if bought] == [5, 9]
        assert rows.weights[rows.bought].tolist() == [1, 1]
        for item, weight, bought in zip(items, rows.weights.tolist(), rows.bought, strict=True):
            summed[item] += 0 if bought else weight / n
    past = {3, 7, 13}
    assert {item for item, weight in summed.items() if weight} == set(range(N_ITEMS)) - past - {5, 9}
    for weight in filter(None, summed.values()):
        assert weight == pytest.approx(1, abs=0.1)


def test_rows_hold_what_the_pool_weighs_at_a_request(release):
    """The weighted sum of a row is the pool's score of its item, as a request reckons it."""
    weights = np.random.default_rng(7).normal(size=len(INPUTS)).astype(np.float32)
    release = replace(release, arrays={**release.arrays, "pool_weights": weights})
    who = shopper(user_row(), release, NOW)
    rows = shopper_rows(release, who, np.arange(20), drawing_chances(release), np.random.default_rng(1))
    new = [item for item in range(N_ITEMS) if item not in (3, 7, 13)]
    assert rows.bought.all()
    np.testing.assert_allclose(
        rows.inputs @ weights, opinions(release, who).scores["pool"][new], rtol=1e-4, atol=1e-4
    )


def test_some_shoppers_of_a_window_are_asked(release, monkeypatch):
    """At most SHOPPERS of them, the same ones for the same seed, others for another."""
    monkeypatch.setattr(pool, "SHOPPERS", 4)
    who = shopper(user_row(), release, NOW)
    several = [(who, np.array([item], np.int32)) for item in range(N_ITEMS) if item not in (3, 7, 13)]
    first, again, other = (
        [float(rows.inputs[0, POPULAR]) for rows in window_rows(release, several, seed=seed)]
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(set(first)) == len(set(other)) == 4


def test_nobody_who_bought_anything_new_is_an_error(release):
    """Who only bought again has no rows, and without rows the message says what to change."""
    who = shopper(user_row(), release, NOW)
    again = [(who, np.array([3, 7], np.int32)), (who, np.empty(0, np.int32))]
    rows = window_rows(release, again, seed=1)
    assert rows == []
    with pytest.raises(
        ValueError, match="Nobody bought anything new in any ranker window; choose another cut"
    ):
        fitted_weights(rows)
