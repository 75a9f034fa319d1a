"""Two-tower training: examples per second of our TensorFlow model beside an equal one in plain PyTorch.

Both learn the same purchases of this installation from the same weights, in turn and in one process of their
own, on the same number of threads. CPU seconds count all threads: TensorFlow gathers the next batch while it
learns from this one, so its wall time can be the shorter for the same CPU time.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from time import perf_counter, process_time
from typing import Any

import numpy as np

from feature_repo.settings import Settings
from jobs.benches.point_in_time import be_quiet

WEEKS = 26  # of purchases to learn from
WARM_UP, STEPS, ROUNDS = 20, 150, 3
Record = dict[str, Any]


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
    tags = {"report": "bench_batch", "threads": settings.threads}
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
    from training.legacy_keras import import_tensorflow
    from training.retrieval import TowerOptions

    threads = import_tensorflow().config.threading
    threads.set_intra_op_parallelism_threads(settings.threads)
    threads.set_inter_op_parallelism_threads(settings.threads)
    import torch

    torch.set_num_threads(settings.threads)
    fits = fits_of(latest_examples(settings), TowerOptions())
    for fit in fits.values():
        fit(WARM_UP)
    spent = {design: np.zeros(2) for design in fits}
    for _ in range(ROUNDS):
        for design, fit in fits.items():
            began = np.array([process_time(), perf_counter()])
            fit(STEPS)
            spent[design] += [process_time() - began[0], perf_counter() - began[1]]
    learnt = ROUNDS * STEPS * TowerOptions().batch_size
    return {design: Rate(learnt, float(cpu), float(wall)) for design, (cpu, wall) in spent.items()}


def latest_examples(settings: Settings) -> Any:
    """Purchases of the last weeks of the data, with their shoppers and items as of then."""
    from feature_repo.store import open_store
    from training.fit import Sources, retrieval_examples
    from training.split import temporal_split
    from training.world import world_before

    sources = Sources.open(settings, open_store(settings))
    latest = sources.warehouse.frame("SELECT max(event_timestamp) AS at_last FROM transactions", [])
    split = temporal_split(sources.calendar, sources.calendar.week_at(latest["at_last"].iloc[0]) - 1)
    world = world_before(sources.warehouse, sources.store, split.test.instant)
    return retrieval_examples(sources, world, replace(split, retrieval_weeks=split.retrieval_weeks[-WEEKS:]))


def fits_of(examples: Any, options: Any) -> dict[str, Callable[[int], float]]:
    """A function for each design that trains some steps and gives the mean loss; both begin alike."""
    import tf_keras as keras

    from jobs.benches.torch_towers import TorchTowers
    from training import retrieval

    rows = np.arange(len(examples))
    if len(rows) < STEPS * options.batch_size:
        raise ValueError(f"The bench needs {STEPS * options.batch_size:,} purchases and found {len(rows):,}")
    scaling = retrieval.scaling_of(examples, rows)
    n_items = len(examples.text_vectors)
    identity = retrieval.identity_of(examples.item, n_items, options.identity_min_sales)
    probability = np.bincount(examples.item, minlength=n_items) / len(rows)
    held = retrieval.held_examples(examples, scaling)
    gather = retrieval.batch_of(held, identity, probability)
    keras.utils.set_random_seed(options.seed)
    model = retrieval.two_tower_model(options, int(identity.max()) + 1, examples.n_categories)
    model.compile(optimizer=keras.optimizers.legacy.Adam(options.learning_rate))
    batches = retrieval.shuffled(rows, gather, options)
    model.compute_loss(gather(rows[:2]))  # makes the weights
    columns = {name: value.numpy() for name, value in held.items()}
    arrays = retrieval.tower_arrays(model, identity, scaling)
    towers = TorchTowers(arrays, columns, identity, probability, options)
    return {
        "tensorflow": lambda steps: retrieval.mean_loss_of_fit(model, batches.take(steps), 1),
        "torch": lambda steps: towers.fit(rows, steps),
    }
