"""What is analysed in BigQuery: the same figures as here, and as plain loops over the rows."""

import sqlite3
from collections import Counter
from contextlib import closing
from datetime import timedelta

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cloud_logs import embedded, keep, there
from experiment_log import SCHEMAS, START, answer, at, event, experiment, page, random_log
from experiment_loops import Loops
from google.cloud import bigquery
from partition_filters import scans, unfiltered
from table_files import first_part

from bentos.exposure_log import ExposureLog
from feature_repo.bigquery.client import connected
from feature_repo.settings import Settings
from jobs.experiments import logs, other_policies
from jobs.experiments.bigquery_log import columns
from jobs.experiments.figures import Log, figures
from jobs.experiments.outcomes import SUMS, per_user, per_user_day


def transactions():
    """Rows of the contract, before and after the start, some returned."""
    rng = np.random.default_rng(5)
    return [
        {
            "user_id": f"u{rng.integers(13)}",
            "item_id": f"i{rng.integers(6)}",
            "event_timestamp": START - timedelta(days=int(rng.integers(-3, 100))),
            "basket_id": f"b{rng.integers(60)}",
            "quantity": float(rng.integers(-1, 3)),
            "price_paid": float(rng.integers(1, 40)) / 4,
            "discount": 0.0,
            "store_id": None,
        }
        for _ in range(300)
    ]


def with_transactions(settings):
    """Have them in both places."""
    schema = pa.schema(SCHEMAS["transactions"])
    pq.write_table(pa.Table.from_pylist(transactions(), schema), first_part(settings, "transactions"))
    client = connected(settings)
    table = client.create_table(bigquery.Table(f"{settings.dataset}.transactions", columns(schema)))
    config = bigquery.LoadJobConfig(source_format="PARQUET", schema=table.schema)
    with settings.table("transactions").open("rb") as file:
        client.load_table_from_file(file, table, job_config=config).result()


def words(records):
    """All that is exact in some records."""
    return [{key: value for key, value in each.items() if not isinstance(value, float)} for each in records]


def numbers(records):
    """All that is not, in order."""
    return [value for each in records for value in each.values() if isinstance(value, float)]


def test_figures_are_those_of_duckdb(shop):
    """All records of an experiment in which all goes wrong, users and the newest answer, to 1e-9."""
    keep(shop, random_log(1))
    with_transactions(shop)
    ours, theirs = figures(embedded(shop), experiment()), figures(shop, experiment())
    assert {each["method"] for each in ours.records if "method" in each} == {"fixed", "cuped", "sequential"}
    assert words(theirs.records) == words(ours.records)
    assert numbers(theirs.records) == pytest.approx(numbers(ours.records), rel=1e-9)
    assert (theirs.users, theirs.newest) == (ours.users, ours.newest)


def test_every_query_of_a_report_filters_its_partitions(shop, bigquery):
    """What was shown and done since the experiment's start, what was bought before it."""
    keep(shop, random_log(1))
    with_transactions(shop)
    before = len(bigquery.queries())
    figures(shop, experiment())
    queries = bigquery.queries()[before:]
    assert {name for query in queries for name, _, _ in scans(query)} >= {
        "exposures",
        "events",
        "transactions",
    }
    assert [found for query in queries for found in unfiltered(query)] == []


def test_sums_are_those_of_loops(shop):
    """By user and day, and by user with the pre-period, in BigQuery as by plain loops, exactly."""
    rows = random_log(3)
    keep(shop, rows)
    with_transactions(shop)
    log, sums = Log.of(shop, experiment()), Loops(rows, experiment()).by_day()
    days = per_user_day(log.exposures, log.slots, log.events, experiment()).to_pyarrow().to_pylist()
    found = {tuple(row[key] for key in ("user_id", "arm", "day")): row for row in days}
    assert {key: {name: row[name] for name in SUMS} for key, row in found.items()} == {
        key: {name: sums[key][name] for name in SUMS} for key in sums
    }
    users = per_user(log.exposures, log.slots, log.events, experiment(), pre=log.transactions)
    before = Counter()
    for row in transactions():
        if row["quantity"] > 0 and START - timedelta(weeks=13) <= row["event_timestamp"] < START:
            before[row["user_id"]] += row["price_paid"]
    found = {row["user_id"]: row["pre_revenue"] for row in users.to_pyarrow().to_pylist()}
    assert found == {user: before[user] for user, _, _ in sums}


def test_services_of_one_shop_share_a_dataset(shop, tmp_path):
    """Each loads its own log, parts of one name and all; an event that both were told counts once."""
    other = Settings(tmp_path / "other", shop.reports, profile="gcp", bigquery_dataset=shop.dataset)
    told = event("e1", "purchase", "u", "tea", 2, "r1", 2.5)
    keep(shop, {"exposures": [answer("r1", "u", 0)], "slots": page("r1", ["tea", "jam"]), "events": [told]})
    again = {**told, "happened_at": at(3)}
    late = event("e2", "click", "v", "jam", 9, "r2")
    shown = {"exposures": [answer("r2", "v", 5, "b")], "slots": page("r2", ["jam"])}
    keep(other, {**shown, "events": [again, late]})
    for settings in (shop, other, shop):
        logs.run(settings)
    log = Log.of(other, experiment())
    assert log.transactions is None
    found = per_user(log.exposures, log.slots, log.events, experiment()).to_pandas().set_index("user_id")
    assert found.revenue.to_dict() == {"u": 2.5, "v": 0}
    assert found.clicks.to_dict() == {"u": 0, "v": 1}
    assert there(shop, "events").total() == 3


def logged(request, user, eligible, drawn):
    """A row of a service's own log, the last slots of whose page were drawn."""
    content = {
        "task": "all",
        "k": 3,
        "release": "r",
        "rules": "",
        "latency_ms": 9.5,
        "degraded": [],
        "arms": {"engine": "b"},
        "forced": False,
        "temperature": 1.0,
        "items": ["egg", *drawn],
        "scores": [2.0] + [1.0] * len(drawn),
        "propensities": [1.0] + [0.5] * len(drawn),
        "explored": [False] + [True] * len(drawn),
        "bought_before": [False] * (1 + len(drawn)),
        "exploration": {"pool": ["tea", "jam"], "scores": [0.5, -0.25], "eligible": eligible},
    }
    return request, user, round(START.timestamp() * 1e6), orjson.dumps(content)


def test_draws_are_read_as_the_service_logged_them(shop):
    """Who could be drawn in each slot, one answer with fewer slots: there as here, from the service's log."""
    rows = [
        logged("r1", "u", [[True, True], [False, True]], ["tea", "jam"]),
        logged("r2", "v", [[True, True]], ["jam"]),
        *(logged(f"r{n}", f"u{n}", [[True, True]], ["tea"]) for n in range(3, 6)),  # it takes five users
    ]
    ExposureLog(shop.exposure_log).close()
    with closing(sqlite3.connect(shop.exposure_log)) as log, log:
        names = "request_id, user_id, shown_us, content"
        log.executemany(f"INSERT INTO exposures ({names}) VALUES (?, ?, ?, ?)", rows)
    for settings in (embedded(shop), shop):
        found = other_policies.drawn(Log.of(settings, experiment()), experiment(), "b")
        one_draw = [[True, True], [True, False]]
        assert found.eligible.tolist() == [[[True, True], [False, True]], *[one_draw] * 4]
        assert found.chosen.tolist() == [[0, 1], [1, 0], *[[0, 0]] * 3]
        assert found.logged.tolist() == [[0.5, 0.5], *[[0.5, 1.0]] * 4]


def test_nothing_shown_is_no_log(shop):
    """Before the first answer there are tables, and no figures."""
    assert Log.of(shop, experiment()) is None
    assert figures(shop, experiment()) is None
