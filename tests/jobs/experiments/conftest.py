"""A shop on Google Cloud, where BigQuery is an emulator of it."""

import subprocess
import sys
from itertools import count
from pathlib import Path

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery.table import RowIterator

from feature_repo.settings import Settings

EMULATOR = Path(__file__).parents[2] / "bigquery_emulator.py"
numbers = count(1)


@pytest.fixture(scope="session")
def bigquery_url():
    """URL of an emulator of BigQuery in a process of its own."""
    command = [sys.executable, "-W", "ignore", str(EMULATOR)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield next(line.strip() for line in process.stdout if line.startswith("http"))
        process.stdin.close()


@pytest.fixture
def shop(bigquery_url, monkeypatch, tmp_path):
    """Its settings, with a dataset of its own, which Google's own client finds in the emulator."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_url)
    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), None))
    monkeypatch.setattr(RowIterator, "_should_use_bqstorage", lambda *_: False)  # but results over REST
    dataset = f"my-shop.endcap_{next(numbers)}"
    bigquery.Client("my-shop", AnonymousCredentials()).create_dataset(dataset)
    return Settings(tmp_path, tmp_path / "reports", profile="gcp", bigquery_dataset=dataset)
