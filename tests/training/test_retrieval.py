"""The two-tower model on a planted world: users of one taste buy items of one text."""

from dataclasses import replace

import numpy as np
import pytest

from bentos.towers import SALES, item_bodies, query_body, sales_part
from training.batches import TowerOptions, owned_among, week_batches
from training.purchases import Examples
from training.retrieval import train_towers

N_TASTES, N_ITEMS, N_USERS, N_FACTORS = 4, 80, 120, 2
OPTIONS = TowerOptions(hidden=16, batch_size=128, uniform_negatives=16, learning_rate=1e-2)


def planted(seed=5):
    """Examples in which taste t buys items whose text is t, all equally popular; nobody starts anywhere.

    The places of items are drawn at random, as zeros on both sides would have no gradient.
    """
    rng = np.random.default_rng(seed)
    text = np.eye(N_TASTES, dtype=np.float32)[np.arange(N_ITEMS) % N_TASTES]
    text += rng.normal(scale=0.1, size=text.shape).astype(np.float32)
    queries = np.eye(N_TASTES, dtype=np.float32)[np.arange(N_USERS) % N_TASTES]
    query = rng.integers(0, N_USERS, 24_000).astype(np.int32)
    # Of each taste's items the last is owned by everybody, and bought by nobody.
    item = (rng.integers(0, N_ITEMS // N_TASTES - 1, 24_000) * N_TASTES + query % N_TASTES).astype(np.int32)
    return Examples(
        queries=queries,
        query_tastes=np.zeros((N_USERS, 8), dtype=np.float32),
        query_factors=rng.normal(scale=0.01, size=(N_USERS, N_FACTORS)).astype(np.float32),
        owned=np.arange(N_USERS, dtype=np.int32) % 4 + 76,
        owned_from=np.arange(N_USERS + 1),
        text_vectors=text,
        item_tastes=rng.normal(scale=0.1, size=(N_ITEMS, 8)).astype(np.float32),
        item_numbers=rng.random((2, N_ITEMS, 3)).astype(np.float32),
        log_sales=np.ones((2, N_ITEMS, len(SALES)), dtype=np.float32),
        item_factors=rng.normal(size=(2, N_ITEMS, N_FACTORS)).astype(np.float32),
        fit=np.array([0, 1], dtype=np.int32),
        query=query,
        item=item,
        instant=rng.integers(0, 2, 24_000).astype(np.int32),
    )


@pytest.fixture(scope="module")
def towers():
    """Towers trained on the planted world."""
    return train_towers(planted(), [2], OPTIONS)[0]


def scores(towers, examples):
    """Inner products of all queries and items as the service would compute them: (n_users, n_items)."""
    inputs = np.concatenate([examples.text_vectors, examples.item_numbers[0]], axis=1)
    bodies = item_bodies(inputs, examples.item_tastes, towers)
    factors = towers["query_factors"] * examples.query_factors @ examples.item_factors[0].T
    taste = query_body(examples.queries, examples.query_tastes, towers) @ bodies.T
    return taste + sales_part(examples.log_sales[0], towers) + factors


def test_the_planted_taste_is_recovered(towers):
    """Nine of the ten best items of every user have the user's own taste."""
    examples = planted()
    top = np.argsort(-scores(towers, examples), axis=1)[:, :10]
    same = (top % N_TASTES) == (np.arange(N_USERS) % N_TASTES)[:, None]
    assert same.mean() > 0.9


def test_exported_arrays_equal_the_tensorflow_model():
    """NumPy's towers answer what the TensorFlow model answers, to float32 rounding."""
    import tensorflow as tf

    from training import retrieval

    rng = np.random.default_rng(0)
    examples = replace(planted(), query_tastes=rng.normal(size=(N_USERS, 8)).astype(np.float32))
    scaling = {
        "query_mean": rng.normal(size=N_TASTES).astype(np.float32),
        "query_scale": rng.random(N_TASTES).astype(np.float32),
        "item_mean": rng.normal(size=N_TASTES + 3).astype(np.float32),
        "item_scale": rng.random(N_TASTES + 3).astype(np.float32),
    }
    model = retrieval.two_tower_model(OPTIONS, 8)
    query, item = np.arange(30, dtype=np.int32), np.arange(50, dtype=np.int32)
    batch = {"query": query, "item": item, "instant": np.array(1, dtype=np.int32)}
    held = retrieval.held_examples(examples, scaling)
    batch = retrieval.gathered(held, {name: tf.constant(value) for name, value in batch.items()})
    model.query_vectors(batch), model.item_vectors(batch)
    for weights in model.trainable_variables:
        weights.assign(rng.normal(scale=0.3, size=weights.shape))
    expected = tf.matmul(model.query_vectors(batch), model.item_vectors(batch), transpose_b=True).numpy()
    at_one = replace(examples, item_numbers=examples.item_numbers[1:], item_factors=examples.item_factors[1:])
    actual = scores(retrieval.tower_arrays(model, scaling), at_one)[:30, :50]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_learning_starts_at_the_factorisations():
    """Before the first step the score is tastes, weighed sales and factors alone."""
    rng = np.random.default_rng(1)
    examples = replace(planted(), query_tastes=rng.normal(size=(N_USERS, 8)).astype(np.float32))
    towers = train_towers(examples, [2], replace(OPTIONS, learning_rate=0.0))[0]
    expected = examples.query_tastes @ examples.item_tastes.T + 0.14 + 0.19 + 0.13 + 0.13
    expected += 5.0 * examples.query_factors @ examples.item_factors[0].T
    np.testing.assert_allclose(scores(towers, examples), expected, rtol=1e-4, atol=1e-4)


def test_what_a_shopper_owns_is_no_negative():
    """The mask is true for every item but those in the shopper's past, repeated items included."""
    examples = planted()
    items = np.array([79, 3, 76, 79], dtype=np.int32)
    found = owned_among(examples, np.array([3, 0], dtype=np.int32), items)
    assert found.tolist() == [[True, False, False, True], [False, False, True, False]]


def test_a_batch_weighs_a_shopper_by_the_root_of_their_purchases():
    """Four purchases of one shopper weigh twice as much as one of another, and weights sum to 1."""
    examples = planted()
    rows = np.array([*np.flatnonzero(examples.query == 0)[:4], np.flatnonzero(examples.query == 1)[0]])
    (batch,) = week_batches(examples, rows, OPTIONS, np.random.default_rng(0))
    assert batch["weight"][batch["query"] == 0].sum() == pytest.approx(2 / 3)
    assert batch["weight"].sum() == pytest.approx(1.0)


def test_a_stage_knows_nothing_of_what_follows():
    """Other purchases after a stage's end leave the towers of that stage alone, and change later ones."""
    options = replace(OPTIONS, batch_size=512)
    examples = planted()
    late = examples.instant == 1
    other = np.where(late, (examples.item + 1) % N_ITEMS, examples.item).astype(np.int32)
    changed = replace(examples, item=other, query=np.where(late, 0, examples.query).astype(np.int32))
    first, second = (train_towers(each, [1, 2], options) for each in (examples, changed))
    np.testing.assert_allclose(scores(first[0], examples), scores(second[0], examples), rtol=1e-4, atol=1e-5)
    assert np.abs(scores(first[1], examples) - scores(second[1], examples)).max() > 1e-2


def test_training_twice_gives_the_same_towers():
    """One seed, one result."""
    options = replace(OPTIONS, batch_size=512)
    first, second = (train_towers(planted(), [1, 2], options) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        for name, array in one.items():
            np.testing.assert_allclose(array, other[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_no_purchases_is_an_error_with_a_remedy():
    """An empty training set does not train a random model."""
    examples = planted()
    empty = Examples(**{**vars(examples), "instant": examples.instant + 2})
    with pytest.raises(ValueError, match="No purchases to learn retrieval from"):
        train_towers(empty, [2])
