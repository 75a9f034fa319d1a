"""Offline = online: what a request reads is what training would have read at that moment, every feature."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from bentos.online_features import OnlineFeatures
from bentos.recommend import recommend
from bentos.release import load
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.store import open_store
from jobs.train import release_folder
from training.fit import Sources, instant_at_cut
from training.point_in_time import entity_frame, historical_features
from training.rankings import shown
from training.shoppers import shopper_at
from training.split import temporal_split

CUT = 49
N = 200
MODELS = ("stack", "two_tower", "pool", "segment", "top_sellers", "buy_again", "category_affinity")


@pytest.fixture(scope="module")
def end(installation):
    """The instant that the online store was materialized for."""
    return ShopCalendar.load(installation.shop_calendar).end(CUT)


def offline(store, key, ids, end, service):
    """Offline values at `end` by feature name, in the order of `ids`."""
    table = historical_features(store, entity_frame(key, ids, [end]), service)
    return table.drop_columns(["event_timestamp", "row_number"]).to_pydict()


def online(store, key, ids, service):
    """Online values by feature name, in the order of `ids`."""
    return store.get_online_features(
        features=store.get_feature_service(service), entity_rows=[{key: each} for each in ids]
    ).to_dict()


@pytest.mark.parametrize(
    ("key", "service", "table", "n_features"),
    [("user_id", "user_ranking", "user_stats", 20), ("item_id", "item_ranking", "item_stats", 11)],
)
def test_online_values_equal_offline_values(installation, end, key, service, table, n_features):
    """At least 200 ids, an unknown one among them, have the same value of every feature on both sides."""
    store = open_store(installation)
    known = sorted(set(pq.read_table(installation.feature_table(table))[key].to_pylist()))
    ids = [*np.random.default_rng(3).permutation(known)[: 3 * N].tolist(), "never-seen"]
    assert len(ids) > N
    left, right = offline(store, key, ids, end, service), online(store, key, ids, service)
    assert left.keys() == right.keys()
    assert len(left) == n_features + 1
    for name, values in left.items():
        assert values == right[name], name
    assert sum(value is not None for value in left[name]) > N / 2


def test_a_request_is_ranked_as_the_evaluation_ranked_it(installation, end):
    """The first ten items over the online store are those that the quality figures were measured on."""
    release = load(release_folder(installation, CUT))
    store = open_store(installation)
    sources = Sources.open(installation, store)
    instant = instant_at_cut(sources, temporal_split(sources.calendar, CUT), release)
    reader = OnlineFeatures(installation, release, lambda: end)
    for task in ("all", "discover"):
        for row in range(0, len(instant.users), 8):
            user_id = str(instant.users.user_ids[row])
            answer = recommend(release, reader, user_id, k=10, task=task, now=end, budget_ms=math.inf)
            assert answer.degraded == ()
            who = shopper_at(instant.users, row, end)
            measured = release.catalogue.item_ids[shown(instant, release, who, task)["stack"][:10]]
            assert [slot.item_id for slot in answer.slots] == measured.tolist()


def test_reports_hold_every_model_and_task_with_intervals(installation):
    """The evaluation has the stack and its baselines on both tasks, each figure within its interval."""
    records = json.loads((installation.reports / "quality.json").read_text())
    for task in ("all", "discover"):
        for model in MODELS:
            found = [r for r in records if (r["task"], r["model"], r["metric"]) == (task, model, "recall@10")]
            measured = [r for r in found if not r.get("versus")]
            assert len(measured) == 1
            assert measured[0]["low"] <= measured[0]["value"] <= measured[0]["high"]
