"""A variant that leaves nothing out is the served path; one that leaves columns out never reads them."""

from dataclasses import replace

import numpy as np
import pytest
from plain_held_out import held_of
from tiny_release import NOW, user_row

from bentos.candidates import draw
from bentos.scoring import matrix
from bentos.shopper import shopper
from training.ablations.measure import learned_by, measured, ranked_lists
from training.ablations.pairs import Pairs, Trial
from training.ablations.variants import FEATURES, WHOLE, Variant
from training.fit import Instant
from training.per_shopper import DEPTH
from training.ranking import Example, joined, pairs, ranker_columns, train_ranker
from training.rankings import shown


def shoppers(release, n_shoppers, seed):
    """Shoppers who buy again exactly what they bought more than twice."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n_shoppers):
        items = rng.choice(20, 6, replace=False)
        counts = rng.integers(1, 7, 6)
        counts[0] = 6
        row = user_row([f"i{item:02d}" for item in items], counts.tolist(), [1] * 6)
        found.append(Example(shopper(row, release, NOW), items[counts > 2].astype(np.int32)))
    return found


@pytest.fixture
def made(release):
    """Pairs of two windows and the trial of 15 shoppers, with the shoppers."""
    n_items = len(release.catalogue.item_ids)
    features = np.column_stack([release.arrays["popularity"], np.arange(n_items)]).astype(np.float32)
    windows = [pairs(release, features, shoppers(release, 80, seed), seed=1) for seed in (1, 2)]
    asked = shoppers(release, 15, 3)
    trials = {}
    for task in ("all", "discover"):
        drawn = [draw(release, one.shopper, task) for one in asked]
        rows = [
            matrix(release, one.shopper, candidates, features[candidates.items])
            for one, candidates in zip(asked, drawn, strict=True)
        ]
        ids, bought = [f"u{n:02d}" for n in range(15)], [one.bought for one in asked]
        trials[task] = Trial(held_of(ids, bought), drawn, rows)
    # The tiny world sells nothing new: what "discover" learns from is that of "all".
    windows = [{"all": by_task["all"], "discover": by_task["all"]} for by_task in windows]
    return Pairs(Instant(release, None, features, None), windows, trials), asked


def test_the_whole_stack_is_the_served_path(made):
    """Its lists are those of the serving path with rankers that were trained as the released ones are."""
    found, asked = made
    release = found.instant.release
    learned = joined([by_task["all"] for by_task in found.windows])
    ranker = train_ranker(learned, ranker_columns(release), "all", threads=1)
    served = replace(found.instant, release=replace(release, rankers={"all": ranker}))
    lists = ranked_lists(Variant(WHOLE, "", "whole"), found, "all", seed=1, threads=1)
    assert lists.shape == (15, DEPTH)
    for row, one in zip(lists, asked, strict=True):
        expected = shown(served, served.release, one.shopper, "all")["stack"]
        assert row[row >= 0].tolist() == expected.tolist()


def test_columns_left_out_are_not_read(made):
    """Whatever stands in them, in learning as in the trial, the lists stay the same."""
    found, _ = made
    columns = ranker_columns(found.instant.release)
    out = frozenset(column for column in columns if column.startswith(("pair_", "score_", "rank_")))
    variant = Variant("no_pairs", FEATURES, "without", out)
    before = ranked_lists(variant, found, "all", seed=1, threads=1)
    rng = np.random.default_rng(8)
    places = [place for place, name in enumerate(columns) if name in out]

    def scrambled(rows):
        rows = rows.copy()
        rows[:, places] = rng.random((len(rows), len(places)))
        return rows

    windows = [{task: replace(one, rows=scrambled(one.rows)) for task, one in by_task.items()}
               for by_task in found.windows]  # fmt: skip
    trials = {task: replace(one, rows=list(map(scrambled, one.rows))) for task, one in found.tests.items()}
    other = replace(found, windows=windows, tests=trials)
    np.testing.assert_array_equal(ranked_lists(variant, other, "all", seed=1, threads=1), before)
    whole = Variant(WHOLE, "", "whole")
    assert (ranked_lists(whole, other, "all", seed=1, threads=1) != before).any()


def test_fewer_windows_are_the_latest(made):
    """One window of two is the second; negatives are thinned to the variant's number."""
    found, _ = made
    one = learned_by(Variant("one", "", "one", windows=1), found, "all", seed=1)
    np.testing.assert_array_equal(one.rows, found.windows[1]["all"].rows)
    few = learned_by(Variant("few", "", "few", negatives=2), found, "all", seed=1)
    assert (few.labels == 0).sum() == 2 * len(few.groups)


def test_values_are_of_every_shopper_and_task(made):
    """A planted rule is learnt: what was bought more than twice is found within the first ten."""
    found, _ = made
    values = measured(Variant("whole", "", "whole"), found, seed=1, threads=1)
    assert values.groupby("task").size().to_dict() == {"all": 15, "discover": 15}
    assert values.loc[values["task"] == "all", "recall@10"].mean() > 0.9
