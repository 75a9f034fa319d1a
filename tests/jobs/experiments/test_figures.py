"""The figures of an experiment from the logs of an installation: all records, users, how new they are."""

import pytest
from experiment_log import at, only
from handmade_log import LoggedShop

from bentos.experiments import METRICS, load_experiments
from jobs.experiments import logs
from jobs.experiments.figures import figures, users_of


@pytest.fixture
def shop(tmp_path):
    """An installation with an experiment in which nobody has been."""
    shop = LoggedShop(tmp_path / "state")
    shop.write()
    return shop


def found(shop):
    """The figures now."""
    return figures(shop.settings, load_experiments(shop.settings.experiments_file).named("engine"))


def some_days(shop):
    """Four users, two an arm, on two days; u0 and u2 click the first item of a page, u1 the second of one."""
    users = [("u0", "a"), ("u1", "b"), ("u2", "a"), ("u3", "b")]
    for day in (0, 1):
        shop.show(
            [
                {"request": f"r{user}{day}", "user": user, "arm": arm, "latency_ms": 10.0 * (n + 1)}
                for n, (user, arm) in enumerate(users)
            ],
            hours=24 * day + 1,
        )
    shop.tell([("u0", "milk", "ru00"), ("u2", "milk", "ru20")], hours=2)
    shop.tell([("u1", "tea", "ru11")], hours=26)


def value(records, metric, **tags):
    """The value of the one record with these tags, of no method unless one is given."""
    (record,) = only(records, **{"method": None, "day": None, "segment": None, "metric": metric, **tags})
    return record["value"]


def test_without_answers_there_are_no_figures(shop):
    """No log, an empty one, answers of no experiment or of testers only: None, not an error."""
    assert found(shop) is None
    shop.show([{"request": "r1", "user": "u", "arm": None}])
    assert found(shop) is None
    shop.show([{"request": "r2", "user": "u", "arm": "a", "forced": True}])
    assert found(shop) is None
    assert (
        users_of(shop.settings, load_experiments(shop.settings.experiments_file).named("engine")) is not None
    )


def test_every_kind_of_record_is_there(shop):
    """Users, levels, lifts, days, funnel, latency and the check of the assignment, worked by hand."""
    some_days(shop)
    records = found(shop).records
    assert {each["experiment"] for each in records} == {"engine"}
    assert [value(records, "users", arm=arm) for arm in "ab"] == [2, 2]
    assert value(records, "srm") == 1
    assert [value(records, "ctr", arm=arm) for arm in "ab"] == [2 / 8, 1 / 8]
    assert [value(records, "repeat_ctr", arm=arm) for arm in "ab"] == [2 / 8, 0]
    assert [value(records, "latency_ms", arm=arm) for arm in "ab"] == [20, 30]
    assert value(records, "latency_ms", arm="b", method="fixed") == pytest.approx(0.5)
    assert value(records, "funnel", arm="b", stage="slots") == 8
    assert value(records, "funnel", arm="b", stage="clicks") == 1
    assert value(records, "latency_ms_p99", arm="b") == 40
    levels = {(each["metric"], each.get("arm")) for each in only(records, method=None, day=None)}
    assert levels >= {(name, arm) for name in METRICS for arm in "ab"}
    days = only(records, method="sequential", metric="latency_ms")
    assert sorted(each.get("day", "all") for each in days) == ["2017-12-04", "2017-12-05", "all"]


def test_the_lift_of_all_days_is_that_of_the_last_day(shop):
    """Always-valid bounds and p of a metric are those that its last day has."""
    some_days(shop)
    records = found(shop).records
    for name in METRICS:
        for total in only(records, metric=name, method="sequential", day=None):
            last = only(records, metric=name, method="sequential", day="2017-12-05")[0]
            assert {key: total[key] for key in ("low", "high", "p_value")} == {
                key: last[key] for key in ("low", "high", "p_value")
            }
    assert only(records, metric="latency_ms", method="sequential", day=None)[0]["low"] is not None


def test_users_and_the_newest_answer(shop):
    """Users are those of the analysis; the newest answer is the log's, also outside of the experiment."""
    some_days(shop)
    shop.show([{"request": "forced", "user": "u9", "arm": "b", "forced": True}], hours=27)
    now = found(shop)
    assert now.users == {"a": 2, "b": 2}
    assert now.newest == at(27 * 60)
    shop.show([{"request": "other", "user": "u8", "arm": None}], hours=30)
    assert found(shop).newest == at(30 * 60)


def test_rows_that_are_new_since_the_last_call_are_taken(shop):
    """Each call exports first what the service has logged meanwhile, and nothing twice."""
    some_days(shop)
    assert value(found(shop).records, "funnel", arm="a", stage="clicks") == 2
    shop.show([{"request": "late", "user": "u4", "arm": "a"}], hours=30)
    shop.tell([("u4", "tea", "late"), ("u0", "tea", "ru01")], hours=31)
    for _ in range(2):
        now = found(shop)
        assert value(now.records, "funnel", arm="a", stage="clicks") == 4
        assert now.users == {"a": 3, "b": 2}
    parts = [path.name for path in logs.parts(logs.logs_folder(shop.settings) / "exposures")]
    assert parts == ["part-000000000001-000000000008.parquet", "part-000000000009-000000000009.parquet"]
