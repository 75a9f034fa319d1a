"""What the ingest of a day did to its rows: left out or changed, by reason, against the days before it.

In: the word that each day's ingest leaves (state/tables/days/D.json), and that of the full ingest. Out: an
alert for each reason, ok ones too; none for a day that the full ingest took in, which has no word of its own.

    for alert in taken_in_alerts(settings, date(2017, 12, 4), MonitorRules()): print(alert.line)
"""

import json
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.settings import Settings
from jobs.ingest_day import DayFile
from jobs.monitor.alerts import Alert, level_of
from jobs.monitor.bounds import LEAST_DAYS, WEEKS
from jobs.monitor.data_quality import SECTION
from jobs.monitor.rules import MonitorRules

TOLD = ("left out", "changed")  # what a rule of the ingest does to rows that is told here
LATER = "which is not asked for"  # ends the reason of rows after a full ingest's last day: never read, really
Shares = Mapping[str, float]


def taken_in_alerts(settings: Settings, day: date, rules: MonitorRules) -> list[Alert]:
    """Every reason's outcome: shares of the day's transactions that rose, or are new."""
    path = DayFile.path(settings, day)
    if not path.exists():
        return []
    today, usual = shares_of(path), usual_shares(settings, day)
    made = []
    for reason in sorted({*today, *usual}):
        value, before = today.get(reason, 0.0), usual.get(reason, 0.0)
        level = level_of(value - before, rules.refused_moved, rules.share_moved)
        said = f"{value:.2%} of the rows, {before:.2%} before"
        made.append(Alert(SECTION, "taken_in", level, said, {"value": value, "expected": before}, reason))
    return made


def usual_shares(settings: Settings, day: date) -> Shares:
    """Median share by reason of the WEEKS weeks before; of the full ingest where those are too few days."""
    paths = (DayFile.path(settings, day - timedelta(days=n)) for n in range(1, 7 * WEEKS + 1))
    before = [shares_of(path) for path in paths if path.exists()]
    if len(before) < LEAST_DAYS:
        return shares_of(settings.state / "tables" / "ingest.json")
    reasons = {reason for each in before for reason in each}
    return {reason: float(np.median([each.get(reason, 0.0) for each in before])) for reason in reasons}


def shares_of(path: Path) -> Shares:
    """Share of the transactions that an ingest read, by what it did to them and why; none of no rows."""
    record: dict[str, Any] = json.loads(path.read_text())["tables"]["transactions"]
    found = [rule for rule in record["rules"] if rule["action"] in TOLD]
    later = sum(rule["rows"] for rule in found if rule["reason"].endswith(LATER))
    read = record["read"] - later
    return {
        f"{rule['action']}: {rule['reason']}": rule["rows"] / read
        for rule in found
        if read and not rule["reason"].endswith(LATER)
    }
