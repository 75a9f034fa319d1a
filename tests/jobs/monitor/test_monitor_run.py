"""The monitor of a whole day: features that moved, answers that were poor, a page, and what a pager gets."""

import json
from dataclasses import replace
from datetime import timedelta

import monitored_shop
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from monitored_shop import CALENDAR, DAY
from page_reader import Page

from bentos.exposure_log import Exposure, ExposureLog
from bentos.recommend import Recommendation
from bentos.slots import Slot
from feature_repo.settings import Settings
from feature_repo.stores.packed.instants import microseconds
from jobs.cli import endcap
from jobs.monitor.alerts import FAIL, OK, WARN
from jobs.monitor.feature_drift import TRAINING, WEEK, drift_alerts, samples
from jobs.monitor.rules import MonitorRules
from jobs.monitor.run import run
from jobs.monitor.served import served_alerts, served_days
from training.drift import ks, psi

RULES, N = MonitorRules(), 500
STAMPS = [CALENDAR.day_end(DAY - timedelta(days=7 * n)) for n in (2, 1, 0)]
STAMP = pa.timestamp("us", tz="UTC")


def features(rng, stamp):
    """One snapshot of each table, by name; tenure grows as time goes by."""
    days = (stamp - STAMPS[0]).days
    users = {"user_id": [f"u{n}" for n in range(N)], "event_timestamp": [stamp] * N}
    items = {"item_id": [f"i{n}" for n in range(N)], "event_timestamp": [stamp] * N}
    tenure = np.random.default_rng(1).uniform(0, 9, N) + days
    shares = rng.dirichlet([1, 1, 1], N).astype("float32")
    counts = [rng.integers(1, 9, rng.integers(1, 30)).tolist() for _ in range(N)]
    return {
        "user_stats": {
            **users,
            "user_spend_7d": rng.gamma(2, 10, N),
            "user_tenure_days": tenure,
            "user_department_shares_91d": shares.tolist(),
        },
        "user_history": {
            **users,
            "history_items": [[f"i{n}" for n in range(len(each))] for each in counts],
            "history_counts": counts,
            "history_decayed": [[float(n) for n in each] for each in counts],
        },
        "item_stats": {**items, "item_price_91d": rng.gamma(4, 1, N), "item_age_days": tenure},
    }


def as_it_is(view, columns):  # noqa: ARG001 - what changes may depend on the view
    """Changes nothing."""
    return columns


def write_features(settings, change=as_it_is):
    """All snapshots; `change` changes the last one."""
    rng = np.random.default_rng(2)
    for stamp in STAMPS:
        for view, columns in features(rng, stamp).items():
            made = change(view, columns) if stamp == STAMPS[-1] else columns
            folder = settings.feature_table(view)
            folder.mkdir(parents=True, exist_ok=True)
            table = pa.table({**made, "event_timestamp": pa.array(made["event_timestamp"], STAMP)})
            pq.write_table(table, folder / f"{stamp:%m-%d}.parquet")


@pytest.fixture
def settings(tmp_path):
    """An installation with a calendar and nothing else."""
    settings = Settings(state=tmp_path / "state", reports=tmp_path / "reports", threads=2)
    settings.shop_calendar.parent.mkdir(parents=True)
    CALENDAR.save(settings.shop_calendar)
    return settings


def moved(settings):
    """Alerts about features that are not ok: level by (feature, reference)."""
    found = drift_alerts(settings, DAY, RULES)
    return {(each.name, each.about): each.level for each in found if each.level != OK}


def test_features_that_did_not_move_are_in_order(settings):
    """Not even those that grow with time; every number of every table is told against both references."""
    write_features(settings)
    assert moved(settings) == {}
    found = drift_alerts(settings, DAY, RULES)
    names = {each.name for each in found}
    assert names == {
        *(f"user_stats:{name}" for name in ("user_spend_7d", "user_tenure_days", "largest_department_share")),
        *(f"user_history:history_{name}" for name in ("items", "purchases", "decayed")),
        *(f"item_stats:{name}" for name in ("item_price_91d", "item_age_days")),
    }
    assert {each.about for each in found} == {WEEK, TRAINING}
    spend = [pq.read_table(settings.feature_table("user_stats") / f"{at:%m-%d}.parquet")["user_spend_7d"]
             for at in STAMPS[1:]]  # fmt: skip
    (alert,) = [each for each in found if each.name == "user_stats:user_spend_7d" and each.about == WEEK]
    assert alert.figures["psi"] == psi(*spend)
    assert alert.figures["ks"] == ks(*spend)[0]


def test_a_feature_that_moved_is_named(settings):
    """Prices a hundred times as high are broken against a week before, and told against training."""
    write_features(settings, lambda view, columns: (
        {**columns, "item_price_91d": columns["item_price_91d"] * 100} if view == "item_stats" else columns
    ))  # fmt: skip
    price = "item_stats:item_price_91d"
    assert moved(settings) == {(price, WEEK): FAIL, (price, TRAINING): WARN}


def test_values_of_a_feature_that_moved_are_those_of_the_snapshots(settings):
    """Before and now, as they lie in the tables; the page of such a day can be made."""
    monitored_shop.write(settings, monitored_shop.lines())
    write_features(settings, lambda view, columns: (
        {**columns, "item_price_91d": columns["item_price_91d"] * 100} if view == "item_stats" else columns
    ))  # fmt: skip
    alerts = [each for each in drift_alerts(settings, DAY, RULES) if each.level == FAIL]
    found = samples(settings, DAY, alerts)
    assert list(found) == [f"item_stats:item_price_91d {WEEK}"]
    for values, stamp in zip(*found.values(), STAMPS[1:], strict=True):
        part = pq.read_table(settings.feature_table("item_stats") / f"{stamp:%m-%d}.parquet")
        assert sorted(values) == sorted(part["item_price_91d"].to_pylist())
    assert "item_price_91d" in run(settings, DAY).page.read_text()


def test_a_feature_that_is_missing_now_is_broken(settings):
    """Half of its values are null: against both."""
    empty = [None if n % 2 else 1.0 for n in range(N)]
    write_features(
        settings,
        lambda view, columns: {**columns, "user_spend_7d": empty} if view == "user_stats" else columns,
    )
    found = moved(settings)
    assert {found["user_stats:user_spend_7d", each] for each in (WEEK, TRAINING)} == {FAIL}


def test_a_table_without_the_day_is_named_with_the_command(settings):
    """The newest snapshot is of a week ago."""
    write_features(settings)
    (settings.feature_table("item_stats") / f"{STAMPS[-1]:%m-%d}.parquet").unlink()
    (found,) = [each for each in drift_alerts(settings, DAY, RULES) if each.level != OK]
    assert (found.level, found.name, found.about) == (FAIL, "snapshot", "item_stats")
    assert f"run `endcap build-features` --date {DAY}" in found.text
    assert f"{STAMPS[-2]:%Y-%m-%d}" in found.text


def answers(settings, day, n, *, degraded=0, ms=5.0, shift=0.0, slots=3, forced=False, bought=1):
    """Log so many answers of a day, the first of them degraded."""
    rng = np.random.default_rng(day.toordinal())
    begin = CALENDAR.day_start(day) + timedelta(hours=9)
    log = ExposureLog(settings.exposure_log)
    for number in range(n):
        shown = tuple(
            Slot(
                f"i{rng.integers(40)}",
                "",
                float(rng.normal() + shift),
                rank,
                (),
                "",
                bought_before=rank <= bought,
            )
            for rank in range(1, slots + 1)
        )
        why = ("the store is slow: as of the last read",) if number < degraded else ()
        found = Recommendation(f"u{number}", "all", f"r:{day.day}", shown, why)
        exposure = Exposure(
            f"{day}-{number}-{forced}", found, 3, microseconds(begin) + number, ms + number / n
        )
        log.append([replace(exposure, assigned=replace(exposure.assigned, forced=forced))])
    log.close()


def served(settings, day=DAY):
    """Levels of the alerts about a day's answers, by name."""
    return {each.name: each.level for each in served_alerts(served_days(settings), day, RULES)}


def test_good_answers_are_in_order_and_counted_as_they_are(settings):
    """Figures are those of the log by local day; a tester's answers do not count."""
    for n in range(20):
        answers(settings, DAY - timedelta(days=n), 50)
    answers(settings, DAY, 30, slots=0, forced=True)
    days = served_days(settings)
    assert len(days) == 20
    values = days[DAY].values
    assert (values["answers"], values["shoppers"], values["degraded"], values["unfull"]) == (50, 50, 0, 0)
    assert values["repeats"] == pytest.approx(1 / 3)
    assert values["p99_ms"] == pytest.approx(np.quantile(5 + np.arange(50) / 50, 0.99))
    assert days[DAY].releases == (f"r:{DAY.day}",)
    said = {each.name: each.text for each in served_alerts(days, DAY, RULES)}
    assert said["releases"] == f"answered by r:{DAY.day}"
    assert said["repeats"].startswith("33.3% of what was shown")
    assert set(served(settings).values()) == {OK}


@pytest.mark.parametrize(
    ("options", "name", "level"),
    [
        ({"degraded": 5}, "degraded", WARN),
        ({"degraded": 30}, "degraded", FAIL),
        ({"slots": 2}, "unfull", WARN),
        ({"ms": 140.0}, "p99_ms", WARN),
        ({"shift": 3.0}, "scores", FAIL),
        ({"n": 5}, "answers", WARN),
        ({"bought": 0}, "repeats", WARN),
        ({"bought": 2}, "repeats", WARN),
    ],
)
def test_poor_answers_are_told(settings, options, name, level):
    """By the rule that they break."""
    for n in range(1, 21):
        answers(settings, DAY - timedelta(days=n), 50)
    answers(settings, DAY, **{"n": 50, **options})
    assert served(settings)[name] == level


def test_days_without_answers(settings):
    """Nothing was ever served: nothing to tell. Nothing on this day: worth a look."""
    assert served(settings) == {}
    answers(settings, DAY - timedelta(days=1), 5)
    assert served(settings) == {"answers": WARN}


@pytest.fixture
def whole(settings):
    """An installation with rows, features, answers and an audit."""
    monitored_shop.write(settings, monitored_shop.lines())
    write_features(settings)
    answers(settings, DAY, 20)
    settings.day(DAY).mkdir(parents=True)
    told = {"metric": "mismatches", "feature": "user_stats:user_spend_7d", "value": 0, "n": 12}
    (settings.day(DAY) / "parity.json").write_text(json.dumps([told]))
    return settings


def verb(monkeypatch, settings, *words):
    """What the verb prints, and its exit code."""
    monkeypatch.setenv("ENDCAP_STATE", str(settings.state))
    monkeypatch.setenv("ENDCAP_REPORTS", str(settings.reports))
    found = CliRunner().invoke(endcap, ["monitor", "--date", str(DAY), *words])
    return found.output, found.exit_code


def test_a_day_in_order(whole, monkeypatch):
    """Exit code 0, a page that needs nothing from elsewhere, a line for a person, and JSON for a pager."""
    output, code = verb(monkeypatch, whole)
    assert code == 0
    assert "in order on 2024-03-06" in output
    text = (whole.reports / "monitor.html").read_text()
    page = Page(text)
    assert not [value for _, tags in page.tags for name, value in tags.items() if name in ("src", "href")
                and not str(value).startswith("#")]  # fmt: skip
    for head in ("The day's rows", "Features", "What was served", "Served and trained on", "12 values"):
        assert head in page.text
    told = json.loads((whole.day(DAY) / "alerts.json").read_text())
    assert (told["level"], told["alerts"]) in [("ok", []), ("warn", told["alerts"])]
    records = json.loads((whole.reports / "monitor.json").read_text())
    assert {each["section"] for each in records} == {"data", "features", "served", "parity"}


def test_a_broken_day_has_an_exit_code_and_says_what(whole, monkeypatch):
    """Values that differ from training, and rows that are gone: both stand first, on all three."""
    wrong = {"metric": "mismatches", "feature": "user_stats:user_spend_7d", "value": 2, "n": 12}
    (whole.day(DAY) / "parity.json").write_text(json.dumps([wrong]))
    found = monitored_shop.lines()
    monitored_shop.write(whole, found[~monitored_shop.of_day(found)])
    output, code = verb(monkeypatch, whole)
    assert code == 4
    first, second, *_ = output.splitlines()
    assert first.startswith("fail data      rows: no rows of that day")
    assert "user_stats:user_spend_7d: 2 of 12 values differ" in second
    assert "Broken" in Page((whole.reports / "monitor.html").read_text()).text
    told = json.loads((whole.day(DAY) / "alerts.json").read_text())
    assert [each["name"] for each in told["alerts"]][:2] == ["rows", "user_stats:user_spend_7d"]


def test_looking_back_tells_each_day_that_was_not_in_order(whole, monkeypatch):
    """A count of days by level, and the rows that were odd; nothing is written."""
    output, code = verb(monkeypatch, whole, "--days", "20")
    assert code == 0
    assert output.splitlines()[-1].startswith("20 days: ")
    assert not whole.reports.exists()


def test_equal_days_give_equal_pages(whole):
    """Byte for byte: nothing of when or where it was made."""
    first = run(whole, DAY).page.read_bytes()
    assert run(whole, DAY).page.read_bytes() == first
