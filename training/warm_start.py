"""Go on learning: the towers take in the purchases of some days more, each day once, in order.

In: parameters, the tables and Feast's offline store. Out: parameters that were learnt until a later instant;
pool weights and rankers stay, as these learn from whole weeks of labels. Each day begins with a fresh
optimiser and draws by its own date, so days that are learnt one by one end as those learnt in one go.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from training.batches import TowerOptions
from training.day import days_until
from training.factors import history_matrix, item_factors
from training.fit import Sources
from training.parameters import GroupNames, Parameters
from training.point_in_time import entity_frame, user_rows
from training.purchases import examples_of
from training.retrieval import train_towers
from training.split import Window
from training.world import World, world_before

Report = Callable[[str], None]


def advance(
    sources: Sources, parameters: Parameters, until: datetime, *, threads: int, report: Report
) -> Parameters:
    """Learn what was first bought after `parameters.learnt_until` and up to `until`, a day at a time.

    ValueError where `until` lies before it.
    """
    if until < parameters.learnt_until:
        raise ValueError(f"{until} is before {parameters.learnt_until}, until which all is learnt already")
    for window in days_until(sources.calendar, parameters.learnt_until, until):
        parameters = after_day(sources, parameters, window, threads=threads, report=report)
    return parameters


def after_day(
    sources: Sources, parameters: Parameters, window: Window, *, threads: int, report: Report
) -> Parameters:
    """Learn one day more, in the world of the items that were sold by its end."""
    world = world_before(sources.warehouse, sources.store, window.end)
    names = GroupNames.of(world)
    learnt = replace(parameters, space=parameters.space_in(names), names=names, learnt_until=window.end)
    if sources.warehouse.examples(window).empty:
        report(f"{window.instant:%Y-%m-%d}: nobody bought anything")
        return learnt
    factors, fit = factors_of(sources, world, parameters.cut, threads), np.zeros(1, dtype=np.int32)
    examples, _ = examples_of(sources, world, [window], factors, fit, lambda *_: learnt.space)
    report(f"{window.instant:%Y-%m-%d}: {len(examples):,} first purchases")
    if not len(examples):
        return learnt
    options = TowerOptions(dimensions=examples.item_tastes.shape[1], seed=seed_of(window))
    (towers,) = train_towers(examples, [1], options, start=parameters.towers)
    return replace(learnt, towers=towers)


def seed_of(window: Window) -> int:
    """What a day's draws begin with: its date."""
    return (window.end - timedelta(microseconds=1)).toordinal()


def factors_of(sources: Sources, world: World, cut: int, threads: int) -> np.ndarray:
    """Item factors of the world as of the end of the rankers' cut: (1, n_world, n_factors)."""
    end = sources.calendar.end(cut)
    frame = entity_frame("user_id", sources.warehouse.user_ids(end), [end])
    users = user_rows(sources.store, frame, world.item_ids.tolist())
    everything = np.arange(len(world), dtype=np.int32)
    history = history_matrix(users, everything, len(world), end)
    return np.stack([item_factors(history, threads=threads)])
