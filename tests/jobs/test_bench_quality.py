"""The quality bench: what is done is not done again, cuts are measured alike, figures are pooled."""

import json
import os
from dataclasses import replace
from datetime import UTC, date, datetime

import click
import numpy as np
import pandas as pd
import pytest
from table_files import first_part
from tiny_release import tiny_release

from bentos.release import save
from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs import evaluate
from jobs.benches import peers
from jobs.benches.quality import QualityBench, check
from jobs.pipeline import StepFailedError
from jobs.publish import quality_records
from jobs.result import Result
from jobs.train import release_folder
from jobs.verbs import Cuts
from training import per_shopper
from training.per_shopper import COVERAGE, CTR_PROXY
from training.quality_records import quality_records as records_of

CALENDAR = ShopCalendar("America/New_York", date(2016, 12, 26))
METRICS = ("recall@10", "recall@20", "recall@100", "recall@500", "ndcg@10", CTR_PROXY)
MODELS = {"stack": 0.6, "two_tower": 0.4, "segment": 0.2, "buy_again": 0.3, "top_sellers": 0.1}
PEERS = {"als": 0.35, "ease": 0.5}


@pytest.fixture
def settings(tmp_path):
    """An installation with tables of 53 weeks and nothing else."""
    settings = Settings(state=tmp_path / "state", reports=tmp_path / "reports", threads=1)
    settings.shop_calendar.parent.mkdir(parents=True)
    CALENDAR.save(settings.shop_calendar)
    stamps = pd.DatetimeIndex([datetime(2017, 1, 2, tzinfo=UTC), datetime(2017, 12, 31, tzinfo=UTC)])
    pd.DataFrame({"event_timestamp": stamps.as_unit("us")}).to_parquet(first_part(settings, "transactions"))
    pd.DataFrame({"item_id": ["i1"]}).to_parquet(first_part(settings, "items"))
    return settings


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """Reports without plots, which take seconds and have tests of their own."""
    monkeypatch.setattr("training.quality_plots.figures", lambda _: {})


class Quick(QualityBench):
    """A bench whose training saves a tiny release and whose measurements are drawn at random."""

    def train(self, cut, lock):  # noqa: ARG002 - as the real one is called
        """A release without rankers."""
        self.head(f"trained {cut}")
        folder = release_folder(self.settings, cut)
        save(replace(tiny_release(), rankers={}), folder)
        return Result("train", 20, "items", folder)

    def evaluate(self, cut):
        """Values of the stack and its baselines."""
        return self.drawn("evaluated", cut, MODELS, evaluate.per_shopper_file(self.settings, cut))

    def peers(self, cut):
        """Values of two peers."""
        return self.drawn("held against peers", cut, PEERS, peers.per_shopper_file(self.settings, cut))

    def drawn(self, what, cut, models, path):
        """Random values of 30 shoppers, the same in every run."""
        self.head(f"{what} {cut}")
        rng = np.random.default_rng((cut, len(models)))
        frames = [
            pd.DataFrame(
                {
                    "task": task,
                    "model": model,
                    "user_id": [f"u{n}" for n in range(30)],
                    **{metric: level * rng.random(30) for metric in METRICS},
                    COVERAGE: 0.5,
                }
            )
            for task in ("all", "discover")
            for model, level in models.items()
        ]
        values = pd.concat(frames, ignore_index=True)
        per_shopper.write(values, path)
        return Result(what, len(values), "values", path)


def bench_of(settings, kind=Quick):
    """A bench and the two lists of what it says."""
    said, heads = [], []
    return kind(settings, said.append, heads.append), said, heads


def works(heads):
    """Which work was really done."""
    return [line for line in heads if line.startswith(("trained", "evaluated", "held"))]


def test_bench_pools_its_cuts_and_does_nothing_twice(settings):
    """Figures of both pools and each cut are written; a second run only pools; a lost file is made again."""
    bench, said, heads = bench_of(settings)
    page = bench.run((49, 45, 47))
    done = [
        f"{what} {cut}" for cut in (49, 45, 47) for what in ("trained", "evaluated", "held against peers")
    ]
    assert works(heads) == done
    records = json.loads((settings.reports / "quality.json").read_text())
    assert list(dict.fromkeys(r["cut"] for r in records)) == ["45+49", "45+47+49", 49, 45, 47]
    assert page.read_text().index("cuts 45, 47 and 49") < page.read_text().index("cut 49 (bought")
    assert said[-2].startswith("All purchases, mean of cuts 45, 47 and 49")
    assert "cut 49 (bought" not in said[-2]

    bench, said, heads = bench_of(settings)
    bench.run((49, 45, 47))
    assert works(heads) == []
    assert sum("done before" in line for line in said) == 9
    assert json.loads((settings.reports / "quality.json").read_text()) == records

    peers.per_shopper_file(settings, 45).unlink()
    bench, _, heads = bench_of(settings)
    bench.run((49, 45, 47))
    assert works(heads) == ["held against peers 45"]


def test_interrupted_bench_goes_on(settings):
    """What was done before a failure is kept, and the reports are left as they were."""

    class Breaks(Quick):
        """Fails at the second cut's training."""

        def train(self, cut, lock):
            """Cut 45 breaks down."""
            if cut == 45:
                raise StepFailedError("Training cut 45 failed")
            return super().train(cut, lock)

    bench, _, _ = bench_of(settings, Breaks)
    with pytest.raises(StepFailedError):
        bench.run((49, 45))
    assert not settings.reports.exists()
    bench, _, heads = bench_of(settings)
    bench.run((49, 45))
    assert works(heads)[0] == "trained 45"


class OtherItems(Quick):
    """Trains a release of other items."""

    def train(self, cut, lock):
        """The tiny release with other ids."""
        result = super().train(cut, lock)
        tiny = tiny_release()
        catalogue = replace(tiny.catalogue, item_ids=np.char.add("x", tiny.catalogue.item_ids))
        save(replace(tiny, rankers={}, catalogue=catalogue), result.where)
        return result


@pytest.mark.parametrize(("kind", "again"), [(Quick, []), (OtherItems, ["held against peers 49"])])
def test_peers_are_measured_again_when_the_catalogue_changes(settings, kind, again):
    """A new release of other items makes the peers' values stale; one of the same items does not."""
    bench_of(settings)[0].run((49,))
    os.utime(release_folder(settings, 49) / "manifest.json", (2e9, 2e9))  # as if trained by hand
    bench, _, heads = bench_of(settings, kind)
    bench.run((49,))
    assert works(heads) == ["trained 49", "evaluated 49", *again]


def test_failed_training_names_cut_and_remedy(settings):
    """A child that ends without a result stops the bench with what to do."""
    bench = QualityBench(settings, print, print, program=("false",))
    with pytest.raises(StepFailedError, match=r"Training cut 49 failed with exit code 1.*same command again"):
        bench.run((49,))


def test_published_figures_are_those_of_the_cut(settings):
    """Publishing finds the cut's own records among pools and other cuts."""
    bench_of(settings)[0].run((49, 45))
    found = quality_records(settings, 45)
    assert {record["cut"] for record in found} == {45}
    assert {"stack", "ease"} <= {record["model"] for record in found}


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (52, "Cut 52 is tested on weeks 53 and 54; the data ends in week 53.*--cuts 51"),
        (9, "cut of at least"),
    ],
)
def test_cuts_without_data_are_refused_before_any_work(settings, cut, message):
    """A cut whose test weeks, or whose past, the data lacks is told with what would do."""
    check(settings, (49, 51))
    with pytest.raises(ValueError, match=message):
        check(settings, (49, cut))


@pytest.mark.parametrize(
    ("text", "message"), [("49,x", "'x' is no week"), ("49,0", "'0'"), ("45,45", "twice")]
)
def test_list_of_cuts_is_read_and_refused_by_name(text, message):
    """Weeks come in the order given; what is no week, or named twice, is told."""
    assert Cuts().convert("49, 45,47", None, None) == (49, 45, 47)
    with pytest.raises(click.BadParameter, match=message):
        Cuts().convert(text, None, None)


def test_evaluation_of_the_slice_leaves_values_per_shopper(installation):
    """Means of the values that the pipeline's evaluation left are the figures that it reported."""
    values = per_shopper.read(evaluate.per_shopper_file(installation, 49), 49)
    assert {
        "stack",
        "stack_with_promotions",
        "two_tower",
        "category_affinity",
        "segment",
        "buy_again",
    } <= set(values["model"])
    reported = quality_records(installation, 49)
    found = {
        (task, model): rows["recall@100"].mean()
        for (task, model), rows in values[values["model"] != "candidates"].groupby(["task", "model"])
    }
    expected = {
        (r["task"], r["model"]): r["value"]
        for r in reported
        if r["metric"] == "recall@100" and "versus" not in r
    }
    assert found == pytest.approx(expected)


def test_peers_of_the_slice_meet_the_same_shoppers(installation, tmp_path):
    """The peers' values of real data join with the stack's: the same shoppers, tasks and metrics."""
    lines = []
    aside = replace(installation, state=tmp_path)
    for name in ("tables", "training"):
        (tmp_path / name).symlink_to(installation.state / name)
    before = peers.per_shopper_file(aside, 49).exists()
    count = peers.measure(aside, 49, lines.append)
    theirs = per_shopper.read(peers.per_shopper_file(aside, 49), 49)
    ours = per_shopper.read(evaluate.per_shopper_file(installation, 49), 49)
    if not before:
        peers.per_shopper_file(aside, 49).unlink()
    assert count == len(theirs)
    held = ["candidate_recall@980", "candidate_recall@700"]
    assert [*theirs.columns, *held] == [*ours.columns.drop(held), *held]
    assert set(theirs["model"]) == {"item_knn", "ease", "als", "tifu_knn"}
    records = records_of(pd.concat([ours, theirs]))
    assert {r["versus"] for r in records if r.get("versus")} >= set(theirs["model"])
    assert len(lines) == 1 + 2 * 4
