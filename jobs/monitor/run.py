"""Is a day in order? Its rows, its features, what was served, and whether that was what training reads.

In: tables, feature tables, the service's logs; logged features are audited. Out: lines for the terminal,
reports/monitor.html and monitor.json, and state/days/D/alerts.json for a pager.

    endcap monitor --date 2017-12-04
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.settings import Settings
from jobs.monitor.alerts import FAIL, OK, WARN, Alert, pager
from jobs.monitor.bounds import WEEKS, trailing
from jobs.monitor.data_quality import data_alerts, looked_back
from jobs.monitor.day_figures import DayFigures, day_figures
from jobs.monitor.feature_drift import TRAINING, WEEK, drift_alerts, samples
from jobs.monitor.page import page
from jobs.monitor.plots import drift_dots, histograms, hour_bars, trailing_lines
from jobs.monitor.rules import MonitorRules, load_monitor_rules
from jobs.monitor.served import ServedDay, served_alerts, served_days
from jobs.monitor.skew import skew_alerts
from jobs.monitor.taken_in import taken_in_alerts

WORST = 3  # features that moved, shown by their values
SHOWN = 2 * WEEKS  # weeks of figures: those that a plot shows, and those that their bounds are made of


@dataclass(frozen=True)
class Monitored:
    """A day's alerts, ok ones too, and where its page lies."""

    day: date
    alerts: tuple[Alert, ...]
    page: Path

    def lines(self) -> Iterator[str]:
        """What is not in order, and how much is."""
        odd = [each for each in self.alerts if each.level != OK]
        yield from (each.line for each in sorted(odd, key=lambda each: each.level != FAIL))
        yield f"{len(self.alerts) - len(odd)} of {len(self.alerts)} in order on {self.day}"
        yield str(self.page)


def run(settings: Settings, day: date) -> Monitored:
    """Look at a day and write what was found; MonitorRulesError for rules that cannot be used."""
    rules = load_monitor_rules(rules_file(settings))
    figures = day_figures(settings, day - timedelta(weeks=SHOWN), day)
    served = served_days(settings)
    alerts = (
        *data_alerts(figures, day, rules),
        *taken_in_alerts(settings, day, rules),
        *drift_alerts(settings, day, rules),
        *skew_alerts(settings, day, rules),
        *served_alerts(served, day, rules),
        *parity_alerts(settings, day),
    )
    path = settings.reports / "monitor.html"
    plots = drawn(figures, served, day, alerts, rules)
    if moved := moved_most(alerts):
        plots["features"].append(histograms(samples(settings, day, moved)))
    write(path, page(day, alerts, plots))
    write(path.with_suffix(".json"), json.dumps(list(records(day, alerts)), indent=1))
    write(settings.day(day) / "alerts.json", json.dumps(pager(day, alerts), indent=1))
    return Monitored(day, alerts, path)


def back(settings: Settings, last: date, days: int) -> dict[date, list[Alert]]:
    """Alerts about the rows of each of some days, as they would have been told then."""
    rules = load_monitor_rules(rules_file(settings))
    figures = day_figures(settings, last - timedelta(days=days, weeks=WEEKS), last)
    return looked_back(figures, last, days, rules)


def rules_file(settings: Settings) -> Path:
    """An operator's thresholds."""
    return settings.state / "monitor.yaml"


def parity_alerts(settings: Settings, day: date) -> Iterator[Alert]:
    """What the day's audit finds, made now if answers were logged: one for each feature that differs."""
    from jobs.parity import run as parity
    from jobs.parity.served import NoReadsError

    path = settings.day(day) / "parity.json"
    if settings.feature_log.is_file():
        try:
            parity.run(settings, day)
        except NoReadsError as error:
            yield Alert("parity", "features", WARN, str(error))
            return
    if path.is_file():
        yield from told_of(json.loads(path.read_text()))


def told_of(records: list[dict[str, Any]]) -> Iterator[Alert]:
    """Alerts of an audit's records."""
    found = [each for each in records if each["metric"] == "mismatches"]
    n = sum(each["n"] for each in found)
    wrong = [each for each in found if each["value"]]
    for each in wrong:
        said = f"{each['value']:,} of {each['n']:,} values differ; run `endcap audit-parity`"
        yield Alert("parity", each["feature"], FAIL, said, {"value": float(each["value"])})
    if not wrong:
        said = f"{n:,} values of {len(found)} features, all equal"
        yield Alert("parity", "features", OK, said, {"n": float(n)})


def drawn(
    figures: Mapping[date, DayFigures],
    served: Mapping[date, ServedDay],
    day: date,
    alerts: tuple[Alert, ...],
    rules: MonitorRules,
) -> dict[str, list[Any]]:
    """The plots of each section."""
    levels: dict[str, dict[str, str]] = defaultdict(dict)  # a name may stand in two sections
    for alert in alerts:
        levels[alert.section][alert.name] = alert.level
    names = next(iter(figures.values())).values if figures else {}
    rows = {name: {each: found.values[name] for each, found in figures.items()} for name in names}
    plots = {"data": [trailing_lines(rows, day, levels["data"], rules.odd)]}
    if day in figures:
        before = trailing(dict.fromkeys(figures, 0.0), day)
        usual = np.sum([figures[each].hours for each in before], axis=0) if before else np.zeros(24)
        plots["data"].append(hour_bars(usual.tolist(), figures[day].hours))
    moved = [each for each in alerts if each.section == "features"]
    if any("psi" in each.figures for each in moved):
        plots["features"] = [drift_dots(moved, rules.psi)]
    if day in served:
        shown = {
            name: {each: of.values[name] for each, of in served.items()} for name in ("answers", "p99_ms")
        }
        plots["served"] = [trailing_lines(shown, day, levels["served"], rules.odd)]
    return plots


def moved_most(alerts: Sequence[Alert]) -> list[Alert]:
    """Up to three features that moved too far since a reference, each once, by its largest PSI."""
    moved: dict[str, Alert] = {}
    for alert in alerts:
        if alert.level != OK and alert.about in (WEEK, TRAINING) and alert.figures["psi"] > 0:
            before = moved.get(alert.name)
            if before is None or alert.figures["psi"] > before.figures["psi"]:
                moved[alert.name] = alert
    return sorted(moved.values(), key=lambda alert: -alert.figures["psi"])[:WORST]


def records(day: date, alerts: tuple[Alert, ...]) -> Iterator[dict[str, Any]]:
    """A row for each number behind an alert."""
    for alert in alerts:
        tags = {"report": "monitor", "day": day.isoformat(), "section": alert.section, "level": alert.level}
        for name, value in alert.figures.items():
            told = float(value) if np.isfinite(value) else None
            yield {**tags, "metric": alert.name, "about": alert.about, "figure": name, "value": told}


def write(path: Path, text: str) -> None:
    """Write a file aside, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.aside")
    aside.write_text(text)
    aside.replace(path)
