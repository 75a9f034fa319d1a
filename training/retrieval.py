"""Retrieval: a TensorFlow Recommenders two-tower model over BERT vectors and the shopper's history.

In: examples (who, what, when) over point-in-time arrays. Out: the towers as plain arrays, which
`bentos.towers` answers with; TensorFlow stays here. In-batch sampled softmax with logQ correction
(Yi et al. 2019, "Sampling-bias-corrected neural modeling"), accidental hits removed, and a
popularity-prior dimension so that only what is personal has to be learnt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.towers import CLIP, standardised
from feature_repo.pair_features import Floats, Positions
from training.legacy_keras import import_tensorflow

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TowerOptions:
    """Chosen on cut 43; small batches are better and cheaper per example than large ones."""

    dimensions: int = 64
    hidden: int = 256
    batch_size: int = 512
    epochs: int = 1
    learning_rate: float = 1e-3
    identity_min_sales: int = 50  # fewer sales teach an item's own vector nothing
    seed: int = 7


@dataclass(frozen=True)
class Examples:
    """Purchases to learn from, as rows of constant matrices.

    `queries` (n_queries, n_query_in); `item_inputs` (n_world, n_text) is constant in time,
    `item_numbers` (n_instants, n_world, n_numbers) and `log_popularity` (n_instants, n_world) are not.
    `query`, `item`, `instant` (n_examples,) point into them.
    """

    queries: Floats
    text_vectors: Floats
    item_numbers: Floats
    log_popularity: Floats
    categories: Positions
    n_categories: int
    query: Positions
    item: Positions
    instant: Positions

    def __len__(self) -> int:
        return len(self.query)


def standardisation(matrix: Floats) -> tuple[Floats, Floats]:
    """Mean and inverse deviation of each column; a constant column is scaled by 1."""
    deviation = matrix.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > 1e-6, 1.0 / np.maximum(deviation, 1e-6), 1.0)
    return matrix.mean(axis=0, dtype=np.float64).astype(np.float32), scale.astype(np.float32)


def scaling_of(examples: Examples, rows: NDArray[np.intp]) -> Arrays:
    """How both towers' inputs are standardised, from some of the examples.

    Numbers of items are taken over purchases, so that popular items count.
    """
    query = standardisation(examples.queries[np.unique(examples.query[rows])])
    text = standardisation(examples.text_vectors[np.unique(examples.item[rows])])
    numbers = standardisation(examples.item_numbers[examples.instant[rows], examples.item[rows]])
    return {
        "query_mean": query[0],
        "query_scale": query[1],
        "item_mean": np.concatenate([text[0], numbers[0]]),
        "item_scale": np.concatenate([text[1], numbers[1]]),
    }


def identity_of(items: Positions, n_items: int, min_sales: int) -> Positions:
    """Row of each item's own vector: 0, which stays zero, for items with fewer sales: (n_items,)."""
    enough = np.bincount(items, minlength=n_items) >= min_sales
    return np.where(enough, np.cumsum(enough), 0).astype(np.int32)


def held_examples(examples: Examples, scaling: Mapping[str, Floats]) -> dict[str, Any]:
    """The examples' matrices as TensorFlow constants, queries standardised."""
    import tensorflow as tf

    constants = {
        "queries": standardised(examples.queries, scaling["query_mean"], scaling["query_scale"]),
        "text": examples.text_vectors,
        "numbers": examples.item_numbers,
        "prior": examples.log_popularity,
        "categories": examples.categories,
        "query": examples.query,
        "item": examples.item,
        "instant": examples.instant,
        "item_mean": scaling["item_mean"],
        "item_scale": scaling["item_scale"],
    }
    return {name: tf.constant(value) for name, value in constants.items()}


def batch_of(
    held: Mapping[str, Any], identity: Positions, probability: NDArray[np.float64]
) -> Callable[[Any], Any]:
    """A TensorFlow function from example numbers (batch,) to the towers' inputs.

    `held` is what `held_examples` made; `identity` and `probability` (of being in a batch) are (n_items,).
    """
    import tensorflow as tf

    own = {"identity": tf.constant(identity), "probability": tf.constant(probability, dtype=tf.float32)}

    def gather(rows: Any) -> dict[str, Any]:
        item, instant = tf.gather(held["item"], rows), tf.gather(held["instant"], rows)
        when = tf.stack([instant, item], axis=1)
        inputs = tf.concat([tf.gather(held["text"], item), tf.gather_nd(held["numbers"], when)], axis=1)
        return {
            "query": tf.gather(held["queries"], tf.gather(held["query"], rows)),
            "item": tf.clip_by_value((inputs - held["item_mean"]) * held["item_scale"], -CLIP, CLIP),
            "prior": tf.gather_nd(held["prior"], when),
            "category": tf.gather(held["categories"], item),
            "identity": tf.gather(own["identity"], item),
            "probability": tf.gather(own["probability"], item),
            "item_id": item,
        }

    return gather


def two_tower_model(options: TowerOptions, n_identities: int, n_categories: int) -> Any:
    """The TFRS model; its layers are exported by `tower_arrays`."""
    import tensorflow as tf
    import tensorflow_recommenders as tfrs
    import tf_keras as keras

    class TwoTower(tfrs.Model):  # type: ignore[misc]  # TFRS ships no types
        """Query and item towers, meeting in one inner product."""

        def __init__(self) -> None:
            super().__init__()
            self.layers_of = {
                tower: (
                    keras.layers.Dense(options.hidden, "relu", name=f"{tower}_1"),
                    keras.layers.Dense(options.dimensions, name=f"{tower}_2"),
                )
                for tower in ("query", "item")
            }
            start = keras.initializers.RandomNormal(stddev=0.01, seed=options.seed)
            self.identity = keras.layers.Embedding(n_identities, options.dimensions, start)
            self.category = keras.layers.Embedding(n_categories, options.dimensions, start)
            self.prior_scale = tf.Variable(1.0, name="prior_scale")
            self.task = tfrs.tasks.Retrieval(remove_accidental_hits=True)

        def tower(self, name: str, inputs: Any) -> Any:
            first, second = self.layers_of[name]
            return second(first(inputs))

        def query_vectors(self, batch: Any) -> Any:
            body = self.tower("query", batch["query"])
            return tf.concat([body, tf.ones_like(body[:, :1])], axis=1)

        def item_vectors(self, batch: Any) -> Any:
            own = tf.cast(batch["identity"] > 0, tf.float32)[:, None] * self.identity(batch["identity"])
            body = self.tower("item", batch["item"]) + own + self.category(batch["category"])
            return tf.concat([body, self.prior_scale * batch["prior"][:, None]], axis=1)

        def compute_loss(self, batch: Any, training: bool = False) -> Any:  # noqa: ARG002 - TFRS signature
            loss = self.task(
                self.query_vectors(batch),
                self.item_vectors(batch),
                candidate_sampling_probability=batch["probability"],
                candidate_ids=batch["item_id"],
                compute_metrics=False,
            )
            # The task sums over the batch; per example the step does not depend on the batch size.
            return loss / tf.cast(tf.shape(batch["item_id"])[0], tf.float32)

    return TwoTower()


def tower_arrays(model: Any, identity: Positions, scaling: Mapping[str, Floats]) -> Arrays:
    """The trained model as arrays, by the names that `bentos.towers` reads."""
    arrays: Arrays = dict(scaling)
    for tower, layers in model.layers_of.items():
        for place, layer in enumerate(layers, start=1):
            arrays[f"{tower}_kernel_{place}"], arrays[f"{tower}_bias_{place}"] = layer.get_weights()
    own = model.identity.get_weights()[0].copy()
    own[0] = 0.0
    arrays["item_identity"] = own
    arrays["item_identity_of"] = identity
    arrays["category_vectors"] = model.category.get_weights()[0]
    arrays["prior_scale"] = np.array(model.prior_scale.numpy(), dtype=np.float32)
    return arrays


def shuffled(rows: NDArray[np.intp], gather: Callable[[Any], Any], options: TowerOptions) -> Any:
    """A dataset of what `gather` makes of batches of `rows`, in another order each time."""
    import tensorflow as tf

    order = tf.data.Dataset.from_tensor_slices(rows).shuffle(len(rows), seed=options.seed)
    return order.batch(options.batch_size).map(gather).prefetch(2)


def mean_loss_of_fit(model: Any, batches: Any, epochs: int) -> float:
    """Train on `batches`; the mean loss over them (Keras itself would report the last one's)."""
    import tf_keras as keras

    losses: list[float] = []
    kept = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: losses.append(logs["loss"]))
    model.fit(batches, epochs=epochs, verbose=0, callbacks=[kept])
    return float(np.mean(losses))


def train_towers(
    examples: Examples,
    stages: Sequence[int],
    options: TowerOptions | None = None,
    report: Callable[[str], None] = lambda line: None,  # noqa: ARG005
) -> list[Arrays]:
    """Train in the order of time; the towers as they stood after each stage, as arrays.

    `stages` are numbers of instants, rising: stage k learns from the examples whose `instant` is below
    stages[k] and was not yet in a stage before. So what a later moment is scored with knows all that is
    before it and nothing after: a retrieval model that ends months before the ranker's windows is worse than
    popularity. `report` receives one line per stage. Raises ValueError for a stage without examples.
    """
    import_tensorflow()
    import tf_keras as keras

    options = options or TowerOptions()
    learnt = [np.flatnonzero(examples.instant < stage) for stage in stages]
    if not len(learnt[0]):
        raise ValueError("No purchases to learn retrieval from; choose a later cut or ingest more weeks")
    keras.utils.set_random_seed(options.seed)
    scaling = scaling_of(examples, learnt[0])
    held, n_items = held_examples(examples, scaling), len(examples.text_vectors)
    identities = identity_of(examples.item[learnt[-1]], n_items, options.identity_min_sales)
    model = two_tower_model(options, int(identities.max()) + 1, examples.n_categories)
    model.compile(optimizer=keras.optimizers.legacy.Adam(options.learning_rate))
    found = []
    for number, known in enumerate(learnt):
        new = np.setdiff1d(known, learnt[number - 1]) if number else known
        # Which items have a vector of their own is known by now, not by the last stage.
        enough = identity_of(examples.item[known], n_items, options.identity_min_sales) > 0
        identity = np.where(enough, identities, 0).astype(np.int32)
        counts = np.bincount(examples.item[new], minlength=n_items)
        batches = shuffled(new, batch_of(held, identity, counts / len(new)), options)
        loss = mean_loss_of_fit(model, batches, options.epochs)
        report(f"two-tower stage {number + 1}/{len(stages)}: {len(new):,} purchases, loss {loss:.3f}")
        found.append(tower_arrays(model, identity, scaling))
    return found
