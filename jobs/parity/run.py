"""Audit logged answers: whether the features that they read are those that training would read.

In: state/features.db, the feature tables, state/events.db. Out: reports/parity.json, lines for the terminal,
and for one day state/days/D/parity.json, which `endcap monitor` shows.

    endcap audit-parity --date 2017-12-04
    endcap audit-parity --replay engine --most 2000
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from bentos.event_log import EventLog
from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.stores.packed.instants import microseconds, time_of
from jobs.parity import items
from jobs.parity.comparison import Comparison
from jobs.parity.offline import Offline
from jobs.parity.served import FOREVER, Served, served
from jobs.parity.shoppers import Shoppers

MOST = 1_000
Record = dict[str, Any]


@dataclass(frozen=True)
class ParityReport:
    """What was compared, and what differed."""

    answers: tuple[Served, ...]
    found: Comparison

    @property
    def mismatches(self) -> int:
        """How many values differ."""
        return sum(self.found.wrong.values())

    def lines(self) -> Iterator[str]:
        """The report in words."""
        values, features = sum(self.found.compared.values()), len(self.found.compared)
        asked = [each.asked_us for each in self.answers]
        span = " to ".join(f"{time_of(us):%Y-%m-%d %H:%MZ}" for us in (min(asked), max(asked)))
        yield f"{len(self.answers):,} answers of {span}: {values:,} values of {features} features compared"
        for view, n in sorted(self.found.grown.items()):
            yield f"{view}: {n:,} rows had been moved by purchases since the job"
        for view, hours in sorted(self.found.behind_hours.items()):
            late = np.array(hours) > 0
            worst = f", by {np.max(hours):,.1f} h at most" if late.any() else ""
            yield f"{view}: training would have read a newer row in {late.mean():.1%} of the reads{worst}"
        if not self.mismatches:
            yield "no mismatch: every value is what training would read, bit for bit"
            return
        yield f"{self.mismatches:,} MISMATCHES, in {len(self.found.wrong)} features"
        for feature, n in self.found.wrong.most_common():
            yield f"{feature}: {n:,} of {self.found.compared[feature]:,}"
            yield from (f"    {each}" for each in self.found.examples[feature])

    def records(self) -> list[Record]:
        """The same as rows: metric, feature, value, n."""
        made: list[Record] = [
            {"metric": "answers", "feature": "", "value": len(self.answers), "n": len(self.answers)}
        ]
        for feature, n in sorted(self.found.compared.items()):
            wrong = self.found.wrong[feature]
            made.append({"metric": "mismatches", "feature": feature, "value": wrong, "n": n})
        for view, hours in sorted(self.found.behind_hours.items()):
            made.append(
                {"metric": "hours_behind", "feature": view, "value": float(np.mean(hours)), "n": len(hours)}
            )
        return made


def run(settings: Settings, day: date | None = None, most: int = MOST) -> ParityReport:
    """Audit the newest answers, of one local day if given; writes the report.

    Raises NoReadsError where no answer's features are logged.
    """
    since_us, until_us = -FOREVER, FOREVER
    if day is not None:
        calendar = ShopCalendar.load(settings.shop_calendar)
        since_us, until_us = (microseconds(at) - 1 for at in (calendar.day_start(day), calendar.day_end(day)))
    answers = served(settings.feature_log, since_us=since_us, until_us=until_us, most=most)
    report = ParityReport(tuple(answers), audited(settings, answers))
    write(settings.reports / "parity.json", report.records())
    if day is not None:
        write(settings.day(day) / "parity.json", report.records())
    return report


def audited(settings: Settings, answers: list[Served]) -> Comparison:
    """Compare what some answers read."""
    offline, found = Offline.of(settings), Comparison()
    with ExitStack() as stack:
        log = None  # where no event was ever logged
        if settings.event_log.is_file():
            log = stack.enter_context(closing(EventLog(settings.event_log)))
        Shoppers(offline, found, log).compare(answers)
    items.compare(offline, found, answers)
    return found


def write(path: Path, records: list[Record]) -> None:
    """Write records aside, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.aside")
    aside.write_text(json.dumps(records, indent=1))
    aside.replace(path)
