"""The tables have each row of the logs once, as it was logged."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logged_shop import empty_logs, expected, exported, log_answers, log_events

from feature_repo.settings import Settings
from jobs.experiments import logs
from jobs.experiments.log_rows import TABLES, NoLogsError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Settings over empty logs, of which seven rows at a time are exported."""
    monkeypatch.setattr(logs, "BATCH", 7)
    return empty_logs(tmp_path)


def test_tables_are_the_logs_row_by_row(settings):
    """Answers in two experiments, one or none, forced, explored, degraded; each value as it was logged."""
    log_answers(settings, 0, 60)
    log_events(settings, 0, 60)
    result = logs.run(settings)
    assert (result.rows, result.detail) == (120, "answers 60, events 60")
    found = exported(settings)
    assert found == expected(settings)
    seen = found["exposures"]
    assert len(seen) > 60 > len(found["draws"]) > 5
    assert {row["arm"] for row in seen} == {None, "a", "b", "on"}
    assert {(row["forced"], row["degraded"]) for row in seen} == {
        (a, b) for a in (True, False) for b in (True, False)
    }
    assert {row["request_id"] is None for row in found["events"]} == {True, False}


def test_times_are_utc_to_the_microsecond(settings):
    """A part says so itself, for whoever reads it."""
    log_answers(settings, 0, 3)
    log_events(settings, 0, 3)
    logs.run(settings)
    for name, column in [("exposures", "shown_at"), ("events", "happened_at")]:
        (part,) = logs.parts(settings.state / "logs" / name)
        times = pq.read_table(part)[column]
        assert times.type == pa.timestamp("us", tz="UTC")
        assert {time.microsecond % 10 for time in times.to_pylist()} != {0}


def test_each_part_has_all_columns(settings, monkeypatch):
    """Of the same types, also where nothing was drawn and an event told neither amount nor answer."""
    monkeypatch.setattr(logs, "BATCH", 1)
    log_answers(settings, 0, 9)
    log_events(settings, 0, 9)
    logs.run(settings)
    empty = set()
    for name, schema in TABLES.items():
        found = [pq.read_table(part) for part in logs.parts(settings.state / "logs" / name)]
        assert [part.schema.equals(schema) for part in found] == [True] * 9
        empty |= {name for part in found if not len(part)}
        empty |= {column for part in found for column in part.column_names if part[column].null_count}
    assert empty == {"slots", "draws", "experiment", "arm", "amount", "request_id"}


def test_the_next_call_takes_what_is_new(settings):
    """Nothing twice, nothing left out, and nothing written where nothing is new."""
    for first, n in [(0, 10), (10, 3), (13, 0), (13, 20)]:
        log_answers(settings, first, n)
        log_events(settings, first, n)
        assert logs.run(settings).rows == 2 * n
        assert exported(settings) == expected(settings)
    before = sorted(settings.state.rglob("*.parquet"))
    assert logs.run(settings).rows == 0
    assert sorted(settings.state.rglob("*.parquet")) == before


def test_nothing_logged_is_no_table(settings, tmp_path):
    """Empty logs, and none at all: no part, and who asks for a table hears what would make one."""
    for each in (settings, Settings(state=tmp_path / "new", reports=tmp_path)):
        assert logs.run(each).rows == 0
        assert list(each.state.rglob("*.parquet")) == []
        with pytest.raises(
            NoLogsError, match=r"No slots are logged in .*; serve an experiment, or `endcap replay` one"
        ):
            logs.table(each, "slots")


def test_rows_that_come_meanwhile_are_for_the_next_call(settings, monkeypatch):
    """A busy log cannot keep an export from ending."""
    log_answers(settings, 0, 10)
    write, count = logs.write_part, iter(range(10, 99))

    def busy(*arguments):
        write(*arguments)
        log_answers(settings, next(count), 1)

    monkeypatch.setattr(logs, "write_part", busy)
    assert logs.run(settings).rows == 10


def test_an_event_comes_with_its_answer(settings, monkeypatch):
    """An answer and its click that are logged in the middle of an export: never the click alone."""
    grow = logs.grow

    def between(log, *rest):
        found = grow(log, *rest)
        if not logs.parts(settings.state / "logs" / "slots"):
            log_answers(settings, 7, 1)
            log_events(settings, 7, 1)
        return found

    log_events(settings, 0, 1)
    monkeypatch.setattr(logs, "grow", between)
    logs.run(settings)
    found = exported(settings)
    assert {row["event_id"] for row in found["events"]} == {"e0"}
    assert {row["request_id"] for row in found["exposures"]} == {"r7"}


def test_a_log_begun_anew_is_told_from_the_one_before(settings):
    """Moved away, as its own error advises: rows whose numbers the tables have are not passed over."""
    log_answers(settings, 0, 20)
    log_events(settings, 0, 5)
    logs.run(settings)
    for path in settings.state.glob("exposures.db*"):
        path.unlink()
    for n in (3, 40):
        log_answers(settings, 100, n)
        with pytest.raises(
            NoLogsError, match=r"exposures\.db is not the log that .*/logs was made of; move .*/logs away"
        ):
            logs.run(settings)
    shutil.rmtree(settings.state / "logs")
    logs.run(settings)
    assert exported(settings) == expected(settings)


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ("text", "exposures.db cannot be read (file is not a database)"),
        ("DROP TABLE exposures", "exposures.db cannot be read (no such table: exposures)"),
        (
            "ALTER TABLE exposures DROP COLUMN user_id",
            "exposures.db cannot be read (no such column: user_id)",
        ),
        (
            "UPDATE exposures SET content = x'7b' WHERE seq = 2",
            "Row 2 of the log of exposures cannot be read",
        ),
    ],
)
def test_a_broken_log_is_told_in_one_line(settings, trouble, says):
    """It names the file or the row; the tables stay as they were."""
    log_answers(settings, 0, 3)
    if trouble == "text":
        for path in settings.state.glob("exposures.db*"):
            path.unlink()
        settings.exposure_log.write_text("no database " * 99)
    else:
        with closing(sqlite3.connect(settings.exposure_log)) as connection, connection:
            connection.execute(trouble)
    with pytest.raises(NoLogsError) as error:
        logs.run(settings)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert list(settings.state.rglob("*.parquet")) == []
