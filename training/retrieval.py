"""Retrieval: a TensorFlow Recommenders two-tower model that starts at two factorisations of the history.

In: first purchases (who, what, when) over point-in-time arrays. Out: the towers as plain arrays, which
`bentos.towers` answers with; TensorFlow stays here. Both towers begin in the taste space and the co-purchase
factors and learn how to map, move and weigh them. Sampled softmax over in-batch and uniform negatives (Yang
et al. 2020, "Mixed negative sampling for learning two-tower neural networks") with logQ correction (Yi et al.
2019, "Sampling-bias-corrected neural modeling"); what the shopper owns is no negative, as it is no answer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.towers import CLIP, standardised
from feature_repo.pair_features import Floats
from training.batches import TowerOptions, week_batches
from training.legacy_keras import import_tensorflow
from training.purchases import Examples

Arrays = dict[str, NDArray[Any]]
SALES_WEIGHTS = (0.14, 0.19, 0.13, 0.13)  # where learning starts: about the pool's weights
FACTORS_WEIGHT = 5.0


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


def held_examples(examples: Examples, scaling: Mapping[str, Floats]) -> dict[str, Any]:
    """The examples' matrices as TensorFlow constants, queries standardised."""
    import tensorflow as tf

    constants = {
        "queries": standardised(examples.queries, scaling["query_mean"], scaling["query_scale"]),
        "query_tastes": examples.query_tastes,
        "query_factors": examples.query_factors,
        "text": examples.text_vectors,
        "item_tastes": examples.item_tastes,
        "numbers": examples.item_numbers,
        "sales": examples.log_sales,
        "item_factors": examples.item_factors,
        "fit": examples.fit,
        "item_mean": scaling["item_mean"],
        "item_scale": scaling["item_scale"],
    }
    return {name: tf.constant(value) for name, value in constants.items()}


def gathered(held: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Any]:
    """The towers' inputs of one batch: those of its queries, and of its items as of its instant."""
    import tensorflow as tf

    item, instant = batch["item"], batch["instant"]
    numbers = tf.gather(held["numbers"][instant], item)
    inputs = tf.concat([tf.gather(held["text"], item), numbers], axis=1)
    return {
        **batch,
        "queries": tf.gather(held["queries"], batch["query"]),
        "query_tastes": tf.gather(held["query_tastes"], batch["query"]),
        "query_factors": tf.gather(held["query_factors"], batch["query"]),
        "items": tf.clip_by_value((inputs - held["item_mean"]) * held["item_scale"], -CLIP, CLIP),
        "item_tastes": tf.gather(held["item_tastes"], item),
        "sales": tf.gather(held["sales"][instant], item),
        "item_factors": tf.gather_nd(
            held["item_factors"], tf.stack([tf.fill(tf.shape(item), held["fit"][instant]), item], axis=1)
        ),
    }


def two_tower_model(options: TowerOptions, n_taste: int) -> Any:
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
                    # Zero: before the first step a tower is what the factorisations say.
                    keras.layers.Dense(n_taste, kernel_initializer="zeros", name=f"{tower}_2"),
                )
                for tower in ("query", "item")
            }
            self.map = keras.layers.Dense(n_taste, use_bias=False, kernel_initializer="identity")
            self.sales = tf.Variable(SALES_WEIGHTS, name="sales")
            self.factors = tf.Variable(FACTORS_WEIGHT, name="factors")
            self.task = tfrs.tasks.Retrieval(remove_accidental_hits=True)

        def tower(self, name: str, inputs: Any) -> Any:
            first, second = self.layers_of[name]
            return second(first(inputs))

        def query_vectors(self, batch: Any) -> Any:
            body = self.map(batch["query_tastes"]) + self.tower("query", batch["queries"])
            sales = tf.ones_like(body[:, :1]) * self.sales
            return tf.concat([body, sales, self.factors * batch["query_factors"]], axis=1)

        def item_vectors(self, batch: Any) -> Any:
            body = batch["item_tastes"] + self.tower("item", batch["items"])
            return tf.concat([body, batch["sales"], batch["item_factors"]], axis=1)

        def compute_loss(self, batch: Any, training: bool = False) -> Any:  # noqa: ARG002 - TFRS signature
            return self.task(
                self.query_vectors(batch),
                self.item_vectors(batch),
                sample_weight=batch["weight"],
                candidate_sampling_probability=batch["probability"],
                candidate_ids=batch["item"],
                score_mask=batch["allowed"],
                compute_metrics=False,
            )

    return TwoTower()


def tower_arrays(model: Any, scaling: Mapping[str, Floats]) -> Arrays:
    """The trained model as arrays, by the names that `bentos.towers` reads."""
    arrays: Arrays = dict(scaling)
    for tower, layers in model.layers_of.items():
        for place, layer in enumerate(layers, start=1):
            arrays[f"{tower}_kernel_{place}"], arrays[f"{tower}_bias_{place}"] = layer.get_weights()
    (arrays["query_map"],) = model.map.get_weights()
    arrays["query_sales"] = model.sales.numpy()
    arrays["query_factors"] = np.array(model.factors.numpy(), dtype=np.float32)
    return arrays


def training_step(
    model: Any, held: Mapping[str, Any], options: TowerOptions
) -> Callable[[Mapping[str, NDArray[Any]]], float]:
    """A function that learns from one batch of `week_batches` and gives its loss before."""
    import tensorflow as tf
    import tf_keras as keras

    model.optimizer = keras.optimizers.legacy.Adam(options.learning_rate)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def learn(batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(gathered(held, batch))
        variables = model.trainable_variables
        model.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return lambda batch: float(learn({name: tf.constant(value) for name, value in batch.items()}))


def begun_at(model: Any, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Give a model the weights that `tower_arrays` exported, and no other."""
    for tower, layers in model.layers_of.items():
        for place, layer in enumerate(layers, start=1):
            kernel = arrays[f"{tower}_kernel_{place}"]
            layer.build((None, kernel.shape[0]))
            layer.set_weights([kernel, arrays[f"{tower}_bias_{place}"]])
    model.map.build((None, arrays["query_map"].shape[0]))
    model.map.set_weights([arrays["query_map"]])
    model.sales.assign(arrays["query_sales"])
    model.factors.assign(float(arrays["query_factors"]))


def scaling_in(arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """How inputs are standardised, of exported towers."""
    return {
        f"{side}_{what}": arrays[f"{side}_{what}"] for side in ("query", "item") for what in ("mean", "scale")
    }


def train_towers(
    examples: Examples,
    stages: Sequence[int],
    options: TowerOptions | None = None,
    report: Callable[[str], None] = lambda line: None,  # noqa: ARG005
    *,
    start: Mapping[str, NDArray[Any]] | None = None,
) -> list[Arrays]:
    """Train in the order of time; the towers as they stood after each stage, as arrays.

    `stages` are numbers of instants, rising: stage k learns from the examples whose `instant` is below
    stages[k] and was not yet in a stage before. So what a later moment is scored with knows all that is
    before it and nothing after: a retrieval model that ends months before the ranker's windows is worse than
    popularity. `report` receives one line per stage. With `start`, exported towers, learning goes on from
    these, with their scaling and a fresh optimiser. Raises ValueError for a stage without examples.
    """
    import_tensorflow()
    import tf_keras as keras

    options = options or TowerOptions()
    first = np.flatnonzero(examples.instant < stages[0])
    if not len(first):
        raise ValueError("No purchases to learn retrieval from; choose a later cut or ingest more weeks")
    keras.utils.set_random_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    scaling = scaling_of(examples, first) if start is None else scaling_in(start)
    model = two_tower_model(options, examples.item_tastes.shape[1])
    if start is not None:
        begun_at(model, start)
    step = training_step(model, held_examples(examples, scaling), options)
    found = []
    for number, (begin, end) in enumerate(zip([0, *stages], stages, strict=False)):
        losses, n_learnt = [], 0
        for week in range(begin, end):
            rows = np.flatnonzero(examples.instant == week)
            n_learnt += len(rows)
            if len(rows):
                losses += [step(batch) for batch in week_batches(examples, rows, options, rng)]
        mean = float(np.mean(losses)) if losses else float("nan")
        report(f"two-tower stage {number + 1}/{len(stages)}: {n_learnt:,} purchases, loss {mean:.3f}")
        found.append(tower_arrays(model, scaling))
    return found
