"""How good a ranking is: one value per user, so that every mean can come with an interval.

In: `ranked` (n_users, K), item numbers best first, -1 = empty slot; and `Truth`, what each user really
bought. Out: arrays (n_users,); the caller takes the mean (`values.mean()`) and `bootstrap_interval` says how
far other users could have moved it. Pure NumPy.

    >>> truth = Truth.from_pairs(4, users=[0, 0, 1, 2, 3, 3], items=[7, 8, 7, 5, 1, -1])
    >>> ranked = np.array([[7, 8],     # user 0 gets both of the bought items
    ...                    [5, 7],     # user 1 gets the only one, second
    ...                    [1, 2],     # user 2 gets nothing that was bought
    ...                    [1, -1]])   # user 3 bought item 1 and one that no model could have named
    >>> Metric("recall", 2).calc_per_user(ranked, truth)
    array([1. , 1. , 0. , 0.5])
    >>> Metric("hit", 1).calc_per_user(ranked, truth)
    array([1., 0., 0., 1.])
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

CUTOFFS = (10, 20, 50, 100, 500)
OUTSIDE = -1  # a bought item that is not in the catalogue: nothing can hit it, yet it counts as bought

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """What each user bought: user u bought `items[indptr[u]:indptr[u + 1]]`, each item once.

    An item outside the catalogue is `OUTSIDE` (-1), once for every such item. `weights` are what an item is
    worth (money paid for it), in the same order. Every user must have bought something.
    """

    indptr: Ints
    items: Ints
    weights: Floats

    def __post_init__(self) -> None:
        if len(self.items) != len(self.weights) or self.indptr[-1] != len(self.items):
            shapes = f"{self.indptr[-1]} by indptr, {len(self.items)} items, {len(self.weights)} weights"
            raise ValueError(f"Truth differs in length: {shapes}")
        if len(idle := np.flatnonzero(self.sizes == 0)):
            raise ValueError(f"{len(idle)} users without truth, first in row {idle[0]}; leave them out")
        inside = self._keys[0]
        if len(twice := np.flatnonzero(np.diff(inside) == 0)):
            user, item = divmod(int(inside[twice[0]]), self._base)
            raise ValueError(f"Truth has item {item} twice for the user in row {user}; sum its lines first")

    @classmethod
    def from_pairs(
        cls, n_users: int, *, users: ArrayLike, items: ArrayLike, weights: ArrayLike | None = None
    ) -> "Truth":
        """Truth of (user row, item) pairs in any order; every weight is 1 where none is given."""
        rows, columns = np.asarray(users, np.int64), np.asarray(items, np.int64)
        worth = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
        order = np.argsort(rows, kind="stable")
        indptr = np.concatenate([[0], np.bincount(rows, minlength=n_users).cumsum()])
        return cls(indptr, columns[order], worth[order])

    @property
    def sizes(self) -> Ints:
        """Number of items that each user bought, in the catalogue or not."""
        return np.diff(self.indptr)

    @property
    def total_weights(self) -> Floats:
        """Summed weight of what each user bought."""
        return np.asarray(np.add.reduceat(self.weights, self.indptr[:-1]))

    @property
    def _base(self) -> int:
        return int(self.items.max(initial=0)) + 1

    @cached_property
    def _keys(self) -> tuple[Ints, Floats]:
        # Sorted user * base + item of the items inside, and their weights.
        users = np.repeat(np.arange(len(self.sizes)), self.sizes)
        inside = self.items >= 0
        keys = users[inside] * self._base + self.items[inside]
        order = np.argsort(keys)
        return keys[order], self.weights[inside][order]

    def match(self, ranked: Ints) -> tuple[NDArray[np.bool_], Floats]:
        """Which slots of `ranked` (n_users, K) hold a bought item, and the weights found there."""
        if len(ranked) != len(self.sizes):
            raise ValueError(f"{len(ranked)} rankings for {len(self.sizes)} users of the truth")
        keys, weights = self._keys
        if not len(keys):  # all that was bought lies outside the catalogue
            return np.zeros(ranked.shape, bool), np.zeros(ranked.shape)
        wanted = np.arange(len(ranked))[:, None] * self._base + ranked
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        hits = (keys[found] == wanted) & (ranked >= 0) & (ranked < self._base)
        return hits, np.where(hits, weights[found], 0.0)


@dataclass(frozen=True)
class Matched:
    """Rankings laid against the truth: what all formulas read."""

    hits: NDArray[np.bool_]  # (n_users, K)
    weights: Floats  # (n_users, K), 0 where there is no hit
    truth: Truth

    @classmethod
    def of(cls, ranked: Ints, truth: Truth) -> "Matched":
        """Match `ranked` with `truth`; an item that stands twice in a row is refused."""
        ordered = np.sort(ranked, axis=1)
        repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
        if repeated.any():
            row, slot = np.argwhere(repeated)[0]
            raise ValueError(f"The ranking in row {row} has item {ordered[row, slot]} twice")
        hits, weights = truth.match(ranked)
        return cls(hits, weights, truth)


def recall(matched: Matched, k: int) -> Floats:
    """Recall@k = |top k ∩ T| / |T|, with T all that the user bought, also outside the catalogue.

    As in trec_eval; libraries that divide by min(k, |T|) give more to who bought more than k items.
    """
    return np.asarray(matched.hits[:, :k].sum(axis=1) / matched.truth.sizes)


def hit(matched: Matched, k: int) -> Floats:
    """Hit@k = 1 if any of the top k was bought, else 0."""
    return np.asarray(matched.hits[:, :k].any(axis=1), np.float64)


def ndcg(matched: Matched, k: int) -> Floats:
    """NDCG@k = DCG / IDCG; DCG sums 1 / log2(rank + 1) over the hits in the top k (ranks from 1).

    IDCG is the DCG of a ranking whose first min(k, |T|) slots are all hits. A gain is 0 or 1, bought or not:
    the same under trec_eval's gain, the grade, and that of others, 2 ** grade - 1.
    """
    gains = 1 / np.log2(np.arange(2, k + 2))
    dcg = matched.hits[:, :k] @ gains[: matched.hits.shape[1]]
    ideal = gains.cumsum()[np.minimum(matched.truth.sizes, k) - 1]
    return np.asarray(dcg / ideal)


def average_precision(matched: Matched, k: int) -> Floats:
    """AP@k = Σ P(r) over the hits in the top k / min(k, |T|), with P(r) the share of hits in the first r.

    Its mean over users is MAP@k. 1 is the value of a ranking whose first min(k, |T|) slots are all hits, as
    in NDCG; trec_eval divides by |T|, which no short list can reach.
    """
    hits = matched.hits[:, :k]
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    return np.asarray((precision * hits).sum(axis=1) / np.minimum(matched.truth.sizes, k))


def revenue_recall(matched: Matched, k: int) -> Floats:
    """Revenue recall@k = Σ w(top k ∩ T) / Σ w(T), with w what was paid; 0 for who paid nothing."""
    found, total = matched.weights[:, :k].sum(axis=1), matched.truth.total_weights
    return np.asarray(np.divide(found, total, out=np.zeros(len(total)), where=total > 0))


FORMULAS: dict[str, Callable[[Matched, int], Floats]] = {
    "recall": recall,
    "ndcg": ndcg,
    "map": average_precision,
    "hit": hit,
    "revenue_recall": revenue_recall,
}


@dataclass(frozen=True)
class Metric:
    """A formula at a cutoff; `label` is its name in records ("recall@10")."""

    name: str
    k: int

    def __post_init__(self) -> None:
        if self.name not in FORMULAS or self.k < 1:
            raise ValueError(f"No metric {self.name!r} at {self.k}; use {', '.join(FORMULAS)} at 1 or more")

    @property
    def label(self) -> str:
        """Name with the cutoff."""
        return f"{self.name}@{self.k}"

    def calc_per_user(self, ranked: Ints, truth: Truth) -> Floats:
        """Value of each user (n_users,)."""
        return FORMULAS[self.name](Matched.of(ranked[:, : self.k], truth), self.k)


METRICS = tuple(Metric(name, k) for name in FORMULAS for k in CUTOFFS)


def calc_per_user(ranked: Ints, truth: Truth, metrics: Sequence[Metric] = METRICS) -> dict[str, Floats]:
    """Values (n_users,) of many metrics by label; rankings and truth are matched once."""
    matched = Matched.of(ranked, truth)
    return {metric.label: FORMULAS[metric.name](matched, metric.k) for metric in metrics}


def coverage(ranked: Ints, k: int, n_items: int) -> float:
    """Coverage@k = share of the catalogue's `n_items` that stands in some user's top k.

    >>> coverage(np.array([[0, 1], [0, 2], [0, 1], [0, -1]]), k=2, n_items=6)  # items 0, 1, 2
    0.5
    """
    shown = np.unique(ranked[:, :k])
    return int((shown >= 0).sum()) / n_items


def self_information(buyers: ArrayLike, n_users: int) -> Floats:
    """-log2 of the share of `n_users` who bought each item, in bits: (n_items,) of counts (n_items,).

    As Zhou et al. (PNAS 2010) take an item's surprise from its degree. An item without buyers has no finite
    value; it counts as one with a single buyer.
    """
    return np.asarray(np.log2(n_users / np.maximum(np.asarray(buyers, np.float64), 1.0)))


def novelty(ranked: Ints, k: int, information: Floats) -> Floats:
    """Novelty@k = mean self-information of the items in the top k, in bits (Vargas, Castells, RecSys 2011).

    Without their discounts by rank and relevance. Empty slots do not count; nan for who is shown nothing.

    >>> bits = self_information([8, 4, 1, 0], n_users=8)  # bought by all, by half, by one, by nobody
    >>> novelty(np.array([[0, 1], [1, 2], [2, 3], [0, -1]]), 2, bits)
    array([0.5, 2. , 3. , 0. ])
    """
    shown = ranked[:, :k] >= 0
    bits = np.where(shown, information[ranked[:, :k]], 0.0).sum(axis=1)
    return mean_of_known(bits, shown.sum(axis=1))


def mean_of_known(sums: ArrayLike, counts: Ints) -> Floats:
    """Mean of each user; nan where there is nothing to average, so that the user is left out, not 0."""
    means = np.full(len(counts), np.nan)
    np.divide(np.asarray(sums, np.float64), counts, out=means, where=counts > 0)
    return means
