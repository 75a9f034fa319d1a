"""The gate over a whole small shop: what is broken in one way is refused for that reason, and no other."""

import json
from dataclasses import replace
from datetime import timedelta

import gate_world
import numpy as np
import pyarrow.parquet as pq
import pytest
from gate_world import (
    DAY,
    KNOWN,
    WINDOW_DAY,
    WINDOW_START,
    day_release,
    drawn_values,
    write_stats,
    write_values,
)

from bentos.release import save
from bentos.scoring import matrix_columns
from jobs.gate.run import CHECKS, decision_of, run
from training.gate import OverrideError


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The shop, in order."""
    return gate_world.opened_shop(tmp_path_factory.mktemp("gate"))


@pytest.fixture
def settings(shop, tmp_path):
    """Settings of a copy of the shop, to be broken."""
    return shop.copied(tmp_path)


@pytest.fixture
def judged(shop, settings):
    """A function: the decision on the copy as it is now."""

    def decide(champion=shop.champion, override=None):
        result = run(settings, DAY, champion, override)
        decision = decision_of(settings, DAY)
        assert result.detail == decision.verdict
        assert tuple(check.name for check in decision.checks) == CHECKS
        return decision

    return decide


def reasons(decision):
    """What was refused, and why."""
    return {check.name: check.reason for check in decision.failed}


def released(settings, **facts):
    """Save another challenger, of the same content with other facts in its manifest."""
    save(day_release(settings, **facts), settings.day(DAY) / "release")


def test_a_challenger_equal_to_the_champion_passes(judged, settings):
    """All checks are made and pass; the decision is written as JSON and told as a table."""
    decision = judged()
    assert reasons(decision) == {}
    assert [check.name for check in decision.checks if not check.made] == []
    assert (decision.promoted, decision.exit_code) == (True, 0)
    record = json.loads((settings.day(DAY) / "gate.json").read_text())
    assert record["promoted"] is True
    assert {check["outcome"] for check in record["checks"]} <= {"passed", "warning"}
    assert len(decision.table().splitlines()) == len(CHECKS) + 1


def test_without_a_champion_only_what_compares_is_not_made(judged):
    """Quality against the champion and the jump are not made, which is allowed: the first release passes."""
    decision = judged(champion=None)
    assert reasons(decision) == {}
    values = {check.name: check.outcome for check in decision.checks}
    assert values["latency"] == values["coverage"] == "passed"


def test_a_poisoned_challenger_is_refused_for_its_quality(judged, settings):
    """A challenger that finds next to nothing is worse than the champion and than the rules."""
    write_values(
        settings, drawn_values({"challenger": 0.02, "champion": 0.5, "buy_again": 0.45, "segment": 0.1})
    )
    found = reasons(judged())
    assert found.keys() == {"quality", "legacy"}
    assert "worse than the champion: all recall@10 -9" in found["quality"]


def test_features_that_know_a_day_too_much_are_refused_as_a_leak(judged, settings):
    """The window's snapshot has values of a day later: the recount names what knows its future."""
    write_stats(settings, {WINDOW_START: WINDOW_DAY + timedelta(days=1), KNOWN: DAY})
    found = reasons(judged())
    assert found.keys() == {"leakage"}
    assert "rows know their future" in found["leakage"]


def test_tables_stamped_a_day_early_are_refused_as_a_leak(judged, settings):
    """Rows that claim to be known a day before they were differ from the recount of that day."""
    for view in ("user_stats", "item_stats"):
        path = settings.feature_table(view) / "part-0.parquet"
        table = pq.read_table(path)
        place = table.column_names.index("event_timestamp")
        early = table["event_timestamp"].to_pandas() - timedelta(days=1)
        pq.write_table(table.set_column(place, "event_timestamp", [early]), path)
    found = reasons(judged())
    assert "item_age_days" in found["leakage"] or "user_recency_days" in found["leakage"]


def test_learning_from_the_window_is_refused_as_a_leak(judged, settings):
    """A challenger that learnt a second of what it is measured on is refused, and told so."""
    released(settings, learnt_until=(WINDOW_START + timedelta(seconds=1)).isoformat())
    found = reasons(judged())
    assert found.keys() == {"leakage"}
    assert "is measured on what came after" in found["leakage"]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"as_of": (KNOWN - timedelta(days=1)).isoformat()}, "the release is as of 2024-03-13"),
        ({"learnt_until": (KNOWN - timedelta(days=15)).isoformat()}, "more than 14 days"),
    ],
)
def test_a_stale_challenger_is_refused(judged, settings, facts, said):
    """One that is of the day before, or has not learnt for two weeks, is refused for its freshness alone."""
    released(settings, **facts)
    found = reasons(judged())
    assert found.keys() == {"freshness"}
    assert said in found["freshness"]


def test_features_that_did_not_arrive_are_stale(judged, settings):
    """Without the day's snapshot of items, tables and the store filled from them are told as stale."""
    import jobs.materialize

    path = settings.feature_table("item_stats") / "part-0.parquet"
    table = pq.read_table(path)
    pq.write_table(table.filter(np.array(table["event_timestamp"].to_pandas() < KNOWN)), path)
    jobs.materialize.run(settings, end=KNOWN)
    found = reasons(judged())
    assert found.keys() == {"freshness"}
    assert "table item_stats ends with 2024-03-07" in found["freshness"]
    assert "online item_stats ends with 2024-03-07" in found["freshness"]


def test_a_missing_feature_is_refused_for_good(judged, settings):
    """A release that reads what the registry lacks is refused by its name; an override does not pass it."""
    features = day_release(settings).manifest["features"]
    released(settings, features={**features, "user": [*features["user"], "user_spend_365d"]})
    decision = judged(override="we need it")
    assert reasons(decision).keys() == {"features"}
    assert "user_spend_365d" in reasons(decision)["features"]
    assert decision.exit_code == 3
    assert "cannot be overridden" in decision.verdict


def test_an_answer_that_takes_twice_the_time_is_refused(judged, settings):
    """A challenger whose ranker has many more trees is refused for its latency alone."""
    release = day_release(settings)
    names = release.manifest["features"]
    columns = len(matrix_columns(names["user"], names["item"]))
    slow = {task: heavy(columns) for task in ("all", "discover")}
    save(replace(release, rankers=slow), settings.day(DAY) / "release")
    found = reasons(judged())
    assert found.keys() == {"latency"}
    assert "times the champion's" in found["latency"]


def heavy(columns):
    """A ranker of very many trees."""
    import xgboost

    rng = np.random.default_rng(0)
    data = xgboost.DMatrix(rng.uniform(0, 30, (400, columns)), label=rng.integers(0, 2, 400))
    options = {"objective": "binary:logistic", "max_depth": 6, "nthread": 1, "num_parallel_tree": 260}
    return xgboost.train({**options, "subsample": 0.7}, data, num_boost_round=3)


def test_lists_that_have_collapsed_are_refused(judged, settings):
    """Pages that show a quarter of the champion's items are refused for their coverage alone."""
    write_values(settings, drawn_values(coverage={"challenger": 0.05, "champion": 0.2}))
    found = reasons(judged())
    assert found.keys() == {"coverage"}
    assert "5.00% of the catalogue, the champion's 20.00%" in found["coverage"]


def test_a_jump_is_refused_as_too_good(judged, settings):
    """Twice the champion's recall overnight is refused as a likely leak, by the jump alone."""
    write_values(
        settings, drawn_values({"challenger": 0.9, "champion": 0.4, "buy_again": 0.45, "segment": 0.1})
    )
    found = reasons(judged())
    assert found.keys() == {"jump"}
    assert "too good to be true" in found["jump"]


def test_a_damaged_file_is_refused_for_good(judged, settings):
    """One byte that differs: nothing else is looked at, and no override passes it."""
    path = settings.day(DAY) / "release" / "arrays.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    decision = judged(override="it is only one bit")
    assert reasons(decision).keys() == {"release"}
    assert "arrays.npz is damaged" in reasons(decision)["release"]
    assert not decision.promoted


def test_a_bit_that_differs_in_the_online_store_is_named(judged, settings):
    """The store was filled from another price of one item: parity names the feature."""
    import jobs.materialize

    path = settings.feature_table("item_stats") / "part-0.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("item_price_91d")
    prices = table["item_price_91d"].to_numpy().copy()
    bit = float(np.nextafter(np.float32(prices[-1]), np.float32(np.inf)))
    changed = [*prices[:-1], bit]
    pq.write_table(table.set_column(place, "item_price_91d", [changed]), path)
    jobs.materialize.run(settings, end=KNOWN)
    pq.write_table(table, path)
    found = reasons(judged())
    assert found.keys() == {"parity"}
    assert "item_price_91d in 1 of" in found["parity"]


def test_without_values_per_shopper_nothing_is_believed(judged, settings):
    """What was not measured is refused, with the command that measures it."""
    (settings.day(DAY) / "per_shopper.parquet").unlink()
    found = reasons(judged())
    assert found.keys() == {"quality", "legacy", "jump", "latency", "coverage"}
    assert "endcap evaluate --date 2024-03-13" in found["quality"]


def test_an_online_store_may_be_left_for_later_by_rule(judged, settings):
    """Without one, freshness and parity refuse; gate.yaml may allow it. Unknown rules are named."""
    settings.online_store.unlink()
    assert reasons(judged()).keys() == {"freshness", "parity"}
    assert not settings.online_store.exists()
    (settings.state / "gate.yaml").write_text("need_online_store: false\n")
    assert reasons(judged()) == {}
    (settings.state / "gate.yaml").write_text("need_online_stores: false\n")
    with pytest.raises(ValueError, match="need_online_stores"):
        judged()


def test_an_override_is_kept_with_all_that_failed(judged, settings):
    """A stale challenger is promoted with a reason, which stands in the record; an empty one is refused."""
    released(settings, as_of=(KNOWN - timedelta(days=1)).isoformat())
    with pytest.raises(OverrideError, match="say why"):
        judged(override=" ")
    decision = judged(override="the shop was closed")
    record = json.loads((settings.day(DAY) / "gate.json").read_text())
    assert decision.exit_code == 0
    assert (record["override"], record["overridden"]) == ("the shop was closed", ["freshness"])
