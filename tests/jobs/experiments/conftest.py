"""A shop on Google Cloud, where BigQuery is an emulator of it."""

import pytest
from emulated_cloud import empty_shop


@pytest.fixture
def shop(bigquery, monkeypatch, tmp_path):
    """Its settings, with a dataset of its own, which Google's own clients find in the emulator."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery.url)
    monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", bigquery.streams)
    return empty_shop(bigquery.url, tmp_path)
