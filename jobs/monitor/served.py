"""What was served on a day: answers, how they were, their scores and their variety, against the days before.

In: the service's log of exposures (`endcap export-logs` makes its tables first). Out: alerts, ok ones too;
figures by local day for the page. Answers to testers, whose arm was forced, do not count.

    for alert in served_alerts(served_days(settings), date(2017, 12, 4), MonitorRules()): print(alert.line)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from math import exp, log
from typing import Any

import numpy as np

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs.monitor.alerts import OK, WARN, Alert, level_of
from jobs.monitor.bounds import bound_of, trailing
from jobs.monitor.rules import MonitorRules
from training.drift import psi

SECTION = "served"
FIGURES = {
    "answers": "count(*)",
    "shoppers": "count(DISTINCT user_id)",
    "degraded": "avg(degraded::INT)",
    "unfull": "avg((n_items < k)::INT)",
    "median_ms": "quantile_cont(latency_ms, 0.5)",
    "p99_ms": "quantile_cont(latency_ms, 0.99)",
    "releases": "count(DISTINCT release)",
}
SCORES = 50_000  # of a span of days, drawn: what a distribution needs

_SLOTS = "CREATE TEMP TABLE slots AS SELECT request_id, item_id, score, bought_before FROM read_parquet($1)"
_ANSWERS = """
CREATE TEMP TABLE days AS
SELECT timezone($1, shown_at)::DATE AS day, request_id, any_value(user_id) AS user_id, any_value(k) AS k,
  any_value(release) AS release, any_value(latency_ms) AS latency_ms, any_value(degraded) AS degraded,
  coalesce(any_value(n), 0) AS n_items
FROM read_parquet($2) LEFT JOIN (SELECT request_id, count(*) AS n FROM slots GROUP BY request_id)
  USING (request_id)
WHERE NOT forced GROUP BY day, request_id
"""
_SHOWN = """
SELECT day, count(DISTINCT item_id) AS items, avg(bought_before::INT) AS repeats
FROM days JOIN slots USING (request_id) GROUP BY day
"""
_RELEASES = "SELECT day, list(DISTINCT release ORDER BY release) FROM days GROUP BY day"


@dataclass(frozen=True)
class ServedDay:
    """One local day: figures by name, releases that answered, a sample of the scores of what was shown."""

    values: Mapping[str, float]
    releases: tuple[str, ...]
    scores: np.ndarray  # (n,) log odds


def served_days(settings: Settings) -> dict[date, ServedDay]:
    """Days with answers, in order; none where nothing was logged."""
    from jobs.experiments import logs

    if not settings.exposure_log.is_file():
        return {}
    logs.run(settings)
    folder = logs.logs_folder(settings)
    if not any((folder / "exposures").glob("part-*.parquet")):
        return {}
    return _read(settings, str(folder / "exposures" / "*.parquet"), str(folder / "slots" / "*.parquet"))


def _read(settings: Settings, exposures: str, slots: str) -> dict[date, ServedDay]:
    import duckdb

    calendar = ShopCalendar.load(settings.shop_calendar)
    with duckdb.connect(config={"threads": str(settings.threads)}) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(_SLOTS, [slots])
        con.execute(_ANSWERS, [calendar.timezone, exposures])
        shares = ", ".join(f"{sql} AS {name}" for name, sql in FIGURES.items())
        values = _by_day(con, f"SELECT day, {shares} FROM days GROUP BY day ORDER BY day")
        shown = _by_day(con, _SHOWN)
        releases = dict(con.execute(_RELEASES).fetchall())
        return {
            day: ServedDay({**values[day], **shown.get(day, {})}, tuple(releases[day]), _scores(con, day))
            for day in values
        }


def _scores(con: Any, day: date) -> np.ndarray:
    found = con.execute(
        "SELECT score FROM days JOIN slots USING (request_id) WHERE day = $1 AND score IS NOT NULL"
        f" ORDER BY hash(request_id, item_id) LIMIT {SCORES}",
        [day],
    ).fetchnumpy()["score"]
    return np.ma.filled(found.astype(np.float64), np.nan)


def _by_day(con: Any, query: str) -> dict[date, dict[str, float]]:
    found = con.execute(query)
    names = [column[0] for column in found.description][1:]
    rows = found.fetchall()
    return {day: dict(zip(names, map(float, values), strict=True)) for day, *values in rows}


def served_alerts(days: Mapping[date, ServedDay], day: date, rules: MonitorRules) -> list[Alert]:
    """Every rule's outcome on a day; none where nothing was ever served."""
    if not days:
        return []
    today = days.get(day)
    if today is None:
        return [Alert(SECTION, "answers", WARN, "nothing was served on that day", {"value": 0.0})]
    values = today.values
    return [
        share(
            "degraded",
            values["degraded"],
            rules.degraded,
            rules.degraded_badly,
            "of the answers were degraded",
        ),
        share(
            "unfull", values["unfull"], rules.unfull, 1.0, "of the answers have fewer items than asked for"
        ),
        late(values["p99_ms"], values["median_ms"], rules),
        *(against(days, day, name, rules) for name in ("answers", "items")),
        repeats(days, day, rules),
        scores(days, day, rules),
        released(today),
    ]


def share(name: str, value: float, warn: float, fail: float, what: str) -> Alert:
    """A share that should be small."""
    level = level_of(value, warn, fail)
    return Alert(SECTION, name, level, f"{value:.2%} {what}", {"value": value, "high": warn})


def late(p99: float, median: float, rules: MonitorRules) -> Alert:
    """The slowest answers."""
    level = WARN if p99 > rules.late_ms else OK
    said = f"99 of 100 answers within {p99:.1f} ms, half within {median:.1f} ms"
    return Alert(SECTION, "p99_ms", level, said, {"value": p99, "high": rules.late_ms})


def against(days: Mapping[date, ServedDay], day: date, name: str, rules: MonitorRules) -> Alert:
    """A count against the same weekdays before it: odd ones are worth a look."""
    history = {
        each: log(of_day.values[name]) for each, of_day in days.items() if of_day.values.get(name, 0) > 0
    }
    value, bound = days[day].values.get(name, 0.0), bound_of(history, day, floor=0.1)
    if bound is None:
        return Alert(SECTION, name, OK, f"{value:,.0f}; too few days before it to tell", {"value": value})
    low, high = (exp(end) for end in bound.ends(rules.odd))
    level = OK if low <= value <= high else WARN
    return Alert(
        SECTION, name, level, f"{value:,.0f}, expected {low:,.0f} to {high:,.0f}",
        {"value": value, "low": low, "high": high},
    )  # fmt: skip


def scores(days: Mapping[date, ServedDay], day: date, rules: MonitorRules) -> Alert:
    """Scores of what was shown against those of the days before."""
    before = [days[each].scores for each in trailing(dict.fromkeys(days, 0.0), day)]
    if not before or not len(days[day].scores):
        return Alert(SECTION, "scores", OK, "no scores of days before it", {})
    found = psi(np.concatenate(before), days[day].scores)
    level = level_of(found, rules.psi, rules.extreme_psi)
    return Alert(SECTION, "scores", level, f"PSI of scores {found:.2f}", {"psi": found, "high": rules.psi})


def repeats(days: Mapping[date, ServedDay], day: date, rules: MonitorRules) -> Alert:
    """Share of what was shown that its shopper had bought before, against the same weekdays, up or down."""
    history = {each: of_day.values["repeats"] for each, of_day in days.items() if "repeats" in of_day.values}
    value, bound = history.get(day), bound_of(history, day, floor=0.01)
    if value is None or bound is None:
        said = "nothing was shown" if value is None else f"{value:.1%}; too few days before it to tell"
        return Alert(SECTION, "repeats", OK, said, {} if value is None else {"value": value})
    low, high = bound.ends(rules.odd)
    level = OK if low <= value <= high else WARN  # a new release may mean it
    said = f"{value:.1%} of what was shown was bought before, expected {low:.1%} to {high:.1%}"
    return Alert(SECTION, "repeats", level, said, {"value": value, "low": low, "high": high})


def released(today: ServedDay) -> Alert:
    """Which releases answered: told, never judged."""
    return Alert(
        SECTION,
        "releases",
        OK,
        f"answered by {', '.join(today.releases)}",
        {"value": float(len(today.releases))},
    )
