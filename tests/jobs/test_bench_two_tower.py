"""The bench of two-tower training compares equals."""

from dataclasses import replace

import numpy as np
import pytest

from bentos.towers import SALES
from jobs.benches import two_tower
from training.batches import TowerOptions
from training.purchases import Examples

N_USERS, N_ITEMS, N_EXAMPLES = 40, 60, 600
OPTIONS = TowerOptions(dimensions=6, hidden=8, batch_size=64, uniform_negatives=20, learning_rate=0.01)


@pytest.fixture(scope="module")
def examples():
    """Random purchases in two weeks of few items: a batch has many accidental hits and owned items."""
    rng = np.random.default_rng(3)

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    return Examples(
        queries=normal(N_USERS, 5),
        query_tastes=normal(N_USERS, 6),
        query_factors=normal(N_USERS, 4),
        owned=rng.integers(N_ITEMS // 2, N_ITEMS, 8 * N_USERS).astype(np.int32),
        owned_from=np.arange(0, 8 * N_USERS + 1, 8),
        text_vectors=normal(N_ITEMS, 7),
        item_tastes=normal(N_ITEMS, 6),
        item_numbers=rng.random((2, N_ITEMS, 3)).astype(np.float32),
        log_sales=rng.random((2, N_ITEMS, len(SALES))).astype(np.float32),
        item_factors=normal(2, N_ITEMS, 4) * np.float32(0.1),
        fit=np.array([0, 1], dtype=np.int32),
        query=rng.integers(0, N_USERS, N_EXAMPLES).astype(np.int32),
        item=(N_ITEMS // 2 * rng.random(N_EXAMPLES) ** 2).astype(np.int32),
        instant=np.sort(rng.integers(0, 2, N_EXAMPLES)).astype(np.int32),
    )


def test_equal_weights_have_equal_losses_and_take_equal_steps(examples):
    """The first loss agrees to 1e-4, and so do those of the steps that follow on the same batches."""
    steps = two_tower.steps_of(examples, OPTIONS)
    batches = list(two_tower.batches_of(examples, OPTIONS))
    assert len(batches) >= 10
    assert {int(batch["instant"]) for batch in batches} == {0, 1}
    assert len(np.unique(batches[0]["item"])) < len(batches[0]["item"])
    assert not batches[0]["allowed"].all()
    for batch in batches:
        assert steps["torch"](batch) == pytest.approx(steps["tensorflow"](batch), abs=1e-4)


def test_each_design_learns(examples):
    """The loss of each falls as it sees the same batches again."""
    batches = list(two_tower.batches_of(examples, OPTIONS))
    for step in two_tower.steps_of(examples, OPTIONS).values():
        first, *_, last = (np.mean([step(batch) for batch in batches]) for _ in range(10))
        assert last < first - 0.1


def test_too_few_purchases_are_named(examples):
    """A bench of a handful of purchases would measure nothing."""
    batches = two_tower.batches_of(replace(examples, instant=0 * examples.instant), OPTIONS)
    assert len(two_tower.taken(batches, 6)) == 6
    with pytest.raises(ValueError, match="needs 6 batches of purchases a round and found 4"):
        two_tower.taken(batches, 6)
