"""Fit one release at one cut: world, point-in-time rows, towers, windows, rankers.

In: the tables and Feast's offline store. Out: a `Release` without metrics, as of the cut.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from bentos.candidates import TASKS
from bentos.neighbours import PANEL_WEEKS
from bentos.pool import INPUTS
from bentos.release import Release
from feature_repo.pair_features import Floats, Positions
from feature_repo.positions import positions_of
from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from training.assemble import FeatureNames, Learnt, release_as_of, segment_popularity
from training.batches import TowerOptions
from training.factors import history_matrix, item_factors
from training.panel import panel_of
from training.parameters import GroupNames, Parameters
from training.point_in_time import ItemRows, UserRows, entity_frame, item_rows, user_rows
from training.pool import PoolRows, fitted_weights, window_rows
from training.promotions import Rankers, coming_promotions, two_rankers
from training.purchases import retrieval_examples
from training.ranking import Example, joined, pairs
from training.retrieval import Arrays, train_towers
from training.shoppers import shopper_at
from training.split import CATALOGUE_WEEKS, Split
from training.taste_space import TasteSpace
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
            warehouse=Warehouse.of(settings),
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
    sources: Sources,
    world: World,
    instants: Sequence[datetime],
    towers: Sequence[Arrays],
    space: TasteSpace,
    *,
    threads: int = 1,
) -> list[Instant]:
    """Assemble the release, and read the features, of several instants, each with its own towers."""
    items = item_rows(sources.store, world.item_ids.tolist(), instants)
    calendar = sources.calendar
    earlier = [calendar.start(calendar.week_at(instant) - PANEL_WEEKS) for instant in instants]
    users = {
        instant: user_rows(
            sources.store,
            entity_frame("user_id", sources.warehouse.user_ids(instant), [instant]),
            world.item_ids.tolist(),
        )
        for instant in sorted({*instants, *earlier})
    }
    return [
        instant_of(sources, world, towers[number], space, users, items, number, threads)
        for number in range(len(instants))
    ]


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
    space: TasteSpace,
    users: Mapping[datetime, UserRows],
    items: ItemRows,
    number: int,
    threads: int,
) -> Instant:
    """One instant's release and features; `number` is its place in `items`.

    `users` has everybody's rows as of the instant, and as of PANEL_WEEKS before it.
    """
    instant, calendar = items.instants[number], sources.calendar
    week = calendar.week_at(instant)
    catalogue_ids = sources.warehouse.catalogue_ids(calendar.start(week - CATALOGUE_WEEKS), instant)
    held = np.searchsorted(world.item_ids, np.asarray(catalogue_ids, dtype=np.str_)).astype(np.int32)
    place = np.full(len(world), -1, dtype=np.int32)
    place[held] = np.arange(len(held), dtype=np.int32)
    now_known = users[instant]
    release = release_as_of(
        world,
        instant,
        items=held,
        numbers=items.numbers[number][held],
        names=FeatureNames(items.names, now_known.names, sources.department_slots),
        learnt=learnt_by(sources, world, towers, space, users, instant, place, threads),
    )
    return Instant(release, now_known, items.numbers[number][held], place)


def learnt_by(
    sources: Sources,
    world: World,
    towers: Arrays,
    space: TasteSpace,
    users: Mapping[datetime, UserRows],
    instant: datetime,
    place: Positions,
    threads: int,
) -> Learnt:
    """What all shoppers teach by an instant: factors, panel and segments, beside the towers."""
    calendar, n_items = sources.calendar, int(place.max()) + 1
    before = calendar.start(calendar.week_at(instant) - PANEL_WEEKS)
    factors = item_factors(history_matrix(users[instant], place, n_items, instant), threads=threads)
    bought = sources.warehouse.basket_counts(before, instant)
    segment_of = dict(
        zip(users[instant].user_ids.tolist(), users[instant].top_departments.tolist(), strict=True)
    )
    return Learnt(
        towers=towers,
        space=space,
        factors=factors,
        panel=panel_of(users[before], before, bought, place, world.item_ids, factors),
        segments=segment_popularity(bought, segment_of, world.item_ids[place >= 0]),
    )


def window_examples(instant: Instant, labels: pd.DataFrame, now: datetime) -> list[Example]:
    """Shoppers who bought something in the window, with what they bought from the catalogue."""
    release = instant.release
    row_of = {user: row for row, user in enumerate(instant.users.user_ids.tolist())}
    found = positions_of(release.catalogue.item_ids, labels["item_id"].to_numpy(dtype=np.str_))
    held = labels.assign(position=found)[found >= 0]
    examples = []
    for user_id, bought in held.groupby("user_id", sort=True)["position"]:
        row = row_of.get(str(user_id))
        if row is None:
            continue
        who = shopper_at(instant.users, row, now, instant.place)
        examples.append(Example(shopper=who, bought=bought.to_numpy(dtype=np.int32)))
    return examples


@dataclass(frozen=True)
class Prepared:
    """What rankers are trained and tested from: everything that was learnt before any pair is drawn."""

    instants: Sequence[Instant]  # each ranker window's, then the cut
    examples: Sequence[Sequence[Example]]  # shoppers of each ranker window
    towers: Arrays  # as of the cut
    space: TasteSpace


def prepared(
    sources: Sources,
    world: World,
    split: Split,
    *,
    threads: int,
    report: Report,
    options: TowerOptions | None = None,
) -> Prepared:
    """Train the towers and assemble the instants, none of which knows what comes after it."""
    options = options or TowerOptions()
    bought, space = retrieval_examples(sources, world, split, dimensions=options.dimensions, threads=threads)
    report(f"retrieval: {len(bought):,} first purchases by {len(bought.queries):,} shoppers-as-of-a-week")
    towers = train_towers(bought, split.stages, options, report)
    instants = instants_of(sources, world, split.instants, towers, space, threads=threads)
    report(f"assembled {len(instants)} instants: factors, panel, features")
    return Prepared(instants, labelled(sources, split, instants), towers[-1], space)


def labelled(sources: Sources, split: Split, instants: Sequence[Instant]) -> list[list[Example]]:
    """Shoppers of each ranker window, as of its instant, with what they bought in it."""
    return [
        window_examples(instant, sources.warehouse.purchases(window), window.instant)
        for instant, window in zip(instants, split.ranker, strict=False)
    ]


@dataclass(frozen=True)
class Fitted:
    """A release, and rankers on the same pairs that read promotions of the coming week as well."""

    release: Release
    promoted: Rankers  # by task; none where nothing was promoted
    parameters: Parameters


def fit(
    sources: Sources,
    split: Split,
    *,
    threads: int,
    report: Report,
    options: TowerOptions | None = None,
) -> Fitted:
    """Train everything that knows no more than the cut, and assemble the release as of the cut."""
    world = world_before(sources.warehouse, sources.store, split.test.instant)
    report(f"catalogue history: {len(world):,} items sold before the cut")
    ready = prepared(sources, world, split, threads=threads, report=report, options=options)
    instants, examples = ready.instants, ready.examples
    weights = pool_weights(instants, examples, seed=split.cut)
    report("pool: " + ", ".join(f"{name} {weight:.2f}" for name, weight in zip(INPUTS, weights, strict=True)))
    pooled = [with_pool(instant.release, weights) for instant in instants]
    windows = []
    for release, instant, window, shoppers in zip(pooled, instants, split.ranker, examples, strict=False):
        coming = coming_promotions(sources.store, release, window.instant)
        features = np.hstack([instant.item_features, coming])
        windows.append(pairs(release, features, shoppers, seed=split.cut, threads=threads))
        report(f"pairs of weeks {window.first}-{window.last}: {len(shoppers):,} shoppers")
    learned = {task: joined([by_task[task] for by_task in windows]) for task in TASKS}
    rankers, promoted = two_rankers(learned, pooled[-1], sources.store, threads=threads)
    for task, one in learned.items():
        report(f"ranker {task}: {len(one.labels):,} pairs, {int(one.labels.sum()):,} bought")
    parameters = Parameters(
        towers=ready.towers,
        space=ready.space,
        names=GroupNames.of(world),
        pool_weights=weights,
        rankers=rankers,
        learnt_until=split.test.instant,
        cut=split.cut,
    )
    return Fitted(replace(pooled[-1], rankers=rankers), promoted, parameters)


def with_pool(release: Release, weights: Floats) -> Release:
    """The release with fitted weights of the pool."""
    return replace(release, arrays={**release.arrays, "pool_weights": weights})


def pool_weights(instants: Sequence[Instant], examples: Sequence[Sequence[Example]], *, seed: int) -> Floats:
    """Weights of the pool from what was newly bought in all ranker windows."""
    return fitted_weights(pooled_rows(instants, examples, seed=seed))


def pooled_rows(
    instants: Sequence[Instant], examples: Sequence[Sequence[Example]], *, seed: int
) -> list[PoolRows]:
    """Rows that the pool learns from, of all ranker windows."""
    rows = []
    for instant, shoppers in zip(instants, examples, strict=False):
        rows += window_rows(instant.release, [(one.shopper, one.bought) for one in shoppers], seed=seed)
    return rows
