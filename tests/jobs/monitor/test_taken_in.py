"""What the ingest did to a day's rows: a reason that is new or rose is told, a usual one is let be."""

import json
from datetime import date, timedelta

import pytest

from feature_repo.settings import Settings
from jobs.ingest_day import DayFile
from jobs.monitor.alerts import FAIL, OK, WARN
from jobs.monitor.bounds import LEAST_DAYS
from jobs.monitor.rules import MonitorRules
from jobs.monitor.taken_in import taken_in_alerts

DAY, RULES = date(2024, 3, 6), MonitorRules()
USUAL = "left out: not a product"


@pytest.fixture
def settings(tmp_path):
    """An installation whose full ingest left out 1 % of what it read, and all rows after its last day."""
    settings = Settings(state=tmp_path / "state", reports=tmp_path / "reports")
    path = settings.state / "tables" / "ingest.json"
    (path.parent / "days").mkdir(parents=True)
    write(path, 15_000, {USUAL: 100, "left out: from 2024-03-06 05:00Z on, which is not asked for": 5_000})
    return settings


def write(path, read, rows):
    """The word that an ingest leaves: rows by action and reason."""
    rules = [
        {"action": action, "reason": reason, "rows": n}
        for name, n in rows.items()
        for action, reason in [name.split(": ", 1)]
    ]
    path.write_text(json.dumps({"tables": {"transactions": {"read": read, "rules": rules}}}))


def taken_in(settings, read, rows):
    """Levels on the day, by reason."""
    write(DayFile.path(settings, DAY), read, rows)
    return {each.about: each.level for each in taken_in_alerts(settings, DAY, RULES)}


@pytest.mark.parametrize(
    ("rows", "levels"),
    [
        ({USUAL: 12}, {USUAL: OK}),
        ({}, {USUAL: OK}),
        ({USUAL: 35}, {USUAL: WARN}),
        ({USUAL: 115}, {USUAL: FAIL}),
        ({USUAL: 10, "left out: no shopper": 500}, {USUAL: OK, "left out: no shopper": FAIL}),
        ({USUAL: 10, "changed: price raised to 0": 25}, {USUAL: OK, "changed: price raised to 0": WARN}),
        ({USUAL: 10, "kept: return or void": 900}, {USUAL: OK}),
    ],
)
def test_a_share_that_rose_is_told_by_its_reason(settings, rows, levels):
    """Of 1,000 rows, against 100 of the 10,000 that the full ingest read of its own days."""
    assert taken_in(settings, 1_000, rows) == levels


@pytest.mark.parametrize(("days", "level"), [(LEAST_DAYS - 1, FAIL), (LEAST_DAYS, OK)])
def test_days_before_count_once_they_are_enough(settings, days, level):
    """A fifth has been left out on each of them: by then it is usual, and one odd day changes nothing."""
    for n in range(1, days + 1):
        write(DayFile.path(settings, DAY - timedelta(days=n)), 1_000, {USUAL: 900 if n == 1 else 200})
    assert taken_in(settings, 1_000, {USUAL: 200}) == {USUAL: level}


def test_days_without_word_or_rows_tell_nothing_wrong(settings):
    """The full ingest's own days have no file; a day without rows has no shares."""
    assert taken_in_alerts(settings, DAY, RULES) == []
    assert taken_in(settings, 0, {}) == {USUAL: OK}


def test_rows_that_were_never_asked_for_are_no_part_of_a_share(settings):
    """The full ingest saw 15,000 rows, 5,000 of them after its last day: 100 are 1 % of the rest."""
    write(DayFile.path(settings, DAY), 1_000, {USUAL: 12})
    (alert,) = taken_in_alerts(settings, DAY, RULES)
    assert alert.figures == {"value": 0.012, "expected": 0.01}
    assert alert.text == "1.20% of the rows, 1.00% before"
