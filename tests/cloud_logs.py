"""Logs of a shop on Google Cloud: parts of its tables, and what of them is in BigQuery."""

from collections import Counter

from logged_shop import expected as logged
from logged_shop import log_answers, log_events

from feature_repo.bigquery.client import connected
from feature_repo.settings import Settings
from jobs.experiments import logs
from jobs.experiments.log_rows import TABLES


def embedded(settings):
    """The same installation away from Google Cloud."""
    return Settings(settings.state, settings.reports)


def keep(settings, rows, first=1):
    """Write rows of each table as a part behind row `first` of the log."""
    for name, of_table in rows.items():
        schema, folder = TABLES[name], logs.logs_folder(settings) / name
        tuples = [tuple(row.get(column) for column in schema.names) for row in of_table]
        logs.write_part(folder, schema, tuples, first, first + 999)


def halves(rows, half):
    """The first or the second half of each table."""
    return {name: each[half * len(each) // 2 : (half + 1) * len(each) // 2] for name, each in rows.items()}


def there(settings, name):
    """Rows of a table in BigQuery, however often."""
    rows = connected(settings).list_rows(f"{settings.dataset}.{name}")
    return Counter(str(list(row.values())) for row in rows)


def expected(name, rows):
    """The same of rows that were logged."""
    return Counter(str([row.get(column) for column in TABLES[name].names]) for row in rows)


def log(settings, first, n):
    """So many answers and events more."""
    log_answers(settings, first, n)
    log_events(settings, first, n)


def assert_all_there(settings):
    """Each row of the logs is in BigQuery, once."""
    rows = logged(settings)
    assert {name: there(settings, name) for name in TABLES} == {
        name: expected(name, rows[name]) for name in TABLES
    }
