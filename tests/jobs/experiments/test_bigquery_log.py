"""Parts of the logs in BigQuery: each loaded once, whatever happens, into tables laid out for queries."""

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import google.auth
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cloud_logs import expected, halves, keep, there
from experiment_log import random_log
from google.api_core.exceptions import GoogleAPIError, ServiceUnavailable
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import bigquery

from feature_repo.bigquery.client import BigQueryError, connected
from feature_repo.settings import SettingsError
from jobs.experiments import logs
from jobs.experiments.bigquery_log import (
    LAYOUTS,
    job_name,
    load,
    load_once,
    table_of,
)
from jobs.experiments.log_rows import TABLES

MORE = "part-000000001001-000000002000.parquet"


def forget(settings):
    """Lose what was noted of loads, as a crash before the note does."""
    for mark in (logs.logs_folder(settings) / "loaded").iterdir():
        mark.unlink()


def test_each_part_is_loaded_once(shop):
    """However often it is tried, also where nothing was noted after the load; tables are the rows logged."""
    draw = {"temperature": 1.0, "pool": ["tea", "jam"], "scores": [0.5, -0.25], "eligible": [True, False]}
    rows = {**random_log(1), "draws": [{"request_id": "r01", **draw}]}
    rows["exposures"][0]["shown_at"] += timedelta(microseconds=1)
    keep(shop, halves(rows, 0))
    keep(shop, halves(rows, 1), first=1001)
    assert "parts loaded into BigQuery 8" in logs.run(shop).detail
    assert load(shop) == 0
    forget(shop)
    assert load(shop) == 8
    found = {name: there(shop, name) for name in LAYOUTS}
    assert found == {name: expected(name, rows[name]) for name in LAYOUTS}


def test_new_parts_follow(shop):
    """A part that comes later is loaded, and those before it are not asked for again."""
    rows = random_log(2)
    keep(shop, halves(rows, 0))
    load(shop)
    keep(shop, halves(rows, 1), first=1001)
    assert load(shop) == 3
    assert there(shop, "events") == expected("events", rows["events"])


def test_two_at_once_load_a_part_once(shop):
    """Two who load the same part at the same time load it once, and both wait until it is there."""
    rows = random_log(1)
    keep(shop, rows)
    table = table_of(connected(shop), shop.dataset, "events")
    part = next((logs.logs_folder(shop) / "events").iterdir())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda client: load_once(client, part, table), [connected(shop) for _ in range(4)]))
    assert there(shop, "events") == expected("events", rows["events"])


def test_tables_are_laid_out_for_what_is_asked(shop):
    """All have a partition a day and are clustered; columns are those of the parts."""
    load(shop)
    found = {name: connected(shop).get_table(f"{shop.dataset}.{name}") for name in LAYOUTS}
    days = {name: table.time_partitioning for name, table in found.items() if table.time_partitioning}
    assert {name: (each.type_, each.field) for name, each in days.items()} == {
        "exposures": ("DAY", "shown_at"),
        "slots": ("DAY", "shown_at"),
        "draws": ("DAY", "shown_at"),
        "events": ("DAY", "happened_at"),
    }
    assert all(table.require_partition_filter for table in found.values())
    assert {name: table.clustering_fields for name, table in found.items()} == {
        "slots": ["request_id"],
        "draws": ["request_id"],
        "exposures": ["experiment", "user_id"],
        "events": ["user_id"],
    }
    assert [(each.name, each.field_type, each.mode) for each in found["draws"].schema] == [
        ("request_id", "STRING", "NULLABLE"),
        ("shown_at", "TIMESTAMP", "NULLABLE"),
        ("temperature", "FLOAT64", "NULLABLE"),
        ("pool", "STRING", "REPEATED"),
        ("scores", "FLOAT64", "REPEATED"),
        ("eligible", "BOOL", "REPEATED"),
    ]
    assert [each.name for each in found["exposures"].schema] == TABLES["exposures"].names


def test_a_load_that_fails_is_told_in_one_line(shop):
    """Each time that it is tried; the parts before it are there."""
    rows = random_log(1)
    keep(shop, rows)
    strange = pa.Table.from_pylist([dict.fromkeys(TABLES["events"].names, "?")])
    pq.write_table(strange, logs.logs_folder(shop) / "events" / MORE)
    for _ in range(2):
        with pytest.raises(BigQueryError, match=f"could not load the logs into {shop.dataset}: [^\n]*$"):
            load(shop)
    assert there(shop, "events") == expected("events", rows["events"])


def test_a_load_that_failed_is_tried_again(shop):
    """Under another id, as BigQuery keeps the first, also when all is asked for once more."""
    rows = random_log(1)
    keep(shop, rows)
    client, table = connected(shop), table_of(connected(shop), shop.dataset, "events")
    name = job_name(next((logs.logs_folder(shop) / "events").iterdir()), table)
    config = bigquery.LoadJobConfig(source_format="PARQUET", schema=table.schema)
    with pytest.raises(GoogleAPIError):
        client.load_table_from_file(io.BytesIO(b"?"), table, job_id=f"{name}-1", job_config=config).result()
    for _ in range(2):
        load(shop)
        assert there(shop, "events") == expected("events", rows["events"])
        forget(shop)
    assert client.get_job(f"{name}-2").error_result is None


def test_a_job_that_cannot_be_asked_for_is_not_done_again(shop, monkeypatch):
    """Where only the way to a job fails, which may have loaded, the part is not loaded another time."""
    rows = random_log(1)
    keep(shop, rows)
    load(shop)
    forget(shop)

    def out_of_reach(_):
        raise ServiceUnavailable("try later")

    with monkeypatch.context() as patch:
        patch.setattr(bigquery.LoadJob, "result", out_of_reach)
        with pytest.raises(BigQueryError, match="try later"):
            load(shop)
    load(shop)
    assert there(shop, "slots") == expected("slots", rows["slots"])


def test_a_table_made_again_is_filled_again(shop):
    """A table that somebody dropped gets all parts again; the others get none twice."""
    rows = random_log(1)
    keep(shop, rows)
    load(shop)
    connected(shop).delete_table(f"{shop.dataset}.slots")
    assert load(shop) == 1
    assert there(shop, "slots") == expected("slots", rows["slots"])
    assert there(shop, "exposures") == expected("exposures", rows["exposures"])


def test_what_is_missing_is_said(shop, monkeypatch):
    """In one line: the dataset and how to make it, the setting, or who one is."""
    gone = replace(shop, bigquery_dataset="my-shop.gone")
    with pytest.raises(BigQueryError, match=r"no dataset my-shop\.gone; .* mk --dataset my-shop:gone"):
        logs.run(gone)
    with pytest.raises(SettingsError, match="ENDCAP_BIGQUERY_DATASET is not set, and ENDCAP_PROFILE is gcp"):
        logs.run(replace(shop, bigquery_dataset=""))

    def nobody(**_):
        raise DefaultCredentialsError("Your default credentials were not found")

    monkeypatch.setattr(google.auth, "default", nobody)
    with pytest.raises(BigQueryError, match=f"load the logs into {shop.dataset}: Your default credentials"):
        logs.run(replace(shop, profile="gcp"))
