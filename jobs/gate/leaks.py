"""Leakage and drift: feature tables against a recount of raw lines, and against what they were in training.

In: a `Subject`. Out: checks. Rows are asked for as training asks for them, at the instants that training and
the gate's window used; each is counted again as of the stamp that it claims.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from feature_repo.transforms import HISTORY_WIDTH
from jobs.gate.subject import Subject
from training.drift import drifts
from training.gate import Check, not_made
from training.gate_served import equal_rows, steady, told
from training.recount import differences, history_differences
from training.split import CATALOGUE_WEEKS, temporal_split

OLDEST = timedelta(days=7, hours=1)  # between two snapshots; a week in which clocks go back has an hour more
MEANING = "rows know their future, or miss their past"


def instants(subject: Subject) -> list[datetime]:
    """The day's end, the start of the gate's window, and the instants at which rankers learnt."""
    cut = subject.challenger.manifest.get("cut")
    learnt = temporal_split(subject.calendar, int(cut)).instants if cut else ()
    return sorted({subject.known, subject.window_start, *learnt})


def leakage(subject: Subject) -> Check:
    """Whether sampled rows know exactly their past, and nothing was learnt of the gate's window."""
    learnt = subject.learnt_until
    if learnt is not None and learnt > subject.window_start:
        window = told(subject.window_start)
        why = f"it has learnt until {told(learnt)}, and is measured on what came after {window}"
        return Check("leakage", passed=False, reason=why, figures={"learnt_until": learnt.isoformat()})
    users, n_users = wrong_users(subject)
    items, n_items = wrong_items(subject)
    if not n_users or not n_items:
        why = f"no feature table has rows of {told(subject.known)}; run `endcap build-features`"
        return not_made("leakage", why, allowed=False)
    return equal_rows("leakage", users + items, n_users + n_items, MEANING)


def stamps(subject: Subject, view: str) -> dict[datetime, datetime]:
    """The stamp of the snapshot that holds at each instant, where there is one."""
    found = {instant: subject.newest(view, instant) for instant in instants(subject)}
    return {at: stamp for at, stamp in found.items() if stamp is not None and at - stamp <= OLDEST}


def drawn(subject: Subject, key: str, times: Mapping[datetime, datetime]) -> tuple[list[str], list[datetime]]:
    """Ids that were known at each of some instants, as many of each instant, and the instants."""
    each = -(-subject.rules.leak_rows // len(times))
    ids: list[str] = []
    when: list[datetime] = []
    for instant, stamp in times.items():
        since = stamp - timedelta(weeks=CATALOGUE_WEEKS - 1) if key == "item_id" else None
        known = subject.recount.known_ids(key, stamp, since)
        mine = subject.sample(known, each, f"{key} {instant}")
        ids, when = [*ids, *mine], [*when, *[instant] * len(mine)]
    return ids, when


def rows_of(
    subject: Subject, key: str, ids: Sequence[str], when: Sequence[datetime]
) -> list[dict[str, object]]:
    """Feature rows as training retrieves them."""
    import pandas as pd

    from training.point_in_time import historical_features, pair_frame

    service = "user_ranking" if key == "user_id" else "item_ranking"
    table = historical_features(subject.store, pair_frame(key, ids, pd.Series(when)), service)
    rows: list[dict[str, object]] = table.to_pylist()
    return rows


def wrong_users(subject: Subject) -> tuple[Counter[str], int]:
    """How often a feature of sampled users is not what was recounted, of how many rows."""
    times = stamps(subject, "user_stats")
    if not times:
        return Counter(), 0
    ids, when = drawn(subject, "user_id", times)
    stats = subject.recount.users(ids, [times[instant] for instant in when])
    histories = subject.recount.histories(ids, when)
    wrong: Counter[str] = Counter()
    for row, expected, history in zip(rows_of(subject, "user_id", ids, when), stats, histories, strict=True):
        wrong.update(differences(row, expected))
        if len(history) <= HISTORY_WIDTH:  # of more, a row keeps the best alone
            wrong.update(history_differences(row, history))
    return wrong, len(ids)


def wrong_items(subject: Subject) -> tuple[Counter[str], int]:
    """How often a feature of sampled items is not what was recounted, of how many rows."""
    times = stamps(subject, "item_stats")
    if not times:
        return Counter(), 0
    ids, when = drawn(subject, "item_id", times)
    expected = subject.recount.items(ids, [times[instant] for instant in when])
    wrong: Counter[str] = Counter()
    for row, wanted in zip(rows_of(subject, "item_id", ids, when), expected, strict=True):
        wrong.update(differences(row, wanted))
    return wrong, len(ids)


def numbers(subject: Subject, view: str, stamp: datetime, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of one snapshot of a view, (n_rows,) each, nan where missing."""
    columns = ", ".join(f'"{name}"::DOUBLE AS "{name}"' for name in names)
    query = f"SELECT {columns} FROM read_parquet($1) WHERE event_timestamp = $2"
    found = subject.recount.connection.execute(query, [subject.parts(view), stamp]).fetchnumpy()
    return {name: np.ma.filled(values.astype(np.float64), np.nan) for name, values in found.items()}


def drift(subject: Subject) -> Check:
    """How far the release's features have moved since the rankers last learnt."""
    cut = subject.challenger.manifest.get("cut")
    since = subject.calendar.end(int(cut)) if cut else subject.window_start
    held = subject.challenger.manifest["features"]
    found = []
    for view, names in {"user_stats": held["user"], "item_stats": held["item"]}.items():
        known = {field.name for field in subject.store.get_feature_view(view).schema}
        now, then = subject.newest(view, subject.known), subject.newest(view, since)
        if now is None or then is None or now == then or not known.issuperset(names):
            continue
        found += drifts(numbers(subject, view, then, names), numbers(subject, view, now, names))
    return steady(sorted(found, key=lambda each: -each.psi), since, subject.rules)
