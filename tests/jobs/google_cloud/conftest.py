"""A shop on Google Cloud, where BigQuery is an emulator of it."""

import pytest
from emulated_cloud import empty_shop


@pytest.fixture
def shop(bigquery_url, monkeypatch, tmp_path):
    """Its settings, with a dataset of its own, which Google's own client finds in the emulator."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_url)
    return empty_shop(bigquery_url, tmp_path)
