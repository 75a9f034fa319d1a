"""Days whose rows were corrected at the source after they were taken in.

In: the source, and the fingerprints that `jobs.ingest_day` has left. Out: days to be taken in again. Only the
LATE_DAYS before a day are looked at: what is corrected later is found by `endcap backfill` alone.
"""

from datetime import date, timedelta

import duckdb

from feature_repo.settings import Settings
from jobs.days.steps import day_of
from jobs.ingest_day import DayFile, fingerprints, span_of
from jobs.sources import Span, open_source
from jobs.steps import Choices

LATE_DAYS = 3


def changed_days(settings: Settings, choices: Choices) -> list[date]:
    """Days, the earliest first, among the LATE_DAYS before the chosen one."""
    days = [day_of(choices) - timedelta(days=n) for n in range(LATE_DAYS, 0, -1)]
    known = {day: file.fingerprint for day in days if (file := DayFile.read(settings, day))}
    if not known:
        return []
    source = open_source(choices.source, choices.scale)
    spans = {day: span_of(source, day) for day in known}
    whole = Span(min(span.begin for span in spans.values()), max(span.end for span in spans.values()))
    with duckdb.connect(config={"threads": settings.threads}) as con:
        con.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        now = fingerprints(con, source.relations(con, whole)["transactions"], spans)
    return [day for day in days if day in known and now[day] != known[day]]
