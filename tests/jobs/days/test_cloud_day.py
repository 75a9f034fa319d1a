"""A day of a real shop on an emulated Google Cloud, beside the same day on Parquet and SQLite."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import emulated_cloud
import httpx
import numpy as np
import pytest
from earlier_shop import earlier
from partition_filters import scans, unfiltered

from feature_repo.settings import FEATURE_STORE_GCP, Settings
from jobs.google_cloud.questions import Questions
from jobs.local_server import local_server
from jobs.pipeline import environment

pytestmark = pytest.mark.gcp
DAY = date(2017, 12, 11)  # the first after a week, so that the training of that week is there
ITS_OWN = ("request_id", "latency_ms", "stages_ms")  # of an answer
WHY = "of so few shoppers none is surely better"


@dataclass(frozen=True)
class Shop:
    """Settings of a shop, and what its processes have in their environment beside them."""

    settings: Settings
    variables: dict[str, str]

    def begin_day(self):
        """Start `endcap daily`."""
        words = ["daily", "--date", str(DAY), "--scale", "0.09", "--override", WHY]
        with (self.settings.state / "daily.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "jobs.cli", "--with-parent", *words],
                env={**environment(self.settings), **self.variables},
                cwd=emulated_cloud.ROOT,
                stdout=log,
                stderr=log,
            )

    @property
    def log(self):
        """What the day told."""
        return (self.settings.state / "daily.log").read_text()

    @property
    def release(self):
        """Folder of the release that serves."""
        name, version = self.settings.current_release.read_text().strip().split(":")
        return Path(self.variables["BENTOML_HOME"], "models", name, version)

    def pages(self, users):
        """What a server of the shop recommends to each user, for both tasks."""
        asked = [{"user_id": user, "task": task, "k": 10} for user in users for task in ("all", "discover")]
        with local_server(self.settings, variables=self.variables) as server, httpx.Client() as client:
            answers = [in_time(client, f"{server.url}/recommend", each) for each in asked]
        return [{key: each[key] for key in each if key not in ITS_OWN} for each in answers]


def in_time(client, url, request):
    """An answer for which there was time: a machine that does much else has less of it."""
    for _ in range(20):
        answer = client.post(url, json=request).json()
        if not answer["degraded"]:
            break
    return answer


@pytest.fixture(scope="module")
def shops(installation, bigquery, redis_url, tmp_path_factory):
    """The shop on Parquet and SQLite, and on BigQuery and Redis, each after the same day."""
    folder = tmp_path_factory.mktemp("cloud-day")
    here = earlier(installation, folder / "embedded", DAY - timedelta(days=1))
    shutil.copytree(here.state, folder / "cloud" / "state")
    there = replace(
        here,
        state=folder / "cloud" / "state",
        reports=folder / "cloud" / "reports",
        profile="gcp-emulated",
        feature_store=FEATURE_STORE_GCP,
        bigquery_dataset=emulated_cloud.new_dataset(bigquery.url),
    )
    for settings in (here, there):
        shutil.copytree(os.environ["BENTOML_HOME"], settings.state.parent / "bentoml")
    homes = [{"BENTOML_HOME": str(each.state.parent / "bentoml")} for each in (here, there)]
    cloud = {"BIGQUERY_EMULATOR_HOST": bigquery.url, "ENDCAP_REDIS_URL": redis_url.removesuffix("0") + "5"}
    made = Shop(here, homes[0]), Shop(there, homes[1] | cloud)
    running = [shop.begin_day() for shop in made]
    codes = [process.wait(timeout=900) for process in running]
    assert codes == [0, 0], "\n".join(shop.log for shop in made)
    return made


def test_a_day_ends_in_a_release(shops, installation):
    """Of which every array equals that of the embedded profile, and which is not the one of before."""
    here, there = shops
    for shop in shops:
        assert shop.settings.current_release.read_text() != installation.current_release.read_text()
        assert json.loads((shop.settings.day(DAY) / "gate.json").read_text())["override"] == WHY
    for name in ("arrays", "catalogue", "parameters"):
        with np.load(here.release / f"{name}.npz") as ours, np.load(there.release / f"{name}.npz") as theirs:
            assert set(theirs.files) == set(ours.files)
            for each in ours.files:
                np.testing.assert_array_equal(theirs[each], ours[each], err_msg=f"{name} {each}")


def test_gates_find_the_same(shops):
    """Each check of the gate comes to one result in both."""
    found = []
    for shop in shops:
        checks = json.loads((shop.settings.day(DAY) / "gate.json").read_text())["checks"]
        found.append({each["name"]: each["passed"] for each in checks})
    assert found[0] == found[1]
    assert {"features", "freshness", "leakage", "parity"} <= {
        name for name, passed in found[1].items() if passed
    }


def test_recommendations_are_the_same(shops):
    """Of a hundred shoppers and a stranger: items, scores, reasons, from Redis as from SQLite."""
    query = "SELECT DISTINCT user_id FROM read_parquet($1) ORDER BY hash(user_id) LIMIT 100"
    users = [
        row[0] for row in duckdb.execute(query, [shops[0].settings.table_parts("transactions")]).fetchall()
    ]
    ours, theirs = (shop.pages([*users, "stranger"]) for shop in shops)
    assert len(users) == 100
    unlike = [
        {key: (mine[key], other[key]) for key in mine if mine[key] != other[key]}
        for mine, other in zip(ours, theirs, strict=True)
    ]
    assert [each for each in unlike if each] == []
    assert sum(len(page["items"]) == 10 and not page["degraded"] for page in theirs) >= 200


def test_a_second_run_does_nothing(shops):
    """The day is done on Google Cloud too: what is loaded, filled and trained is not done again."""
    process = shops[1].begin_day()
    assert process.wait(timeout=900) == 0
    assert "everything was done before" in shops[1].log


def test_every_query_of_the_day_filters_its_partitions(shops, bigquery):
    """Loads, labels, training sets and fills: none reads a table that has partitions as a whole."""
    dataset = shops[1].settings.dataset.split(".")[1]
    queries = [query for query in bigquery.queries() if dataset in query]
    assert len(queries) > 30
    assert [found for query in queries for found in unfiltered(query)] == []


@pytest.fixture(scope="module")
def planned(shops, bigquery):
    """Questions by step of the day and of a cut, what `endcap plan` said, and what was asked before it."""
    there = shops[1]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment(there.settings) | there.variables).items():
            patch.setenv(name, value)
        asked = Questions(there.settings)
        before = len(bigquery.queries())
        words = [sys.executable, "-W", "ignore", "-m", "jobs.cli", "plan", "--profile", "gcp-emulated"]
        done = subprocess.run([*words, "--date", str(DAY)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return asked.of_day(DAY, None), asked.of_cut(49), done.stdout, bigquery.queries()[:before]


def test_what_is_planned_is_what_is_asked(shops, planned):
    """Tables, columns and times of the plan are those of the day, but for the training that was there before.

    Of a replaced day's rows nothing is planned: MERGE reads them.
    """
    dataset = shops[1].settings.dataset.split(".")[1]
    day, _, _, before = planned
    asked = [query for query in before if dataset in query and not query.startswith("MERGE")]
    told = {scan for query in asked for scan in scans(query)}
    wanted = {
        scan for name, some in day.items() if name != "train" for one in some for scan in scans(one.query)
    }
    assert told == wanted


def test_every_query_of_a_plan_filters_its_partitions(planned):
    """Those of a training in full, too, which is not done here."""
    day, cut, _, _ = planned
    assert {"train", "evaluate", "materialize"} == set(cut)
    queries = [one.query for steps in (day, cut) for some in steps.values() for one in some]
    assert len(queries) > 200
    assert [found for query in queries for found in unfiltered(query)] == []


def test_a_plan_is_told_by_step(planned):
    """Each with its number of queries, and a price."""
    day, _, told, _ = planned
    for name, some in day.items():
        assert f"{name:<14} {len(some)} queries" in told
    assert "in all" in told
    assert " $" in told
