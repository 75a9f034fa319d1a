"""Releases head to head: what each would have shown at one instant, against what was bought after it.

In: whole releases as they would serve, features as of an instant, the purchases of a window after it. Out:
values per shopper, a row for each task and model, the legacy rules among them; tidy records of figures.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from bentos import legacy_rules
from bentos.candidates import TASKS, draw
from bentos.ranking import ranked
from bentos.release import Release
from bentos.shopper import Shopper
from feature_repo.pair_features import Floats, Positions
from training.fit import Sources
from training.held_out import HeldOut, held_out_of
from training.intervals import bootstrap_interval, paired_lift
from training.metrics import Metric, coverage
from training.per_shopper import COVERAGE, CTR_PROXY, SLOTS
from training.point_in_time import UserRows, entity_frame, item_rows, user_rows
from training.shoppers import shopper_at
from training.split import Window
from training.trips import ctr_proxy

RULES = ("segment", "buy_again")  # with the lists and histories of the day: the strongest form of them
DEPTH = 100
METRICS = tuple(
    Metric(name, k) for name, k in (("recall", 10), ("recall", 20), ("recall", 100), ("ndcg", 10))
)
Record = dict[str, Any]


@dataclass(frozen=True)
class Served:
    """One release at the end of a day, with everybody's features as of then."""

    release: Release
    users: UserRows
    item_features: Floats  # (n_catalogue, n_item_features)
    now: datetime

    @classmethod
    def of(cls, sources: Sources, release: Release, now: datetime) -> "Served":
        """Read the features as of `now` that the release answers from."""
        ids = release.catalogue.item_ids.tolist()
        frame = entity_frame("user_id", sources.warehouse.user_ids(now), [now])
        features = item_rows(sources.store, ids, [now]).numbers[0]
        return cls(release, user_rows(sources.store, frame, ids), features, now)

    def shoppers(self, user_ids: list[str]) -> list[Shopper]:
        """Shoppers as the service would know them."""
        row_of = {user: row for row, user in enumerate(self.users.user_ids.tolist())}
        return [shopper_at(self.users, row_of[user_id], self.now, None) for user_id in user_ids]

    def stack(self, who: Shopper, task: str) -> Positions:
        """What the release shows, best first."""
        candidates = draw(self.release, who, task)
        features = self.item_features[candidates.items]
        return ranked(self.release, who, candidates, features, k=SLOTS, task=task).items[:DEPTH]

    def rule(self, name: str, who: Shopper, task: str) -> Positions:
        """What a legacy rule shows, best first."""
        return legacy_rules.recommended(name, self.release, who, DEPTH, task)


def measured(
    sources: Sources, releases: Mapping[str, Release], window: Window, *, threads: int = 1
) -> pd.DataFrame:
    """Values per shopper of some releases and, with the first one's lists, of the rules.

    Who bought something in the window and was known at its instant counts. ValueError where nobody did.
    """
    found = []
    for number, (name, release) in enumerate(releases.items()):
        served = Served.of(sources, release, window.instant)
        models = {name: served.stack}
        if number == 0:
            models |= {rule: partial(served.rule, rule) for rule in RULES}
        for task in TASKS:
            held = held_out_of(sources.warehouse, window, release.catalogue.item_ids, task)
            shoppers = served.shoppers(held.user_ids)
            for model, show in models.items():
                with ThreadPoolExecutor(threads) as pool:
                    shown = list(pool.map(lambda who, show=show, task=task: show(who, task), shoppers))
                found.append(values_of(model, task, held, shown, len(release.catalogue.item_ids)))
    return pd.concat(found, ignore_index=True)


def values_of(model: str, task: str, held: HeldOut, shown: list[Positions], n_items: int) -> pd.DataFrame:
    """Metrics of one model's lists, a row for each shopper."""
    lists = np.full((len(shown), DEPTH), -1, dtype=np.int32)
    for row, items in enumerate(shown):
        lists[row, : len(items)] = items
    values = {metric.label: metric.calc_per_user(lists, held.truth) for metric in METRICS}
    values[CTR_PROXY] = ctr_proxy(lists, SLOTS, held.truth_by_trips, held.n_trips)
    values[COVERAGE] = np.full(len(shown), coverage(lists, SLOTS, n_items))
    return pd.DataFrame({"task": task, "model": model, "user_id": held.user_ids, **values})


def records(values: pd.DataFrame, report: str, mine: str) -> Iterator[Record]:
    """Figures of each day and of all: `day` is "all" where each day weighs alike.

    `values` are those of `measured` with a column `day`. Intervals are over shoppers, whose days are drawn
    together; lifts of the model `mine` over each other one are paired.
    """
    metrics = [name for name in values.columns if name not in ("day", "task", "model", "user_id", COVERAGE)]
    for day, rows in [("all", values), *values.groupby("day", sort=True)]:
        for task, of_task in rows.groupby("task", sort=True):
            by_model = {
                model: frame.sort_values(["day", "user_id"]) for model, frame in of_task.groupby("model")
            }
            for model, frame in by_model.items():
                tags = {"report": report, "day": told(day), "task": task, "model": model}
                for metric in metrics:
                    yield {**tags, "metric": metric, "unit": "share", **of(frame, metric)}
                    if model != mine and mine in by_model:
                        lift = {"unit": "relative lift", **over(by_model[mine], frame, metric)}
                        yield {**tags, "model": mine, "versus": model, "metric": metric, **lift}


def told(day: object) -> str:
    """A day as records have it."""
    return day.isoformat() if isinstance(day, date) else str(day)


def of(frame: pd.DataFrame, metric: str) -> Record:
    """A mean over days of each day's mean over shoppers, with its interval."""
    interval = bootstrap_interval(
        frame[metric].to_numpy(), users=frame["user_id"].to_numpy(), cuts=frame["day"].to_numpy()
    )
    return {**interval._asdict(), "users": int(frame["user_id"].nunique())}


def over(mine: pd.DataFrame, theirs: pd.DataFrame, metric: str) -> Record:
    """A paired lift; ValueError where the two were measured on other shoppers."""
    keys = ["day", "user_id"]
    if not mine[keys].reset_index(drop=True).equals(theirs[keys].reset_index(drop=True)):
        raise ValueError("Two models were measured on other shoppers of a day; measure that day again")
    lift = paired_lift(
        mine[metric].to_numpy(),
        theirs[metric].to_numpy(),
        users=mine["user_id"].to_numpy(),
        cuts=mine["day"].to_numpy(),
    )
    return dict(lift._asdict())
