"""Fit one release at one cut: world, point-in-time rows, towers, windows, rankers.

In: the tables and Feast's offline store. Out: a `Release` without metrics, as of the cut.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from bentos.candidates import TASKS
from bentos.release import Release
from bentos.towers import query_inputs
from feature_repo.pair_features import Floats, Positions
from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from training.assemble import log_popularity, release_as_of, segment_popularity, shopper_at
from training.point_in_time import ItemRows, UserRows, entity_frame, item_rows, pair_frame, user_rows
from training.ranking import Example, joined, pairs, ranker_columns, train_ranker
from training.retrieval import Arrays, Examples, TowerOptions, train_towers
from training.split import CATALOGUE_WEEKS, Split, Window
from training.warehouse import Warehouse
from training.world import World, world_before

DEPARTMENT_SLOTS = 32
Report = Callable[[str], None]


@dataclass(frozen=True)
class Sources:
    """Where a fit reads from."""

    warehouse: Warehouse
    store: Any
    calendar: ShopCalendar
    department_slots: list[str]

    @classmethod
    def open(cls, settings: Settings, store: Any) -> "Sources":
        """Open one installation's tables; FileNotFoundError names the command that writes what is missing."""
        path = settings.state / "features" / "departments.json"
        if not path.exists():
            raise FileNotFoundError(f"No departments in {path}; run `endcap build-features`")
        slots = json.loads(path.read_text())
        return cls(
            warehouse=Warehouse(settings),
            store=store,
            calendar=ShopCalendar.load(settings.shop_calendar),
            department_slots=[*slots, *[""] * (DEPARTMENT_SLOTS - len(slots))],
        )


@dataclass(frozen=True)
class Instant:
    """One moment of the data: all users' and items' rows as of it, and the release assembled from them."""

    release: Release
    users: UserRows
    item_features: Floats  # (n_catalogue, n_item_features)
    place: Positions | None  # (n_world,) position in the release's catalogue, -1 where it is not held;
    # None: the users' positions are the catalogue's own


def instants_of(
    sources: Sources, world: World, instants: Sequence[datetime], towers: Sequence[Arrays]
) -> list[Instant]:
    """Assemble the release, and read the features, of several instants, each with its own towers."""
    items = item_rows(sources.store, world.item_ids.tolist(), instants)
    assembled = []
    for number, instant in enumerate(instants):
        user_ids = sources.warehouse.user_ids(instant)
        users = user_rows(
            sources.store, entity_frame("user_id", user_ids, [instant]), world.item_ids.tolist()
        )
        assembled.append(instant_of(sources, world, towers[number], instant, users, items, number))
    return assembled


def instant_at_cut(sources: Sources, split: Split, release: Release) -> Instant:
    """The cut with a release that was fitted for it: what the service would know at that moment."""
    now, ids = split.test.instant, release.catalogue.item_ids.tolist()
    users = entity_frame("user_id", sources.warehouse.user_ids(now), [now])
    return Instant(
        release=release,
        users=user_rows(sources.store, users, ids),
        item_features=item_rows(sources.store, ids, [now]).numbers[0],
        place=None,
    )


def instant_of(
    sources: Sources,
    world: World,
    towers: Arrays,
    instant: datetime,
    users: UserRows,
    items: ItemRows,
    number: int,
) -> Instant:
    """One instant's release and features; `number` is its place in `items`."""
    calendar = sources.calendar
    week = calendar.week_at(instant)
    since = calendar.start(week - CATALOGUE_WEEKS)
    catalogue_ids = sources.warehouse.catalogue_ids(since, instant)
    segments = dict(zip(users.user_ids.tolist(), users.top_departments.tolist(), strict=True))
    baskets = sources.warehouse.basket_counts(calendar.start(week - 4), instant)
    release = release_as_of(
        world,
        instant,
        catalogue_ids=catalogue_ids,
        item_numbers=items.numbers[number],
        item_features=items.names,
        user_features=list(users.names),
        towers=towers,
        segments=segment_popularity(baskets, segments, np.asarray(catalogue_ids, dtype=np.str_)),
        department_slots=sources.department_slots,
    )
    held = np.searchsorted(world.item_ids, release.catalogue.item_ids)
    place = np.full(len(world), -1, dtype=np.int32)
    place[held] = np.arange(len(held), dtype=np.int32)
    return Instant(release=release, users=users, item_features=items.numbers[number][held], place=place)


def retrieval_examples(sources: Sources, world: World, split: Split) -> Examples:
    """Purchases of the retrieval weeks with their shoppers and items as of each week's start."""
    calendar, weeks = sources.calendar, split.retrieval_weeks
    starts = tuple(calendar.start(week) for week in weeks)
    bought = pd.concat(
        [
            sources.warehouse.examples(Window(week, week, calendar.start(week), calendar.end(week))).assign(
                instant=number
            )
            for number, week in enumerate(weeks)
        ],
        ignore_index=True,
    )
    asked = bought[["user_id", "instant"]].drop_duplicates().sort_values(["instant", "user_id"])
    stamps = pd.Series(list(starts))[asked["instant"].to_numpy()]
    users = user_rows(
        sources.store, pair_frame("user_id", asked["user_id"].tolist(), stamps), world.item_ids.tolist()
    )
    items = item_rows(sources.store, world.item_ids.tolist(), starts)
    row_of = pd.Series(np.arange(len(asked), dtype=np.int32), index=pd.MultiIndex.from_frame(asked))
    return Examples(
        queries=query_matrix(world, users),
        text_vectors=world.text_vectors,
        item_numbers=np.log1p(np.maximum(np.nan_to_num(items.numbers), 0.0)).astype(np.float32),
        log_popularity=log_popularity(items.numbers, items.names),
        categories=world.categories.codes,
        n_categories=len(world.categories.names),
        query=row_of.loc[pd.MultiIndex.from_frame(bought[["user_id", "instant"]])].to_numpy(dtype=np.int32),
        item=np.searchsorted(world.item_ids, bought["item_id"].to_numpy(dtype=np.str_)).astype(np.int32),
        instant=bought["instant"].to_numpy(dtype=np.int32),
    )


def query_matrix(world: World, users: UserRows) -> Floats:
    """The query tower's inputs of many shoppers, each as of their own instant: (n, n_query_in)."""
    rows = [
        query_inputs(
            shopper_at(users, row, datetime.fromtimestamp(users.instants[row] / 1e6, tz=UTC)),
            world.text_vectors,
            world.categories.codes,
            len(world.categories.names),
        )
        for row in range(len(users))
    ]
    return np.stack(rows)


def window_examples(instant: Instant, labels: pd.DataFrame, now: datetime) -> list[Example]:
    """Shoppers who bought something in the window, with what they bought from the catalogue."""
    release = instant.release
    row_of = {user: row for row, user in enumerate(instant.users.user_ids.tolist())}
    ids = release.catalogue.item_ids
    found = np.minimum(np.searchsorted(ids, labels["item_id"].to_numpy(dtype=np.str_)), len(ids) - 1)
    held = labels.assign(position=found)[ids[found] == labels["item_id"].to_numpy(dtype=np.str_)]
    examples = []
    for user_id, bought in held.groupby("user_id", sort=True)["position"]:
        row = row_of.get(str(user_id))
        if row is None:
            continue
        who = shopper_at(instant.users, row, now, instant.place)
        examples.append(Example(shopper=who, bought=bought.to_numpy(dtype=np.int32)))
    return examples


def fit(
    sources: Sources,
    split: Split,
    *,
    threads: int,
    report: Report,
    options: TowerOptions | None = None,
) -> Release:
    """Train everything that knows no more than the cut, and assemble the release as of the cut."""
    world = world_before(sources.warehouse, sources.store, split.test.instant)
    report(f"catalogue history: {len(world):,} items sold before the cut")
    bought = retrieval_examples(sources, world, split)
    report(f"retrieval: {len(bought):,} purchases by {len(bought.queries):,} shoppers-as-of-a-week")
    towers = train_towers(bought, split.stages, options, report)
    instants = instants_of(sources, world, split.instants, towers)
    final = instants[-1].release
    windows = []
    for instant, window in zip(instants, split.ranker, strict=False):
        examples = window_examples(instant, sources.warehouse.purchases(window), window.instant)
        windows.append(
            pairs(instant.release, instant.item_features, examples, seed=split.cut, threads=threads)
        )
        report(f"pairs of weeks {window.first}-{window.last}: {len(examples):,} shoppers")
    rankers = {}
    for task in TASKS:
        learned = joined([by_task[task] for by_task in windows])
        rankers[task] = train_ranker(learned, ranker_columns(final), threads=threads)
        report(f"ranker {task}: {len(learned.labels):,} pairs, {int(learned.labels.sum()):,} bought")
    return replace(final, rankers=rankers)
