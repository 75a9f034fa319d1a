"""Answers of challenger and champion to the same shoppers: what they cost, and whether pages are full.

In: a `Subject`. Out: checks. The serving path answers from rows that were read before, request by request and
by turns, so that what else the machine does hits both releases. CPU time is the process's own.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import process_time_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from bentos.candidates import TASKS
from bentos.recommend import Recommendation, recommend
from bentos.release import Release
from feature_repo.pair_features import Floats, Positions
from jobs.gate.subject import Subject
from training.gate import Check, not_made
from training.gate_quality import CHALLENGER, CHAMPION, DECISIVE, SEGMENT
from training.gate_served import covers, quick
from training.per_shopper import COVERAGE

if TYPE_CHECKING:
    import pandas as pd

K = 10  # a page
ROUNDS = 3  # of which the least counts: noise only adds


class Recorded:
    """A reader over rows that were read once, as requests would read them."""

    def __init__(self, users: Mapping[str, Mapping[str, Any]], items: Floats) -> None:
        self.users, self.items = users, items

    def read_user(self, user_id: str) -> Mapping[str, Any] | None:
        """The user's features by name."""
        return self.users.get(user_id)

    def read_items(self, items: Positions) -> Floats:
        """(n_items, n_item_features) of positions in the catalogue."""
        return self.items[items]

    def last_items(self, items: Positions) -> Floats | None:
        """The same: they never change."""
        return self.items[items]

    def late(self) -> datetime | None:
        """Never."""
        return None


@dataclass(frozen=True)
class Answers:
    """Answers of each release to the same requests, and their CPU milliseconds."""

    users: Sequence[str]  # (n,) whose request it was
    tasks: Sequence[str]  # (n,)
    cpu_ms: Mapping[str, np.ndarray]  # (n,) by release
    answers: Mapping[str, Sequence[Recommendation]]

    def full(self, name: str) -> dict[str, float]:
        """Share of a release's answers that have K items and are not degraded, by task."""
        told = [len(each.slots) == K and not each.degraded for each in self.answers[name]]
        return {
            task: float(np.mean([full for full, mine in zip(told, self.tasks, strict=True) if mine == task]))
            for task in TASKS
        }


def recorded(subject: Subject, release: Release, users: Mapping[str, Mapping[str, Any]]) -> Recorded:
    """A reader for one release: its items' features as of the day's end, in its own order."""
    from training.point_in_time import item_rows

    rows = item_rows(subject.store, release.catalogue.item_ids.tolist(), [subject.known])
    order = [rows.names.index(name) for name in release.manifest["features"]["item"]]
    return Recorded(users, rows.numbers[0][:, order])


def user_rows(subject: Subject, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Users' rows by id as of the day's end, as the online store would give them."""
    from training.point_in_time import entity_frame, historical_features

    entities = entity_frame("user_id", ids, [subject.known])
    rows = historical_features(subject.store, entities, "user_ranking").to_pylist()
    return {row["user_id"]: row for row in rows}


def answered(
    releases: Mapping[str, tuple[Release, Recorded]],
    users: Sequence[str],
    now: datetime,
    rounds: int = ROUNDS,
) -> Answers:
    """Let every release answer every user's requests `rounds` times, by turns."""
    requests = [(user, task) for user in users for task in TASKS]
    spent = {name: np.full(len(requests), np.inf) for name in releases}
    answers: dict[str, list[Any]] = {name: [None] * len(requests) for name in releases}
    for turn in range(rounds + 1):  # the first warms up, and is not counted
        for place, (user, task) in enumerate(requests):
            order = list(releases)
            for name in order if (place + turn) % 2 else order[::-1]:
                release, reader = releases[name]
                began = process_time_ns()
                found = recommend(release, reader, user, k=K, task=task, now=now, budget_ms=math.inf)
                if turn:
                    spent[name][place] = min(spent[name][place], (process_time_ns() - began) / 1e6)
                answers[name][place] = found
    owners, tasks = zip(*requests, strict=True)
    return Answers(owners, tasks, spent, answers)


def made(subject: Subject, values: "pd.DataFrame") -> tuple[Check, Check]:
    """Latency and coverage, of shoppers of the window."""
    from bentos.blas import use_one_blas_thread

    use_one_blas_thread()
    shoppers = sorted(set(values["user_id"].astype(str)))
    users = subject.sample(shoppers, subject.rules.timed_users, "timed")
    rows = user_rows(subject, users)
    readers = {
        name: (release, recorded(subject, release, rows)) for name, release in subject.releases.items()
    }
    found = answered(readers, users, subject.known)
    latency = quick(found.cpu_ms[CHALLENGER], found.cpu_ms.get(CHAMPION), found.users, subject.rules)
    return latency, coverage(subject, found, values)


def coverage(subject: Subject, found: Answers, values: "pd.DataFrame") -> Check:
    """Full pages, variety of the lists, size of the catalogue."""
    shown = values[values["model"].isin((CHALLENGER, CHAMPION, SEGMENT))]
    shares = shown.groupby(["task", "model"])[COVERAGE].mean()
    variety = {task: {str(model): float(share) for model, share in shares[task].items()} for task in DECISIVE}
    if lacking := [task for task, models in variety.items() if CHALLENGER not in models]:
        why = f"the challenger was not measured on {', '.join(lacking)}; run `endcap evaluate --date`"
        return not_made("coverage", why, allowed=False)
    sizes = {name: len(release.catalogue.item_ids) for name, release in subject.releases.items()}
    return covers(found.full(CHALLENGER), variety, sizes, subject.rules)
