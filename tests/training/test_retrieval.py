"""The two-tower model on a planted world: users of one taste buy items of one text."""

from dataclasses import replace

import numpy as np
import pytest

from bentos.towers import hidden, item_vectors, standardised
from training.retrieval import Examples, TowerOptions, identity_of, train_towers

N_TASTES, N_ITEMS, N_USERS = 4, 80, 120
OPTIONS = TowerOptions(dimensions=8, hidden=16, batch_size=128, epochs=12, learning_rate=1e-2)


def planted(seed=5):
    """Examples in which taste t buys items whose text is t, all equally popular."""
    rng = np.random.default_rng(seed)
    text = np.eye(N_TASTES, dtype=np.float32)[np.arange(N_ITEMS) % N_TASTES]
    text += rng.normal(scale=0.1, size=text.shape).astype(np.float32)
    queries = np.eye(N_TASTES, dtype=np.float32)[np.arange(N_USERS) % N_TASTES]
    query = rng.integers(0, N_USERS, 6_000).astype(np.int32)
    item = (rng.integers(0, N_ITEMS // N_TASTES, 6_000) * N_TASTES + query % N_TASTES).astype(np.int32)
    return Examples(
        queries=queries,
        text_vectors=text,
        item_numbers=rng.random((2, N_ITEMS, 3)).astype(np.float32),
        log_popularity=np.ones((2, N_ITEMS), dtype=np.float32),
        categories=np.zeros(N_ITEMS, dtype=np.int32),
        n_categories=1,
        query=query,
        item=item,
        instant=rng.integers(0, 2, 6_000).astype(np.int32),
    )


@pytest.fixture(scope="module")
def towers():
    """Towers trained on the planted world."""
    return train_towers(planted(), [2], OPTIONS)[0]


def scores(towers, examples):
    """Inner products of all queries and items as the service would compute them: (n_users, n_items)."""
    query = hidden(
        standardised(examples.queries, towers["query_mean"], towers["query_scale"]), towers, "query"
    )
    inputs = np.concatenate([examples.text_vectors, examples.item_numbers[0]], axis=1)
    identity = towers["item_identity"][towers["item_identity_of"]]
    identity = identity + towers["category_vectors"][examples.categories]
    items = item_vectors(inputs, identity, examples.log_popularity[0], towers)
    return np.concatenate([query, np.ones((len(query), 1), np.float32)], axis=1) @ items.T


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

    examples = planted()
    rng = np.random.default_rng(0)
    scaling = {
        "query_mean": rng.normal(size=N_TASTES).astype(np.float32),
        "query_scale": rng.random(N_TASTES).astype(np.float32),
        "item_mean": rng.normal(size=N_TASTES + 3).astype(np.float32),
        "item_scale": rng.random(N_TASTES + 3).astype(np.float32),
    }
    identity = identity_of(examples.item, N_ITEMS, 60)
    model = retrieval.two_tower_model(OPTIONS, int(identity.max()) + 1, 1)
    held = retrieval.held_examples(examples, scaling)
    batch = retrieval.batch_of(held, identity, np.ones(N_ITEMS))(tf.range(64, dtype=tf.int64))
    expected = tf.reduce_sum(model.query_vectors(batch) * model.item_vectors(batch), axis=1).numpy()
    arrays = retrieval.tower_arrays(model, identity, scaling)
    queries = examples.queries[examples.query[:64]]
    query = hidden(standardised(queries, arrays["query_mean"], arrays["query_scale"]), arrays, "query")
    item, instant = examples.item[:64], examples.instant[:64]
    items = item_vectors(
        np.concatenate([examples.text_vectors[item], examples.item_numbers[instant, item]], axis=1),
        arrays["item_identity"][identity[item]] + arrays["category_vectors"][examples.categories[item]],
        examples.log_popularity[instant, item],
        arrays,
    )
    actual = (np.concatenate([query, np.ones((64, 1), np.float32)], axis=1) * items).sum(axis=1)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_items_with_few_sales_have_no_vector_of_their_own(towers):
    """They are placed by text and numbers alone: their row of identities is zero."""
    identity = identity_of(np.array([0, 0, 0, 1], dtype=np.int32), 3, 2)
    assert identity.tolist() == [1, 0, 0]
    assert not towers["item_identity"][0].any()


def test_a_stage_knows_nothing_of_what_follows():
    """Other purchases after a stage's end leave the towers of that stage alone, and change later ones."""
    options = TowerOptions(dimensions=4, hidden=8, batch_size=512, epochs=1, identity_min_sales=40)
    examples = planted()
    late = examples.instant == 1
    other = np.where(late, (examples.item + 1) % N_ITEMS, examples.item).astype(np.int32)
    changed = replace(examples, item=other, query=np.where(late, 0, examples.query).astype(np.int32))
    first, second = (train_towers(each, [1, 2], options) for each in (examples, changed))
    by_place = first[0]["item_identity_of"] > 0, second[0]["item_identity_of"] > 0
    np.testing.assert_array_equal(*by_place)
    examples = replace(examples, item_numbers=examples.item_numbers[:1])
    np.testing.assert_allclose(scores(first[0], examples), scores(second[0], examples), rtol=1e-4, atol=1e-5)
    assert np.abs(scores(first[1], examples) - scores(second[1], examples)).max() > 1e-2


def test_training_twice_gives_the_same_towers():
    """One seed, one result."""
    options = TowerOptions(dimensions=4, hidden=8, batch_size=512, epochs=1)
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
