"""The bench of two-tower training compares equals."""

import numpy as np
import pytest

from jobs.benches import two_tower
from jobs.benches.torch_towers import TorchTowers
from training import retrieval
from training.legacy_keras import import_tensorflow

N_ITEMS, N_EXAMPLES = 30, 256
OPTIONS = retrieval.TowerOptions(
    dimensions=6, hidden=8, batch_size=64, identity_min_sales=5, learning_rate=0.01
)


@pytest.fixture(scope="module")
def examples():
    """Random purchases of few items, so that a batch has many accidental hits."""
    rng = np.random.default_rng(3)
    return retrieval.Examples(
        queries=rng.normal(size=(40, 5)).astype(np.float32),
        text_vectors=rng.normal(size=(N_ITEMS, 4)).astype(np.float32),
        item_numbers=rng.random((2, N_ITEMS, 3)).astype(np.float32),
        log_popularity=rng.random((2, N_ITEMS)).astype(np.float32),
        categories=rng.integers(0, 3, N_ITEMS).astype(np.int32),
        n_categories=3,
        query=rng.integers(0, 40, N_EXAMPLES).astype(np.int32),
        item=(N_ITEMS * rng.random(N_EXAMPLES) ** 2).astype(np.int32),
        instant=rng.integers(0, 2, N_EXAMPLES).astype(np.int32),
    )


@pytest.fixture(scope="module")
def both(examples):
    """(TensorFlow's model, its function from rows to inputs, PyTorch's model with the same weights)."""
    import_tensorflow()
    import tf_keras as keras

    scaling = retrieval.scaling_of(examples, np.arange(N_EXAMPLES))
    identity = retrieval.identity_of(examples.item, N_ITEMS, OPTIONS.identity_min_sales)
    assert 0 < (identity == 0).sum() < N_ITEMS
    probability = np.bincount(examples.item, minlength=N_ITEMS) / N_EXAMPLES
    held = retrieval.held_examples(examples, scaling)
    gather = retrieval.batch_of(held, identity, probability)
    model = retrieval.two_tower_model(OPTIONS, int(identity.max()) + 1, 3)
    model.compile(optimizer=keras.optimizers.legacy.Adam(OPTIONS.learning_rate))
    model.compute_loss(gather(np.arange(2)))
    model.prior_scale.assign(0.7)
    arrays = retrieval.tower_arrays(model, identity, scaling)
    columns = {name: value.numpy() for name, value in held.items()}
    return model, gather, TorchTowers(arrays, columns, identity, probability, OPTIONS)


def test_equal_weights_have_equal_losses_and_take_equal_steps(both):
    """The first loss agrees to 1e-4, and so do those of the steps that follow on the same batches."""
    import torch

    model, gather, towers = both
    for rows in np.arange(N_EXAMPLES).reshape(-1, OPTIONS.batch_size):
        batch = towers.gather(torch.from_numpy(rows))
        assert len(batch["item_id"].unique()) < OPTIONS.batch_size
        theirs = towers.loss(batch)
        ours = model.train_step(gather(rows))["loss"]
        assert float(ours) == pytest.approx(theirs.item(), abs=1e-4)
        towers.adam.zero_grad()
        theirs.backward()
        towers.adam.step()


def test_both_designs_learn_the_same_purchases(examples, monkeypatch):
    """Each design trains the steps asked for, and its loss falls."""
    monkeypatch.setattr(two_tower, "STEPS", 4)
    for fit in two_tower.fits_of(examples, OPTIONS).values():
        first = fit(4)
        assert np.mean([fit(4) for _ in range(10)]) < first


def test_too_few_purchases_are_named(examples):
    """A bench of a handful of purchases would measure nothing."""
    with pytest.raises(ValueError, match="found 256"):
        two_tower.fits_of(examples, OPTIONS)
