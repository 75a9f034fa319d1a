"""Checks that read feature tables and the online store: features, freshness, parity.

In: a `Subject`. Out: checks. What the online store says is read as requests read it, without Feast.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from bentos.ladder import FeaturesUnavailableError
from bentos.online_features import ITEM_VIEW, USER_VIEWS, OnlineFeatures
from feature_repo.settings import SettingsError
from feature_repo.stores.packed.instants import microseconds, time_of
from feature_repo.stores.packed.layout import PackedStoreError
from feature_repo.stores.packed.opened import open_rows
from feature_repo.stores.packed.reader import PackedReader
from jobs.gate.subject import SERVICES, VIEWS, Subject
from training.gate import Check, not_made
from training.gate_served import equal_rows, fresh, same_features

UNREADABLE = (PackedStoreError, FeaturesUnavailableError, SettingsError, OSError)


def online_reader(subject: Subject) -> PackedReader:
    """A reader of the online store, which is not made where it is not there."""
    return PackedReader(open_rows(subject.settings, create=False))


def features(subject: Subject) -> Check:
    """Whether the release reads what the registry has, and the online store too if it is filled."""
    from training.point_in_time import number_names

    registered = {kind: number_names(subject.store, service) for kind, service in SERVICES.items()}
    held: dict[str, list[str]] | None
    try:
        reader = online_reader(subject)
        views = {"user": USER_VIEWS, "item": (ITEM_VIEW,)}
        held = {
            kind: [name for view in names for name in reader.latest(view).names]
            for kind, names in views.items()
        }
    except UNREADABLE:
        held = None  # parity and freshness say so
    return same_features(subject.challenger.manifest["features"], registered, held)


def freshness(subject: Subject) -> Check:
    """Whether the release, the feature tables and the online store are of the day's end."""
    known = subject.known
    wanted: dict[str, datetime | None] = dict.fromkeys(VIEWS, known)
    wanted["user_history"] = subject.recount.last_purchase(known)  # it has a row for each basket
    newest = {f"table {view}": (subject.newest(view, known), when) for view, when in wanted.items()}
    try:
        newest |= {f"online {view}": (found, known) for view, found in online_times(subject).items()}
    except UNREADABLE as error:
        if subject.rules.need_online_store:
            return not_made("freshness", f"the online store cannot be read: {error}", allowed=False)
    as_of = datetime.fromisoformat(str(subject.challenger.manifest["as_of"]))
    return fresh(as_of, subject.learnt_until, known, newest, subject.rules)


def online_times(subject: Subject) -> dict[str, datetime | None]:
    """The oldest time of the rows of the catalogue's items, and of sampled users' statistics.

    A user's row that was pushed after the day's end counts as of then: shoppers go on buying.
    """
    reader, known_us = online_reader(subject), microseconds(subject.known)
    items = reader.read_matrix(ITEM_VIEW, subject.challenger.catalogue.item_ids.tolist(), [], now_us=known_us)
    users = [reader.read_row("user_stats", user, now_us=known_us) for user in sampled_users(subject)]
    user_us = [min(row.event_us, known_us) for row in users if row is not None]
    item_us = items.event_us[items.found].tolist()
    return {
        view: time_of(min(times)) if times else None
        for view, times in {"user_stats": user_us, ITEM_VIEW: item_us}.items()
    }


def sampled_users(subject: Subject) -> list[str]:
    """Users whose rows are looked at."""
    return subject.sample(
        subject.recount.known_ids("user_id", subject.known), subject.rules.parity_rows, "users"
    )


def parity(subject: Subject) -> Check:
    """Whether what requests read is what training would read as of the day's end, bit for bit."""
    known = subject.known
    online = OnlineFeatures(subject.settings, subject.challenger, lambda: known)
    try:
        online_reader(subject).latest(ITEM_VIEW)  # or the reader would make a file that is not there
        users, moved = wrong_users(subject, online)
        items = wrong_items(subject, online)
    except UNREADABLE as error:
        allowed = not subject.rules.need_online_store
        return not_made("parity", f"the online store cannot be read: {error}", allowed=allowed)
    n = 2 * subject.rules.parity_rows - moved
    return equal_rows("parity", users + items, n, "the online store is not what training reads")


def offline_rows(subject: Subject, key: str, ids: Sequence[str], service: str) -> list[dict[str, Any]]:
    """Rows as training retrieves them as of the day's end."""
    from training.point_in_time import entity_frame, historical_features

    table = historical_features(subject.store, entity_frame(key, ids, [subject.known]), service)
    rows: list[dict[str, Any]] = table.drop_columns(["row_number", "event_timestamp", key]).to_pylist()
    return rows


def wrong_users(subject: Subject, online: OnlineFeatures) -> tuple[Counter[str], int]:
    """How often a feature of sampled users differs; and how many users bought since, and were left out."""
    ids = sampled_users(subject)
    wrong: Counter[str] = Counter()
    moved = 0
    for user, expected in zip(ids, offline_rows(subject, "user_id", ids, "user_ranking"), strict=True):
        row = online.read_user(user)
        if row is not None and row["event_timestamp"] > subject.known:
            moved += 1
            continue
        wrong.update(name for name, value in expected.items() if not same((row or {}).get(name), value))
    return wrong, moved


def wrong_items(subject: Subject, online: OnlineFeatures) -> Counter[str]:
    """How often a feature of sampled items differs."""
    from training.point_in_time import item_rows

    catalogue = subject.challenger.catalogue.item_ids
    ids = subject.sample(catalogue.tolist(), subject.rules.parity_rows, "items")
    found = online.read_items(np.searchsorted(catalogue, ids).astype(np.int32))
    wanted = item_rows(subject.store, ids, [subject.known])
    wrong: Counter[str] = Counter()
    for column, name in enumerate(online.item_names):
        expected = wanted.numbers[0][:, wanted.names.index(name)].astype(np.float32)
        differs = ~((found[:, column] == expected) | (np.isnan(found[:, column]) & np.isnan(expected)))
        wrong[name] += int(differs.sum())
    return +wrong


def same(found: Any, expected: Any) -> bool:
    """Whether two values are the same to the last bit; nothing equals nothing, and an empty list."""
    if found is None or expected is None:
        return found is expected or (
            not isinstance(found or expected, float | int | str) and not (found or expected)
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and bool(np.array_equal(np.asarray(found), np.asarray(expected)))
    return bool(found == expected)
