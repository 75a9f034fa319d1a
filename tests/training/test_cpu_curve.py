"""Quality against CPU time: every setting answers as the service would with it, and is told with its cost."""

import json
from dataclasses import replace

import numpy as np
import pytest
from plain_held_out import held_of
from tiny_release import ITEM_FEATURES, NOW, USER_FEATURES, InMemory, user_row

from bentos.candidates import SIZE, draw
from bentos.ranking import ranked
from bentos.scoring import matrix, matrix_columns
from bentos.shopper import shopper
from jobs.benches import cpu_curve as bench
from training.cpu_curve import CUTOFFS, DEPTH, Trial, records, settings_of, trials, with_trees
from training.cpu_curve_report import table, write
from training.ranking import Learning, PairSet, train_ranker

SETTINGS = [(size, trees) for size in (5, 12) for trees in (2, 9)]


@pytest.fixture
def learned(release):
    """The tiny release with a ranker of nine trees that learnt noise."""
    columns = matrix_columns(USER_FEATURES, ITEM_FEATURES)
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(400, len(columns))).astype(np.float32) * 10
    labels = (rows[:, 0] + rows[:, 1] > 0).astype(np.float32)
    learning = Learning(rounds=9)
    ranker = train_ranker(
        PairSet(rows, labels, np.array([400])), columns, "all", threads=1, learning=learning
    )
    return replace(release, rankers={"all": ranker, "discover": ranker})


@pytest.fixture
def shoppers(learned):
    """Two shoppers of different taste."""
    rows = [user_row(), user_row(items=("i04", "i09"), counts=(3, 1), days_ago=(1, 40))]
    return [shopper(row, learned, NOW) for row in rows]


@pytest.fixture
def item_features(learned):
    """Features of the whole catalogue."""
    return InMemory({}).read_items(range(len(learned.catalogue.item_ids)))


def trial(setting, lists, cpu_ms, task="all"):
    """A trial of two shoppers; lists are filled up."""
    full = np.full((2, DEPTH), -1, np.int32)
    for row, items in enumerate(lists):
        full[row, : len(items)] = items
    return Trial(task, setting, full, np.array(cpu_ms, np.float64))


def test_first_trees_answer_as_the_library_s_own_range_of_them(learned, shoppers, item_features):
    """Margins of the shortened ranker are those of iteration_range; the release itself keeps all trees."""
    candidates = draw(learned, shoppers[0], "all")
    rows = matrix(learned, shoppers[0], candidates, item_features[candidates.items])
    whole, few = learned.rankers["all"], with_trees(learned, "all", 4).rankers["all"]
    first = whole.inplace_predict(rows, predict_type="margin", iteration_range=(0, 4))
    np.testing.assert_array_equal(few.inplace_predict(rows, predict_type="margin"), first)
    assert not np.array_equal(whole.inplace_predict(rows, predict_type="margin"), first)
    assert whole.num_boosted_rounds() == 9


@pytest.mark.parametrize("task", ["all", "discover"])
def test_every_setting_answers_as_a_request_would(learned, shoppers, item_features, task):
    """Each list is that of drawing so many candidates and ranking them with so many trees, at some cost."""
    found = trials(learned, item_features, shoppers, task, SETTINGS)
    assert [each.setting for each in found] == SETTINGS
    for each in found:
        size, trees = each.setting
        assert (each.cpu_ms > 0).all()
        for row, who in enumerate(shoppers):
            few = with_trees(learned, task, trees)
            candidates = draw(few, who, task, size=size)
            expected = ranked(few, who, candidates, item_features[candidates.items], k=10, task=task).items
            assert each.lists[row].tolist() == [*expected, *[-1] * (DEPTH - len(expected))]


@pytest.mark.parametrize(
    ("n_trees", "trees"), [(300, [75, 150, 300]), (100, [75, 100]), (500, [75, 150, 300, 500])]
)
def test_settings_hold_what_is_served(n_trees, trees):
    """All pairs, no more trees than there are, and the service's own size with all of them."""
    found = settings_of(n_trees)
    assert sorted({few for _, few in found}) == trees
    assert len(found) == len(set(found)) == len(trees) * len({size for size, _ in found})
    assert (SIZE, n_trees) in found


def test_records_are_means_with_lifts_over_what_is_served():
    """Recall by hand, a lift for what is not served, and the median of CPU time."""
    held = held_of(["a", "b"], [np.array([3, 4]), np.array([0, -1])])
    served = trial((400, 9), [[3, 1], [1, 2]], [1, 3])
    better = trial((980, 9), [[3, 4], [0, 2]], [4, 8])
    found = {(r["metric"], "versus" in r): r for r in records(better, served, held, cut=43)}
    assert found["recall@10", False]["value"] == pytest.approx((1 + 0.5) / 2)
    assert found["recall@10", True]["value"] == pytest.approx(0.75 / 0.25 - 1)
    assert found["cpu_ms", False]["value"] == 6
    assert {(r["candidates"], r["trees"], r["users"], r["cut"]) for r in found.values()} == {(980, 9, 2, 43)}
    own = list(records(served, served, held, cut=43))
    assert [r["metric"] for r in own] == [*(f"recall@{k}" for k in CUTOFFS), "cpu_ms"]


def test_table_and_files_hold_every_setting(tmp_path):
    """A row per setting with its figures, the served one named; files are the plot and the records."""
    held = held_of(["a", "b"], [np.array([3, 4]), np.array([0, -1])])
    tried = [
        trial((size, trees), [[3, size % 7], [trees, 9]], [size, trees], task)
        for task in ("all", "discover")
        for size in (100, 400)
        for trees in (75, 300)
    ]
    found = [r for each in tried for r in records(each, replace(tried[3], task=each.task), held, cut=43)]
    read = {
        "report": "cpu_curve",
        "metric": "item_read_cpu_ms",
        "value": 0.1234,
        "store": "sqlite",
        "cut": 43,
    }
    first, second, last = table([*found, read]).split("\n\n")
    assert [line.split()[:3] for line in first.splitlines()[2:]] == [
        ["100", "75", "87.5"], ["100", "300", "200.0"], ["400", "75", "237.5"], ["400", "300", "350.0"],
    ]  # fmt: skip
    assert first.splitlines()[-1].endswith("served")
    assert second.splitlines()[0].startswith("Discover")
    assert "0.123 ms" in last
    path = write([*found, read], tmp_path)
    assert json.loads(path.read_text()) == [*found, read]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cpu_curve.json", "cpu_curve.png"]


def test_a_missing_release_names_the_command(installation_without_release):
    """Without a release there is nothing to measure."""
    with pytest.raises(FileNotFoundError, match="endcap train --cut 43"):
        bench.run(installation_without_release, 43, print)


@pytest.fixture
def installation_without_release(tmp_path):
    """Settings of an empty folder."""
    from feature_repo.settings import Settings

    return Settings(state=tmp_path / "state", reports=tmp_path / "reports", threads=1)
