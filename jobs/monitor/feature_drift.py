"""How far features moved: as of a day's end against a week before, and against what rankers learnt from.

In: the feature tables. Out: an alert for each feature and reference, ok ones too. Lists are compared by
numbers that sum them up: how long a history is, how many purchases it counts, the largest department's share.

    for alert in drift_alerts(settings, date(2017, 12, 4), MonitorRules()): print(alert.line)
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs.monitor.alerts import FAIL, OK, WARN, Alert
from jobs.monitor.rules import MonitorRules
from training.day import day_split
from training.drift import Drift, drifts

SECTION = "features"
WEEK, TRAINING = "against a week before", "against training"
SUMMARIES = {
    "user_stats": {"largest_department_share": "list_max(user_department_shares_91d)"},
    "user_history": {
        "history_items": "len(history_items)",
        "history_purchases": "list_sum(history_counts)",
        "history_decayed": "list_sum(history_decayed)",
    },
}
KEYS = {"user_stats": "user_id", "user_history": "user_id", "item_stats": "item_id"}
GROWING = ("user_tenure_days", "item_age_days")  # by a day a day: who stays is compared without that
DAY_S = 86_400.0
NUMBERS = ("DOUBLE", "FLOAT", "BIGINT", "INTEGER")


@dataclass(frozen=True)
class Snapshots:
    """Feature tables of one installation as of instants."""

    settings: Settings
    con: Any

    def parts(self, view: str) -> str:
        """All parts of a feature table."""
        return str(self.settings.feature_table(view) / "*.parquet")

    @cached_property
    def columns(self) -> Mapping[str, Mapping[str, str]]:
        """SQL of each number by view and feature."""
        found = {}
        for view in KEYS:
            told = self.con.execute("DESCRIBE SELECT * FROM read_parquet($1)", [self.parts(view)]).fetchall()
            plain = {name: f'"{name}"' for name, kind, *_ in told if kind in NUMBERS}
            found[view] = {**plain, **SUMMARIES.get(view, {})}
        return found

    def stamp(self, view: str, instant: datetime) -> datetime | None:
        """Event time of the newest snapshot as of an instant."""
        query = "SELECT max(event_timestamp) FROM read_parquet($1) WHERE event_timestamp <= $2"
        (found,) = self.con.execute(query, [self.parts(view), instant]).fetchone()
        return found if isinstance(found, datetime) else None

    def numbers(self, view: str, instant: datetime) -> dict[str, np.ndarray]:
        """Columns of the newest row of every entity, (n,) each, nan where missing.

        Of statistics those of the newest snapshot: who is in no more of them is not known any more.
        """
        names = ", ".join(f'{sql}::DOUBLE AS "{name}"' for name, sql in self.columns[view].items())
        last = f"QUALIFY row_number() OVER (PARTITION BY {KEYS[view]} ORDER BY event_timestamp DESC) = 1"
        at = "event_timestamp <= $2" if view == "user_history" else "event_timestamp = $2"
        when = instant if view == "user_history" else self.stamp(view, instant)
        query = f"SELECT {names} FROM read_parquet($1) WHERE {at} {last if view == 'user_history' else ''}"
        found = self.con.execute(query, [self.parts(view), when]).fetchnumpy()
        return {name: np.ma.filled(values.astype(np.float64), np.nan) for name, values in found.items()}


@dataclass(frozen=True)
class Pair:
    """A feature table beside a reference: numbers by feature, (n_before,) and (n_now,), nan where missing."""

    view: str
    reference: str
    before: Mapping[str, np.ndarray]
    now: Mapping[str, np.ndarray]


def drift_alerts(settings: Settings, day: date, rules: MonitorRules) -> list[Alert]:
    """Every feature against both references; an alert of its own for a table without that day."""
    made: list[Alert] = []
    for each in pairs(settings, day):
        if isinstance(each, Alert):
            made.append(each)
        else:
            made += told(drifts(each.before, each.now), each.view, each.reference, rules)
    return made


def pairs(settings: Settings, day: date, views: Collection[str] = tuple(KEYS)) -> Iterator[Pair | Alert]:
    """What is compared, a pair for each table and reference; an alert for a table without that day."""
    import duckdb

    calendar = ShopCalendar.load(settings.shop_calendar)
    known, split = calendar.day_end(day), day_split(calendar, day)
    references = {WEEK: calendar.day_end(day - timedelta(days=7)), TRAINING: calendar.end(split.cut)}
    with duckdb.connect(config={"threads": str(settings.threads)}) as con:
        con.execute("SET TimeZone = 'UTC'")
        snapshots = Snapshots(settings, con)
        for view in views:
            stamp = snapshots.stamp(view, known)
            if stamp is None or (view != "user_history" and stamp != known):
                yield absent(view, known, stamp, day)
                continue
            now = snapshots.numbers(view, known)
            for reference, instant in references.items():
                before = snapshots.stamp(view, instant)
                if before is not None:
                    days = (stamp - before).total_seconds() / DAY_S
                    mine = {
                        name: values - days if name in GROWING else values for name, values in now.items()
                    }
                    yield Pair(view, reference, snapshots.numbers(view, instant), mine)


def absent(view: str, known: datetime, stamp: datetime | None, day: date) -> Alert:
    """A table whose newest rows are not those of the day."""
    newest = f"{stamp:%Y-%m-%dT%H:%MZ}" if stamp else "none"
    said = f"no rows as of {known:%Y-%m-%dT%H:%MZ} (newest: {newest}); run `endcap build-features`"
    return Alert(SECTION, "snapshot", FAIL, f"{said} --date {day}", {}, view)


def samples(
    settings: Settings, day: date, alerts: Sequence[Alert]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Values before and now of the features that some alerts are about, by name and reference."""
    wanted = {(alert.name, alert.about) for alert in alerts}
    found = {}
    for each in pairs(settings, day, {name.partition(":")[0] for name, _ in wanted} & KEYS.keys()):
        if isinstance(each, Pair):
            for name in each.before:
                if (f"{each.view}:{name}", each.reference) in wanted:
                    found[f"{each.view}:{name} {each.reference}"] = each.before[name], each.now[name]
    return found


def told(found: list[Drift], view: str, reference: str, rules: MonitorRules) -> Iterator[Alert]:
    """An alert for each feature: since training what moves slowly may move far."""
    for each in found:
        figures = {
            "psi": each.psi,
            "ks": each.ks,
            "null_before": each.null_before,
            "null_after": each.null_after,
        }
        lost = each.null_jump > rules.null_jump
        broken = lost or (reference == WEEK and each.psi > rules.extreme_psi)
        level = FAIL if broken else WARN if each.psi > rules.psi else OK
        said = f"PSI {each.psi:.2f}, KS {each.ks:.2f} {reference}"
        if each.null_jump > 0:
            said += f"; missing {each.null_before:.1%} before, {each.null_after:.1%} now"
        yield Alert(SECTION, f"{view}:{each.feature}", level, said, figures, reference)
