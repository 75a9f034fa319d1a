"""Two-tower training: examples per second of our TensorFlow model beside an equal one in plain PyTorch.

Ours takes the step of training itself. Both begin with the same weights and learn the same batches of this
installation's purchases, in turn and in one process of their own. The batches are made beforehand, so what
making them costs is in neither rate. One thread each: on a busy machine PyTorch's threads spin while they
wait for each other, and would be charged for it.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context
from time import perf_counter, process_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.settings import Settings
from jobs.benches.point_in_time import be_quiet

WEEKS = 12  # of purchases to learn from; the last 8 are no part of the taste space
WARM_UP, STEPS, ROUNDS = 40, 60, 3  # a week ends in the warm-up: TensorFlow traces its smaller last batch
THREADS = 1
Record = dict[str, Any]
Batch = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Rate:
    """Examples per second of one design, over all its rounds."""

    examples: int
    cpu_s: float
    wall_s: float


def records(settings: Settings) -> Iterator[Record]:
    """Examples per CPU second and per second of each design, and how many times theirs ours are."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=be_quiet) as process:
        rates = process.submit(measured, settings).result()
    tags = {"report": "bench_batch", "threads": THREADS}
    found = {
        (metric, design): rate.examples / seconds
        for design, rate in rates.items()
        for metric, seconds in (("examples_cpu_s", rate.cpu_s), ("examples_s", rate.wall_s))
    }
    for (metric, design), value in found.items():
        yield {**tags, "metric": metric, "value": value, "unit": "1/s", "design": design}
    for metric in ("examples_cpu_s", "examples_s"):
        times = found[metric, "tensorflow"] / found[metric, "torch"]
        yield {**tags, "metric": f"{metric}_times", "value": times, "unit": "x", "design": "tensorflow"}


def measured(settings: Settings) -> dict[str, Rate]:
    """Rates of both designs; they take turns, so that a busy machine slows them alike."""
    from training.batches import TowerOptions
    from training.legacy_keras import import_tensorflow

    threads = import_tensorflow().config.threading
    threads.set_intra_op_parallelism_threads(THREADS)
    threads.set_inter_op_parallelism_threads(THREADS)
    import torch

    torch.set_num_threads(THREADS)
    options = TowerOptions()
    examples = latest_examples(settings, options)
    batches, steps = batches_of(examples, options), steps_of(examples, options)
    for batch in taken(batches, WARM_UP):
        for step in steps.values():
            step(batch)
    spent, learnt = {design: np.zeros(2) for design in steps}, 0
    for _ in range(ROUNDS):
        round_of = taken(batches, STEPS)
        learnt += sum(len(batch["query"]) for batch in round_of)
        for design, step in steps.items():
            began = np.array([process_time(), perf_counter()])
            for batch in round_of:
                step(batch)
            spent[design] += [process_time() - began[0], perf_counter() - began[1]]
    return {design: Rate(learnt, float(cpu), float(wall)) for design, (cpu, wall) in spent.items()}


def latest_examples(settings: Settings, options: Any) -> Any:
    """First purchases of the last weeks of the data, with their shoppers and items as of then."""
    from feature_repo.store import open_store
    from training.fit import Sources
    from training.purchases import retrieval_examples
    from training.split import temporal_split
    from training.world import world_before

    sources = Sources.open(settings, open_store(settings))
    latest = sources.warehouse.frame("SELECT max(event_timestamp) AS at_last FROM transactions", [])
    split = temporal_split(sources.calendar, sources.calendar.week_at(latest["at_last"].iloc[0]) - 1)
    split = replace(split, retrieval_weeks=split.retrieval_weeks[-WEEKS:])
    world = world_before(sources.warehouse, sources.store, split.test.instant)
    threads, dimensions = settings.threads, options.dimensions
    return retrieval_examples(sources, world, split, dimensions=dimensions, threads=threads)[0]


def batches_of(examples: Any, options: Any) -> Iterator[Batch]:
    """All weeks' batches, in the order of time."""
    from training.batches import week_batches

    rng = np.random.default_rng(options.seed)
    for week in np.unique(examples.instant):
        yield from week_batches(examples, np.flatnonzero(examples.instant == week), options, rng)


def taken(batches: Iterator[Batch], steps: int) -> list[Batch]:
    """The next batches; ValueError where there are fewer."""
    found = list(islice(batches, steps))
    if len(found) < steps:
        raise ValueError(f"The bench needs {steps} batches of purchases a round and found {len(found)}")
    return found


def steps_of(examples: Any, options: Any) -> dict[str, Callable[[Mapping[str, NDArray[Any]]], float]]:
    """Each design's step: it learns from a batch and gives the loss before; both begin alike."""
    from training.legacy_keras import import_tensorflow

    import_tensorflow()
    import tf_keras as keras

    from jobs.benches.torch_towers import TorchTowers
    from training import retrieval

    scaling = retrieval.scaling_of(examples, np.arange(len(examples)))
    held = retrieval.held_examples(examples, scaling)
    keras.utils.set_random_seed(options.seed)
    model = retrieval.two_tower_model(options, examples.item_tastes.shape[1])
    model.compute_loss(retrieval.gathered(held, next(batches_of(examples, options))))  # makes the weights
    columns = {name: value.numpy() for name, value in held.items()}
    towers = TorchTowers(retrieval.tower_arrays(model, scaling), columns, options)
    return {"tensorflow": retrieval.training_step(model, held, options), "torch": towers.step}
