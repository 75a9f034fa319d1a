"""A shop on Google Cloud, where BigQuery is an emulator of it."""

import pytest
from emulated_cloud import new_dataset

from feature_repo.settings import Settings


@pytest.fixture
def shop(bigquery_url, monkeypatch, tmp_path):
    """Its settings, with a dataset of its own, which Google's own client finds in the emulator."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_url)
    dataset = new_dataset(bigquery_url)
    return Settings(tmp_path, tmp_path / "reports", profile="gcp-emulated", bigquery_dataset=dataset)
