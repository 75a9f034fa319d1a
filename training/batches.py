"""Batches that retrieval learns from: one week's first purchases with items drawn beside them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.towers import SALES
from feature_repo.pair_features import Positions
from training.purchases import Examples


@dataclass(frozen=True)
class TowerOptions:
    """Chosen on cuts 39 and 43; at a learning rate of 1e-3 what is learnt forgets where it started."""

    dimensions: int = 92  # of the taste space; with the factors and sales an item has 160 numbers
    hidden: int = 256
    batch_size: int = 512
    uniform_negatives: int = 1024
    learning_rate: float = 1e-4
    seed: int = 7


def owned_among(examples: Examples, queries: Positions, items: Positions) -> NDArray[np.bool_]:
    """Whether each query's shopper owned each item by then: (n_queries, n_items)."""
    place = np.full(len(examples.text_vectors) + 1, -1, dtype=np.int64)  # the last: an item outside the world
    distinct, column_of = np.unique(items, return_inverse=True)
    place[distinct] = np.arange(len(distinct))
    found = np.zeros((len(queries), len(distinct)), dtype=bool)
    for row, query in enumerate(queries.tolist()):
        columns = place[examples.owned[examples.owned_from[query] : examples.owned_from[query + 1]]]
        found[row, columns[columns >= 0]] = True
    return found[:, column_of]


def week_batches(
    examples: Examples, rows: NDArray[np.intp], options: TowerOptions, rng: np.random.Generator
) -> Iterator[dict[str, NDArray[Any]]]:
    """One week in batches: `query` and `weight` (batch,), `item` and `probability` (batch + others,).

    The others are drawn from all items that sold within half a year; `probability` is that of being in the
    batch, `allowed` (batch, batch + others) leaves out what the shopper owns. A shopper with many purchases
    weighs by their root.
    """
    items, instant = examples.item[rows], int(examples.instant[rows[0]])
    share = np.bincount(items, minlength=len(examples.text_vectors)) / len(rows)
    sold = np.flatnonzero(examples.log_sales[instant, :, SALES.index("item_baskets_182d")] > 0)
    n_others = min(options.uniform_negatives, len(sold))
    order = rng.permutation(rows)
    sizes = np.bincount(examples.query[rows])
    for start in range(0, len(order), options.batch_size):
        batch = order[start : start + options.batch_size]
        query = examples.query[batch]
        item = np.concatenate([examples.item[batch], rng.choice(sold, n_others, replace=False)])
        probability = 1.0 - (1.0 - share[item]) ** len(batch) + n_others / max(len(sold), 1)
        weight = 1.0 / np.sqrt(sizes[query])
        yield {
            "query": query,
            "item": item.astype(np.int32),
            "instant": np.array(instant, dtype=np.int32),
            "probability": np.minimum(probability, 1.0).astype(np.float32),
            "allowed": ~owned_among(examples, query, item),
            "weight": (weight / weight.sum()).astype(np.float32),
        }
