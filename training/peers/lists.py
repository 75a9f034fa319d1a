"""Ranked lists of the peers for the shoppers of a test: whole catalogue, ties by position.

In: purchases before the cut and the shoppers' rows. Out: (n_shoppers, depth) catalogue positions, -1 where a
list is shorter. `discover` leaves out what the shopper ever bought.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bentos.index import best
from training.peers import als, ease, item_knn, tifu_knn
from training.peers.purchases import Floats, Purchases, Rows

BLOCK = 256  # shoppers whose scores are held at a time: 50 MB of 48,800 items


class Scorer(Protocol):
    """A fitted peer."""

    def scores(self, rows: Rows) -> Floats:
        """Scores of the whole catalogue for some users, higher is better: (n, n_items)."""


Fit = Callable[[Purchases, str], Scorer]

PEERS: Mapping[str, Fit] = MappingProxyType(
    {
        "item_knn": lambda purchases, task: item_knn.fit(purchases, item_knn.OPTIONS[task]),
        "ease": lambda purchases, task: ease.fit(purchases, ease.OPTIONS[task]),
        "als": lambda purchases, task: als.fit(purchases, als.OPTIONS[task]),
        "tifu_knn": lambda purchases, task: tifu_knn.fit(purchases, tifu_knn.OPTIONS[task]),
    }
)
TASKS = tuple(ease.OPTIONS)  # every peer has options for each


def ranked(model: Scorer, purchases: Purchases, rows: Rows, task: str, *, depth: int) -> NDArray[np.int32]:
    """A fitted peer's lists of some users: (n, depth)."""
    lists = np.full((len(rows), depth), -1, dtype=np.int32)
    for start in range(0, len(rows), BLOCK):
        chosen = rows[start : start + BLOCK]
        for place, scores in enumerate(_masked(model.scores(chosen), purchases, chosen, task), start):
            items = best(scores, depth)
            lists[place, : len(items)] = items
    return lists


def _masked(scores: Floats, purchases: Purchases, rows: Rows, task: str) -> Iterator[Floats]:
    """Each user's scores, -inf for what the task leaves out."""
    for row, mine in zip(rows, scores, strict=True):
        if task == "discover":
            mine[purchases.binary[[row]].indices] = -np.inf
        yield mine


def peer_lists(
    purchases: Purchases, user_ids: list[str], task: str, *, depth: int
) -> Iterator[tuple[str, NDArray[np.int32]]]:
    """(name, lists) of every peer, each fitted when its turn comes and forgotten after it."""
    rows = purchases.rows_of(user_ids)
    for name, fit in PEERS.items():
        yield name, ranked(fit(purchases, task), purchases, rows, task, depth=depth)
