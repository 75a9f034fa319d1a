"""The pool: a weighted sum of named inputs, each what its name says."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tiny_release import N_ITEMS, NOW, user_row

from bentos.affinity import item_groups, joined
from bentos.candidates import opinions
from bentos.index import best
from bentos.neighbours import newly_bought
from bentos.pool import APPEAL, INPUTS, cheap_part, dear_part, inputs, logarithm, pooled_sales
from bentos.shopper import shopper
from feature_repo.pair_features import GROUPS

ADDED = {"co_purchase": 0.01, "neighbours": 1e-4}


@pytest.fixture(params=range(3))
def drawn(release, request):
    """The tiny release with random appeal and weights, random lifts and random scores by source."""
    rng = np.random.default_rng(request.param)
    appeal = rng.uniform(0, 5, (len(APPEAL), N_ITEMS)).astype(np.float32)
    weights = rng.normal(size=len(INPUTS)).astype(np.float32)
    sizes = item_groups(release).sizes
    lifts = {name: rng.normal(size=sizes[name]).astype(np.float32) for name in GROUPS}
    scores = {
        name: rng.normal(size=N_ITEMS).astype(np.float32) for name in (*ADDED, "two_tower", "buy_again")
    }
    scores["neighbours"][rng.random(N_ITEMS) < 0.5] = 0
    bought = rng.permutation(N_ITEMS)[: N_ITEMS // 2].astype(np.int32)
    scores["neighbours"][np.setdiff1d(np.arange(N_ITEMS), bought)] = 0  # nobody of the panel bought them
    changed = {
        **release.arrays,
        "appeal_inputs": appeal,
        "pool_weights": weights,
        "panel_items": bought,
        "panel_shoppers": np.zeros(len(bought), np.int32),
    }
    return replace(release, arrays=changed), lifts, scores


def per_item(release, lifts):
    """Lifts per item of lifts per group."""
    groups = item_groups(release)
    return {name: values[getattr(groups, name)] for name, values in lifts.items()}


def pool_scores(release, lifts, scores):
    """Both parts of the pool, but for the towers' part of sales, which is in both."""
    near = np.append(scores["neighbours"][newly_bought(release).items], np.float32(0))
    cheap = cheap_part(release, joined(lifts), near) - pooled_sales(release)
    return cheap + dear_part(release, scores["co_purchase"], scores["two_tower"])


def test_inputs_are_what_their_names_say(drawn):
    """Appeal as stored, lifts as they are, logs of scores above a floor, and the towers' score itself."""
    release, lifts, scores = drawn
    lifts = per_item(release, lifts)
    rows = dict(zip(INPUTS, inputs(release, lifts, scores), strict=True))
    for place, name in enumerate(APPEAL):
        np.testing.assert_array_equal(rows[name], release.arrays["appeal_inputs"][place])
    for name in GROUPS:
        np.testing.assert_array_equal(rows[name], lifts[name])
    for name, little in ADDED.items():
        # Undone, not done again: near one a logarithm keeps few of the digits of what it is of.
        expected = [max(score, 0.0) + little for score in scores[name].tolist()]
        np.testing.assert_allclose([math.exp(row) for row in rows[name].tolist()], expected, rtol=2e-6)
    np.testing.assert_array_equal(rows["two_tower"], scores["two_tower"])
    assert {row.dtype for row in rows.values()} == {np.dtype(np.float32)}


def test_no_input_is_named_twice():
    """A weight is that of one input."""
    assert len(set(INPUTS)) == len(INPUTS) == len(APPEAL) + len(GROUPS) + len(ADDED) + 1


def test_scores_are_the_weighted_sum_of_inputs(drawn):
    """What a request reckons row by row is what training fits: weights times the matrix of inputs."""
    release, lifts, scores = drawn
    weights = release.arrays["pool_weights"].astype(np.float64)
    expected = weights @ inputs(release, per_item(release, lifts), scores).astype(np.float64)
    found = pool_scores(release, lifts, scores)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert (found.dtype, found.shape) == (np.float32, (N_ITEMS,))


def test_reckoning_changes_nothing_of_what_it_reads(drawn):
    """Sums are added up in new arrays: the release's, the lifts and the scores stay as they are."""
    release, lifts, scores = drawn
    given = [*release.arrays.values(), *lifts.values(), *scores.values()]
    before = [array.copy() for array in given]
    first = pool_scores(release, lifts, scores)
    np.testing.assert_array_equal(pool_scores(release, lifts, scores), first)
    for array, kept in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_logarithm_of_nothing_is_that_of_the_floor():
    """Zero and below count as nothing bought; without a floor, scores are left as they are."""
    scores = np.array([-3, 0, 0.09], np.float32)
    np.testing.assert_allclose(logarithm(scores, 0.01), np.log([0.01, 0.01, 0.1]), rtol=1e-5)
    assert logarithm(scores, None) is scores


def test_pool_of_the_tiny_release(release):
    """Log of one more than the sales plus the lift of the item's line: i13, of little sales, is second."""
    who = shopper(user_row(), release, NOW)
    bought = {3: 5 * 0.5 ** (2 / 91) + 2 * 0.5 ** (10 / 91), 7: 0.5 ** (100 / 91)}  # by line
    expected = []
    for item in range(N_ITEMS):
        line = item % 10
        share = ((20 - line) + (10 - line)) / 210
        lift = math.log((bought.get(line, 0.0) + 10 * share) / ((sum(bought.values()) + 10) * share))
        expected.append(math.log(21 - item) + lift)
    found = opinions(release, who).scores["pool"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert best(found, 3).tolist() == [3, 13, 7]


def test_nobody_gets_what_appeals_to_all(drawn):
    """Without a past only the appeal and the towers tell items apart: all other inputs are flat."""
    release, _, _ = drawn
    thought = opinions(release, shopper(None, release, NOW))
    rows = dict(zip(INPUTS, inputs(release, thought.lifts, thought.scores), strict=True))
    apart = {name for name, row in rows.items() if np.ptp(row) > 0}
    assert apart == {*APPEAL, "two_tower"}
    weights = dict(zip(INPUTS, release.arrays["pool_weights"].tolist(), strict=True))
    told = [sum(weights[name] * float(rows[name][item]) for name in apart) for item in range(N_ITEMS)]
    flat = thought.scores["pool"] - np.array(told)
    np.testing.assert_allclose(flat, flat[0], atol=1e-4)


def test_parts_of_different_numbers_of_items_are_an_error(drawn):
    """As of a release whose parts do not fit: no number is taken from beyond an array."""
    release, lifts, scores = drawn
    short = {**release.arrays, "appeal_inputs": release.arrays["appeal_inputs"][:, :-1]}
    short["item_log_sales"] = release.arrays["item_log_sales"][:-1]
    with pytest.raises(IndexError, match="different numbers of items"):
        pool_scores(replace(release, arrays=short), lifts, scores)
