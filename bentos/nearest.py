"""Nearest items in bounded time: an inverted file (faiss) over the items' side of the two towers.

A request reads PROBES lists of about LIST items each, those whose middles its query likes best, however
large the catalogue. The lists are k-means clusters in a space where a distance is how far apart the scores
of two items are for the panel's shoppers. Whoever asks scores anew what is found, so that codes may be
coarse: halves.

Made once from a release as it is loaded: with a million items of 157 numbers that takes 8 s of CPU, and the
lists 0.5 GB. Time grows with the square of the catalogue: of several million, training should keep them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.release import Release
from bentos.towers import item_side
from feature_repo.pair_features import Floats, Positions

LIST, PROBES = 2_048, 16
SAMPLE, ROUNDS, SEED = 32, 6, 7  # of k-means: items for each list, rounds over them
BLOCK = 65_536  # items that are put in at a time
STEP = 16  # faiss reads codes this many numbers at a time, and far slower where some are left over
RIDGE = 1e-3  # of the mean square of a query's numbers, for directions that no shopper of the panel has


@dataclass(frozen=True)
class Nearest:
    """The lists, and the map of a query into their space."""

    lists: Any  # faiss.IndexIVF
    of_query: Floats  # (n, n_stored)

    def items(self, query: Floats, n: int) -> Positions:
        """About the `n` items of the greatest inner product with a query (n,), in no order.

        They are fewer where the probed lists hold fewer.
        """
        found = self.lists.search((query @ self.of_query)[None], n)[1][0]
        return np.asarray(found[found >= 0], dtype=np.int32)


def nearest(release: Release) -> Nearest:
    """Lists of a release's items; ImportError without faiss.

    Made on one thread, so that every worker makes the same. One query is always answered on one.
    """
    import faiss
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        return _nearest(release, faiss)


def _nearest(release: Release, faiss: Any) -> Nearest:
    to_items, of_query = maps(moment(release))
    n_items, width = len(release.catalogue.item_ids), to_items.shape[1]
    n_lists = max(1, n_items // LIST)
    sample = np.random.default_rng(SEED).permutation(n_items)[: SAMPLE * n_lists]
    clusters = faiss.Kmeans(
        width, n_lists, niter=ROUNDS, seed=SEED, min_points_per_centroid=1, max_points_per_centroid=SAMPLE
    )
    clusters.train(item_side(release, np.sort(sample)) @ to_items)
    by_distance, by_product = faiss.IndexFlatL2(width), faiss.IndexFlatIP(width)
    lists = faiss.IndexIVFScalarQuantizer(
        by_distance, width, n_lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False
    )
    for middles in (by_distance, by_product):
        middles.add(clusters.centroids)
    lists.train(clusters.centroids)
    for items in blocks(n_items):
        lists.add(item_side(release, items) @ to_items)
    lists.quantizer, lists.nprobe = by_product, PROBES
    lists.referenced_objects = [by_product]  # Python's, which faiss does not keep
    return Nearest(lists, of_query)


def blocks(n_items: int) -> Iterator[Positions]:
    """All positions, BLOCK at a time."""
    for start in range(0, n_items, BLOCK):
        yield np.arange(start, min(start + BLOCK, n_items), dtype=np.int32)


def moment(release: Release) -> NDArray[np.float64]:
    """Second moment of queries, as far as a release knows them before they are asked: (n, n).

    Factors are the panel's, tastes point anywhere; both are of length one before they are weighed.
    """
    panel = release.arrays["panel_vectors"].astype(np.float64)
    n_taste = release.arrays["item_bodies"].shape[1]
    n_factors = panel.shape[1]
    found = np.zeros((n_factors + n_taste + 1,) * 2)
    weight = float(release.arrays["query_factors"]) ** 2 / max(len(panel), 1)
    found[:n_factors, :n_factors] = weight * panel.T @ panel
    tastes = np.arange(n_factors, n_factors + n_taste)
    found[tastes, tastes] = 1.0 / max(n_taste, 1)
    found[-1, -1] = 1.0
    return found


def maps(moment: NDArray[np.float64]) -> tuple[Floats, Floats]:
    """Maps of items and of queries, each (n, n_stored), that keep inner products.

    The squared distance of two mapped items is the mean square of what their scores differ by, for queries of
    that second moment.
    """
    n = len(moment)
    root = np.linalg.cholesky(moment + RIDGE * np.trace(moment) / n * np.eye(n))
    spare = ((0, 0), (0, -n % STEP))
    pair = np.pad(root, spare), np.pad(np.linalg.inv(root).T, spare)
    return pair[0].astype(np.float32), pair[1].astype(np.float32)
