"""Arms side by side are what plain loops over the pages and the baskets find."""

import sqlite3
from collections import defaultdict
from contextlib import closing

import numpy as np
import orjson
import pytest
from fake_service import LINES, RELEASED, Stage, exposures, installation
from recorded_shop import baskets

from bentos.experiments import load_experiments
from feature_repo.stores.packed.instants import time_of
from jobs.experiments import logs
from jobs.experiments.replay_state import replay_settings
from jobs.experiments.side_by_side import side_by_side

THREE = """
layers: {page: {}}
experiments:
  engine:
    {layer: page, control: old, primary: ctr, start: 2024-01-01T00:00:00Z,
     arms: {old: {share: 0.5, legacy: segment}, new: {share: 0.3}, more: {share: 0.2}}}
"""


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Replays of three arms over fake services."""
    return Stage(installation(tmp_path, THREE), monkeypatch)


@pytest.fixture
def own(stage):
    """Settings of the replay."""
    return replay_settings(stage.settings, "engine")


def found(own):
    """The records and the experiment."""
    logs.run(own)
    experiment = load_experiments(own.experiments_file).named("engine")
    return side_by_side(own, experiment), experiment


def by_loops(own, experiment):
    """Clicks, slots, revenue and pages by arm and user, of trips that every arm was shown."""
    paid, times, pages = {}, defaultdict(int), defaultdict(list)
    for (at, user, _), items in baskets(LINES, RELEASED):
        paid[user, at] = items
        times[user, at] += 1
    for _, user, us, told in exposures(own):
        if told["forced"]:
            pages[user, time_of(us)].append((told["arms"]["engine"], told["items"]))
    sums = {arm: defaultdict(lambda: np.zeros(4)) for arm in experiment.arms}
    for (user, at), shown in pages.items():
        if times[user, at] == 1 and sorted(arm for arm, _ in shown) == sorted(experiment.arms):
            for arm, items in shown:
                hits = [paid[user, at][item] for item in items if item in paid[user, at]]
                sums[arm][user] += len(hits), len(items), sum(hits), 1
    return {arm: np.array([of[user] for user in sorted(of)]) for arm, of in sums.items()}


def of(records, metric, arm, versus=None):
    """The one record of a figure."""
    (one,) = [
        each for each in records if (each["metric"], each["arm"], each.get("versus")) == (metric, arm, versus)
    ]
    return one


def test_levels_and_lifts_are_what_loops_find(stage, own):
    """CTR by slots and revenue by pages, each arm over each other but the control, of the same trips."""
    stage.play(every_arm=True)
    records, experiment = found(own)
    sums = {arm: each.sum(axis=0) for arm, each in by_loops(own, experiment).items()}
    assert sums["more"][1] == 0.8 * sums["old"][1]
    assert len({each[3] for each in sums.values()}) == 1
    assert len(records) == 2 * (3 + 2 * 2)
    for metric, top, bottom in [("ctr", 0, 1), ("slot_revenue", 2, 3)]:
        level = {arm: each[top] / each[bottom] for arm, each in sums.items()}
        for arm in level:
            assert of(records, metric, arm)["value"] == pytest.approx(level[arm])
            for other in (each for each in level if "old" != arm != each):
                lift = level[arm] / level[other] - 1
                assert of(records, metric, arm, other)["value"] == pytest.approx(lift)
    for each in records:
        assert each["low"] <= each["value"] <= each["high"]
        assert (each["method"], each["report"], each["experiment"]) == (
            "side by side",
            "experiment",
            "engine",
        )


def test_intervals_are_over_users_drawn_together(stage, own):
    """As wide as those of a plain bootstrap of whole users, all arms on the same draws."""
    stage.play(every_arm=True)
    records, experiment = found(own)
    sums, rng = by_loops(own, experiment), np.random.default_rng(1)
    n = len(sums["new"])
    drawn = rng.poisson(size=(4000, n))
    drawn = drawn[drawn @ sums["old"][:, 0] > 0]
    clicks, slots = (drawn @ sums["new"][:, column] for column in (0, 1))
    others = drawn @ sums["old"][:, 0] / (drawn @ sums["old"][:, 1])
    for draws, one in [
        (clicks / slots, of(records, "ctr", "new")),
        (clicks / slots / others - 1, of(records, "ctr", "new", "old")),
    ]:
        low, high = np.quantile(draws, [0.025, 0.975])
        assert (one["low"], one["high"]) == pytest.approx((low, high), abs=0.15 * (high - low))


def test_a_trip_that_not_every_arm_was_shown_is_left_out(stage, own):
    """A replay may be cut off between the pages of a trip: the arms still stand on the same trips."""
    assert stage.play(left=6 * 9 + 4, every_arm=True) is None
    assert [told["arms"]["engine"] for *_, told in exposures(own)[-2:]] == ["old", "new"]
    records, experiment = found(own)
    sums = {arm: each.sum(axis=0) for arm, each in by_loops(own, experiment).items()}
    assert sums["new"][3] == 9 - 2
    for arm, (clicks, slots, *_) in sums.items():
        assert of(records, "ctr", arm)["value"] == pytest.approx(clicks / slots)


def test_an_empty_page_counts_as_one(stage, own):
    """An arm that had nothing to show to a shopper earned nothing there, and stands beside the others."""
    stage.play(left=6 * 9, every_arm=True)
    _, user, _, told = next(row for row in exposures(own) if row[3]["arms"] == {"engine": "more"})
    nothing = {name: [] for name in ("items", "scores", "propensities", "explored", "bought_before")}
    with closing(sqlite3.connect(own.exposure_log)) as connection, connection:
        query = (
            "UPDATE exposures SET content = ? WHERE user_id = ? AND CAST(content AS TEXT) LIKE '%\"more\"%'"
        )
        connection.execute(query, (orjson.dumps({**told, **nothing}), user))
    records, experiment = found(own)
    sums = {arm: each.sum(axis=0) for arm, each in by_loops(own, experiment).items()}
    assert sums["more"][1] < 0.8 * sums["old"][1]
    assert of(records, "slot_revenue", "more")["value"] == pytest.approx(sums["more"][2] / sums["new"][3])
    lift = (sums["more"][0] / sums["more"][1]) / (sums["old"][0] / sums["old"][1]) - 1
    assert of(records, "ctr", "more", "old")["value"] == pytest.approx(lift)


def test_without_testers_there_is_nothing(stage, own):
    """A replay without --every-arm has no pages side by side."""
    stage.play(most=9)
    assert found(own)[0] == []
