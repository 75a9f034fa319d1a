"""Training-serving skew: features as answers read them on a day, against the tables of those very entities.

In: the log of features, the feature tables as of the day's start. Out: an alert for each number, ok ones too.
Purchases of the day move single rows, as they should; what moves a whole distribution, or empties it, is a
fault of the way from the tables to the answers. (Breck et al. 2019, "Data Validation for Machine Learning",
call the comparison feature skew and distribution skew; single bits are `endcap audit-parity`'s.)
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np

from bentos.online_features import ITEM_VIEW
from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.stores.packed.instants import microseconds
from jobs.monitor.alerts import FAIL, OK, WARN, Alert
from jobs.monitor.feature_drift import GROWING, KEYS, SECTION, Snapshots
from jobs.monitor.rules import MonitorRules
from jobs.parity.served import NoReadsError, Served, served
from training.drift import Drift, drifts

AS_SERVED = "as served"
VIEWS = ("user_stats", ITEM_VIEW)
LEAST = 200  # entities: two samples of so many differ by a PSI of about .09 by chance
Columns = Mapping[str, np.ndarray]


def skew_alerts(settings: Settings, day: date, rules: MonitorRules) -> list[Alert]:
    """Every number of statistics that answers read; none where too few answers were logged to tell."""
    import duckdb

    calendar = ShopCalendar.load(settings.shop_calendar)
    begin, end = (microseconds(at) - 1 for at in (calendar.day_start(day), calendar.day_end(day)))
    try:
        answers = served(settings.feature_log, since_us=begin, until_us=end)
    except NoReadsError:
        return []
    made: list[Alert] = []
    with duckdb.connect(config={"threads": str(settings.threads)}) as con:
        con.execute("SET TimeZone = 'UTC'")
        snapshots = Snapshots(settings, con)
        for view in VIEWS:
            read = read_of(answers, view)
            if len(read) >= LEAST and snapshots.stamp(view, calendar.day_start(day)):
                ids = sorted(read)
                known = table_of(snapshots, view, calendar.day_start(day), ids)
                found = {name: np.array([read[each].get(name, np.nan) for each in ids]) for name in known}
                moved = drifts(rounded(known), rounded(found))  # the ranker gets items' numbers so
                made += [told(each, view, len(ids), rules) for each in moved]
    return made


def read_of(answers: list[Served], view: str) -> dict[str, Mapping[str, Any]]:
    """What was read of each entity last, by feature; a row that was not there has no feature."""
    if view != ITEM_VIEW:
        return {
            each.user_id: numbers(row.values) if (row := each.users[view]) else {}
            for each in answers
            if view in each.users
        }
    found: dict[str, Mapping[str, Any]] = {}
    for each in answers:
        for part in each.items:
            rows = (dict(zip(part.names, row, strict=True)) for row in part.values.tolist())
            found |= dict(zip(part.ids, rows, strict=True))
    return found


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Those of some values that are numbers, nan for a missing one."""
    return {
        name: np.nan if value is None else float(value)
        for name, value in values.items()
        if value is None or isinstance(value, int | float)
    }


def table_of(snapshots: Snapshots, view: str, instant: Any, ids: list[str]) -> dict[str, np.ndarray]:
    """Plain numbers of the same entities in the newest snapshot, (n_ids,) each, nan where they have none.

    Without those that grow by a day a day: how late rows were is the audit's to say.
    """
    plain = [name for name, sql in snapshots.columns[view].items() if sql == f'"{name}"']
    names = [name for name in plain if name not in GROWING]
    columns = ", ".join(f'"{name}"::DOUBLE AS "{name}"' for name in names)
    query = (
        f"SELECT {columns}"
        " FROM (SELECT unnest($3::VARCHAR[]) AS id, unnest(range(len($3))) AS place) AS asked"
        f" LEFT JOIN (SELECT * FROM read_parquet($1) WHERE event_timestamp = $2) AS rows"
        f" ON rows.{KEYS[view]} = asked.id ORDER BY place"
    )
    found = snapshots.con.execute(query, [snapshots.parts(view), snapshots.stamp(view, instant), ids])
    return {name: np.ma.filled(values.astype(float), np.nan) for name, values in found.fetchnumpy().items()}


def rounded(columns: Columns) -> Columns:
    """The same as float32: else equal values would fall into two bins."""
    return {name: values.astype(np.float32) for name, values in columns.items()}


def told(each: Drift, view: str, n: int, rules: MonitorRules) -> Alert:
    """How one feature as served differs from the table's."""
    figures = {"psi": each.psi, "ks": each.ks, "null_before": each.null_before, "null_after": each.null_after}
    broken = each.null_jump > rules.null_jump or each.psi > rules.extreme_psi
    level = FAIL if broken else WARN if each.psi > rules.psi else OK
    said = f"PSI {each.psi:.2f} of {n:,} entities as served against the tables"
    if each.null_jump > 0:
        said += f"; missing {each.null_before:.1%} there, {each.null_after:.1%} served"
    return Alert(SECTION, f"{view}:{each.feature}", level, said, figures, AS_SERVED)
