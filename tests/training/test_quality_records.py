"""Figures from values per shopper: means of one cut, means of cuts for a pool, lifts over other models."""

import doctest

import numpy as np
import pandas as pd
import pytest
from plain_held_out import held_of

from training import per_shopper, quality_records
from training.held_out import HeldOut
from training.per_shopper import COVERAGE, CTR_PROXY, NOVELTY, REPEATS, candidate_values, values_of
from training.quality_records import LIFTED, cut_label, pools
from training.quality_records import quality_records as records_of

METRICS = ("recall@10", "recall@20", "recall@100", "recall@500", "ndcg@10", CTR_PROXY)
MODELS = {"top_sellers": 0.2, "buy_again": 0.3, "segment": 0.25, "two_tower": 0.4, "ease": 0.5, "als": 0.35}


def values(cut, n_users, *, models=MODELS, seed=0, task="all"):
    """Random values of every model and the stack; coverage is the cut's number in percent."""
    rng = np.random.default_rng((seed, cut))
    shared = rng.random(n_users)
    frames = [
        pd.DataFrame(
            {
                "task": task,
                "model": model,
                "user_id": [f"u{user}" for user in range(n_users)],
                **{metric: level * shared * rng.random(n_users) for metric in METRICS},
                COVERAGE: cut / 100,
                "cut": cut,
            }
        )
        for model, level in {"stack": 0.6, **models}.items()
    ]
    return pd.concat(frames, ignore_index=True).sample(frac=1, random_state=seed)


def figure(records, **tags):
    """The one record with these tags."""
    (found,) = [r for r in records if all(r.get(name) == value for name, value in tags.items())]
    return found


def mean(frame, model, metric):
    """Mean over cuts of the plain means."""
    mine = frame[frame["model"] == model]
    return np.mean([mine.loc[mine["cut"] == cut, metric].mean() for cut in mine["cut"].unique()])


def test_figures_of_one_cut_are_means_over_shoppers():
    """Value, interval around it, tags; the cut is a number, coverage is what the model had."""
    frame = values(49, 60)
    records = records_of(frame)
    found = figure(records, model="ease", metric="recall@20", versus=None)
    assert found["value"] == pytest.approx(mean(frame, "ease", "recall@20"))
    assert found["low"] < found["value"] < found["high"]
    assert {**found, "value": 0, "low": 0, "high": 0} == {
        "report": "quality", "metric": "recall@20", "value": 0, "low": 0, "high": 0, "unit": "share",
        "task": "all", "model": "ease", "users": 60, "cut": 49,
    }  # fmt: skip
    assert figure(records, model="stack", metric=COVERAGE)["value"] == 0.49


def test_pooled_figures_weigh_each_cut_alike():
    """A cut with a tenth of the shoppers counts as much as the other; a shopper of both counts once."""
    frame = pd.concat([values(49, 100), values(45, 10)])
    records = records_of(frame)
    found = figure(records, model="als", metric="recall@10", versus=None)
    assert found["value"] == pytest.approx(mean(frame, "als", "recall@10"))
    assert found["value"] != pytest.approx(frame.loc[frame["model"] == "als", "recall@10"].mean())
    assert (found["cut"], found["users"]) == ("45+49", 100)
    assert figure(records, model="als", metric=COVERAGE)["value"] == pytest.approx(0.47)


def test_pooled_lift_is_that_of_the_pooled_means():
    """Lift = mean over cuts of one model through that of the other, less one; doubling all is certain."""
    frame = pd.concat([values(49, 40), values(45, 30), values(47, 20)])
    frame = frame.sort_values(["model", "cut", "user_id"], ignore_index=True)
    for metric in METRICS:
        frame.loc[frame["model"] == "stack", metric] = (
            2 * frame.loc[frame["model"] == "segment", metric].to_numpy()
        )
    records = records_of(frame)
    sure = figure(records, model="stack", versus="segment", metric="recall@100")
    assert (sure["value"], sure["low"], sure["high"]) == pytest.approx((1, 1, 1))
    other = figure(records, model="stack", versus="ease", metric="recall@100")
    expected = mean(frame, "stack", "recall@100") / mean(frame, "ease", "recall@100") - 1
    assert other["value"] == pytest.approx(expected)
    assert other["cut"] == "45+47+49"


def test_lifts_are_over_every_model_and_of_retrieval_over_its_peers():
    """The stack is held against all, segment and buy-again first; two-tower against ALS and EASE."""
    lifts = [record for record in records_of(values(49, 20)) if record.get("versus")]
    stack = [r for r in lifts if r["model"] == "stack"]
    assert {r["metric"] for r in stack} == {"recall@10", "recall@20", "recall@100", "ndcg@10", CTR_PROXY}
    order = list(dict.fromkeys(r["versus"] for r in stack))
    assert order[:2] == ["segment", "buy_again"]
    assert set(order) == set(MODELS)
    assert [(r["versus"], r["metric"]) for r in lifts if r["model"] == "two_tower"] == [
        ("als", "recall@100"), ("als", "recall@500"), ("ease", "recall@100"), ("ease", "recall@500"),
    ]  # fmt: skip


def test_candidates_have_one_figure_and_are_beaten_by_nobody():
    """What candidates hold is a figure of theirs alone: no other model has it, none is held against them."""
    frame = values(49, 4, models={"segment": 0.2})
    shoppers = sorted(frame["user_id"].unique())
    bought = [np.array([0, -1]), np.array([5]), np.array([1, 2, 9, 8]), np.array([3])]
    held = held_of(shoppers, bought)
    drawn = candidate_values("all", held, np.array([[0, 1, 2], [0, 1, 2], [1, 2, 8], [0, 2, 3]]))
    records = records_of(pd.concat([drawn.assign(cut=49), frame], ignore_index=True))
    assert drawn["candidate_recall@3"].tolist() == [0.5, 0, 0.75, 1]
    (found,) = [r for r in records if "candidates" in (r["model"], r.get("versus"))]
    assert (found["metric"], found["value"], found["users"]) == ("candidate_recall@3", 0.5625, 4)
    assert [r for r in records if r["model"] != "candidates"] == records_of(frame)


def test_the_stack_with_promotions_is_held_against_the_stack_alone():
    """It has lifts over the stack and no other; none, as none knows promotions, has one over it."""
    models = {**MODELS, "stack_with_promotions": 0.7}
    lifts = [record for record in records_of(values(49, 20, models=models)) if record.get("versus")]
    pairs = [(r["model"], r["versus"]) for r in lifts if "stack_with_promotions" in (r["model"], r["versus"])]
    assert pairs == [("stack_with_promotions", "stack")] * len(LIFTED)
    frame = values(49, 20, models=models)
    expected = mean(frame, "stack_with_promotions", "ndcg@10") / mean(frame, "stack", "ndcg@10") - 1
    found = figure(lifts, model="stack_with_promotions", metric="ndcg@10")
    assert found["value"] == pytest.approx(expected)


def test_tasks_are_kept_apart():
    """Each task has figures of its own shoppers only."""
    frame = pd.concat([values(49, 30), values(49, 20, seed=1, task="discover")])
    records = records_of(frame)
    for task, users in (("all", 30), ("discover", 20)):
        found = figure(records, model="stack", metric="ndcg@10", task=task, versus=None)
        assert found["value"] == pytest.approx(mean(frame[frame["task"] == task], "stack", "ndcg@10"))
        assert found["users"] == users


def test_models_of_other_shoppers_are_refused():
    """A model that was measured on other shoppers cannot be compared in pairs."""
    frame = pd.concat(
        [values(49, 20, models={}), values(49, 19, models={"ease": 1.0}).query("model == 'ease'")]
    )
    with pytest.raises(ValueError, match="ease was measured on other shoppers than stack"):
        records_of(frame.sort_values("model", ascending=False))


def test_cuts_are_pooled_from_the_first_on():
    """The first two, then one more at a time, then each alone; labels are in ascending order."""
    assert doctest.testmod(quality_records).failed == 0
    assert pools([49]) == [(49,)]
    assert [cut_label(pool) for pool in pools([49, 45, 47])] == ["45+49", "45+47+49", 49, 45, 47]


HELD = HeldOut(
    ["a", "b"],
    bought=[np.array([3, 4]), np.array([0, -1])],
    revenue=[np.ones(2), np.ones(2)],
    trips_with=[np.array([2, 1]), np.array([1, 1])],
    n_trips=np.array([4, 1]),
    past=[np.array([3, 1]), np.array([2])],
    repeat=[np.array([True, False]), np.array([False, False])],
    information=np.array([0.0, 1, 2, 3, 4, 5]),
)


def test_values_say_what_kind_of_item_is_found():
    """Repeats and new items, clicks by trip and surprise, of two shoppers by hand; nan where undefined."""
    frame = values_of("ease", "all", HELD, np.array([[3, 1], [5, -1]]), n_items=6)
    assert frame["recall_repeat@10"].fillna(-1).tolist() == [1, -1]  # b bought nothing again
    assert frame["recall_new@10"].tolist() == [0, 0]
    assert frame[REPEATS].tolist() == [1, 0]
    assert frame[CTR_PROXY].tolist() == [2 / (10 * 4), 0]
    assert frame[NOVELTY].tolist() == [2, 5]
    assert list(values_of("ease", "discover", HELD, np.array([[3, 1], [5, -1]]), n_items=6).columns) == [
        name for name in frame.columns if not name.startswith(("recall_repeat", "recall_new", "repeats"))
    ]


def test_a_figure_is_of_the_shoppers_who_have_it():
    """A nan is left out of mean and number of shoppers; a metric that a task lacks has no figure there."""
    frame = values(49, 40)
    frame[NOVELTY] = 4 + frame["recall@10"]
    frame["recall_repeat@10"] = np.where(
        frame["user_id"].isin(["u1", "u2", "u3"]), np.nan, frame["recall@10"]
    )
    both = pd.concat([frame, values(49, 30, seed=1, task="discover")])
    records = records_of(both)
    some = frame[(frame["model"] == "ease") & frame["recall_repeat@10"].notna()]
    found = figure(records, model="ease", metric="recall_repeat@10")
    assert (found["users"], found["value"]) == (37, pytest.approx(some["recall@10"].mean()))
    assert (found["task"], found["unit"]) == ("all", "share")
    assert figure(records, model="ease", metric="recall@10", task="all", versus=None)["users"] == 40
    assert figure(records, model="ease", metric=NOVELTY)["unit"] == "bits"


def test_values_are_kept_per_shopper(tmp_path):
    """A row per shopper with the metrics of their list; reading gives what was written, and the cut."""
    frame = values_of("ease", "all", HELD, np.array([[3, 1], [5, -1]]), n_items=6)
    assert frame["recall@10"].tolist() == [0.5, 0.0]
    assert frame[COVERAGE].tolist() == [0.5, 0.5]  # items 1, 3 and 5 of six
    path = tmp_path / "cut-45" / "per_shopper.parquet"
    per_shopper.write(frame, path)
    pd.testing.assert_frame_equal(per_shopper.read(path, 45), frame.assign(cut=45))
    assert [file.name for file in path.parent.iterdir()] == ["per_shopper.parquet"]
    with pytest.raises(FileNotFoundError, match="endcap evaluate --cut 47"):
        per_shopper.read(tmp_path / "none.parquet", 47)
