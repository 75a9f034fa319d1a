"""Pairs and the ranker, on the tiny release."""

import numpy as np
import pytest
from tiny_release import NOW, user_row

from bentos.candidates import draw, opinions
from bentos.scoring import margins, matrix
from bentos.shopper import shopper
from training.ranking import (
    Example,
    Learning,
    PairSet,
    joined,
    pairs,
    ranker_columns,
    row_weights,
    sampled,
    train_ranker,
)

FEW = Learning(rounds=30)


def item_features(release):
    """Popularity and position of every item: (n_items, 2)."""
    n_items = len(release.catalogue.item_ids)
    return np.column_stack([release.arrays["popularity"], np.arange(n_items)]).astype(np.float32)


def examples(release, n_shoppers, seed):
    """Shoppers who buy again exactly what they bought more than twice."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_shoppers):
        items = rng.choice(20, 6, replace=False)
        counts = rng.integers(1, 7, 6)
        row = user_row([f"i{item:02d}" for item in items], counts.tolist(), [1] * 6)
        found.append(Example(shopper(row, release, NOW), items[counts > 2].astype(np.int32)))
    return found


def test_a_pair_is_described_as_the_service_would(release):
    """Each row equals the serving matrix of the same shopper and candidate, and its label the purchase."""
    example = examples(release, 1, 4)[0]
    drawn = draw(release, example.shopper, "all")
    described = matrix(release, example.shopper, drawn, item_features(release)[drawn.items])
    pair_set = pairs(release, item_features(release), [example], seed=1)["all"]
    np.testing.assert_array_equal(pair_set.rows, described)
    np.testing.assert_array_equal(pair_set.labels, np.isin(drawn.items, example.bought))
    assert pair_set.groups.tolist() == [len(drawn.items)]


def test_both_tasks_are_drawn_as_each_alone(release):
    """Sharing the sources' opinions between tasks changes no candidate, score, place or lift."""
    who = shopper(user_row(), release, NOW)
    thought = opinions(release, who)
    for task in ("all", "discover"):
        shared, alone = draw(release, who, task, thought), draw(release, who, task)
        for name in ("items", "scores", "ranks", "lifts"):
            np.testing.assert_array_equal(getattr(shared, name), getattr(alone, name))


def test_threads_change_no_pair(release):
    """Two threads draw what one draws, in the same order."""
    several = examples(release, 30, 3)
    one, two = (pairs(release, item_features(release), several, seed=3, threads=n) for n in (1, 2))
    for task, expected in one.items():
        for name, values in vars(expected).items():
            np.testing.assert_array_equal(getattr(two[task], name), values)


def test_sampling_keeps_every_purchase():
    """Only the others are thinned out, and the order stays."""
    labels = np.zeros(100, dtype=bool)
    labels[[3, 50, 99]] = True
    kept = sampled(labels, 10, np.random.default_rng(0))
    assert {3, 50, 99} <= set(kept.tolist())
    assert len(kept) == 13
    assert np.all(np.diff(kept) > 0)


def test_shoppers_who_bought_no_candidate_are_left_out(release):
    """They hold no order to learn."""
    who = shopper(user_row(), release, NOW)
    nothing = Example(who, np.empty(0, dtype=np.int32))
    found = pairs(release, item_features(release), [nothing], seed=1)
    assert [len(found[task].labels) for task in ("all", "discover")] == [0, 0]


def test_the_ranker_learns_a_planted_rule(release):
    """Items bought more than twice come first for new shoppers."""
    features = item_features(release)
    pair_set = pairs(release, features, examples(release, 120, 1), seed=1)["all"]
    ranker = train_ranker(joined([pair_set]), ranker_columns(release), "all", threads=1, learning=FEW)
    for example in examples(release, 10, 2):
        drawn = draw(release, example.shopper, "all")
        scored = margins(ranker, matrix(release, example.shopper, drawn, features[drawn.items]))
        first = drawn.items[np.argsort(-scored)][: len(example.bought)]
        assert set(first.tolist()) == set(example.bought.tolist())


def set_of(*households):
    """Pairs of one column; a household is its (value, label, how many rows)."""
    groups = [
        (
            np.repeat([[value] for value, _, _ in rows], [n for *_, n in rows], axis=0).astype(np.float32),
            np.repeat([label for _, label, _ in rows], [n for *_, n in rows]),
        )
        for rows in households
    ]
    return PairSet(
        rows=np.concatenate([rows for rows, _ in groups]),
        labels=np.concatenate([labels for _, labels in groups]).astype(np.float32),
        groups=np.array([len(labels) for _, labels in groups]),
    )


def test_a_row_weighs_less_the_more_its_shopper_bought():
    """One over the root of the purchases among a shopper's rows, bought or not: 4 make a half, 9 a third."""
    learned = set_of([(0, 1, 1), (1, 0, 3)], [(0, 1, 4), (1, 0, 1)], [(0, 0, 2)], [(0, 1, 9), (1, 0, 60)])
    expected = [1.0] * 4 + [1 / 2] * 5 + [1.0] * 2 + [1 / 3] * 69
    np.testing.assert_allclose(row_weights(learned), expected, rtol=1e-6)


def test_large_households_do_not_outvote_the_small():
    """Four that bought 64 items each want the one kind, 60 that bought one want the other: the 60 win."""
    large, small = [(1, 1, 64), (0, 0, 64)], [(0, 1, 1), (1, 0, 1)]
    ranker = train_ranker(set_of(*[large] * 4, *[small] * 60), ["kind"], "all", threads=1, learning=FEW)
    the_one, the_other = margins(ranker, np.array([[1], [0]], np.float32))
    assert the_other > the_one
    ranker = train_ranker(set_of(*[large] * 4, *[small] * 8), ["kind"], "all", threads=1, learning=FEW)
    the_one, the_other = margins(ranker, np.array([[1], [0]], np.float32))
    assert the_other < the_one


def test_windows_without_purchases_are_an_error():
    """The message says what to change."""
    with pytest.raises(ValueError, match="No pair was bought in any ranker window"):
        joined([])
