"""A release as of any instant with parameters that were learnt before: the facts of a moment, new.

In: parameters, the tables and Feast's offline store. Out: a release whose catalogue, popularity, factors,
panel and item vectors are as of the instant, with the towers, pool weights and rankers of the parameters.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from bentos.release import Release
from training.fit import Sources, instants_of, with_pool
from training.parameters import GroupNames, Parameters
from training.world import world_before

BACK = 60  # weeks that are counted back from an instant: more than any window has


def weeks_back(sources: Sources, instant: datetime) -> Sources:
    """The same sources in weeks that end with an instant, the end of a local day; ValueError for another."""
    day = sources.calendar.day_at(instant - timedelta(microseconds=1))
    if sources.calendar.day_end(day) != instant:
        raise ValueError(f"{instant} is no local midnight; give the end of a day")
    return replace(sources, calendar=sources.calendar.ending_with(day, BACK))


def release_at(sources: Sources, parameters: Parameters, instant: datetime, *, threads: int) -> Release:
    """Assemble what would answer requests at `instant`, the end of a local day."""
    world = world_before(sources.warehouse, sources.store, instant)
    space = parameters.space_in(GroupNames.of(world))
    (made,) = instants_of(
        weeks_back(sources, instant), world, [instant], [dict(parameters.towers)], space, threads=threads
    )
    return replace(with_pool(made.release, parameters.pool_weights), rankers=dict(parameters.rankers))
