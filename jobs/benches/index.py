"""Candidates of a large catalogue: looking at a bounded number of items beside looking at all.

In: the current release, its online store, and the same release grown to more items (`grown`). Both views draw
for the same shoppers in turn, on one thread, so that a busy machine slows them alike. Out: CPU time of a draw
by size of the catalogue, how much of the exact draw the bounded one holds, and what making the index takes.

    endcap bench --only index
"""

import gc
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bentos.blas import use_one_blas_thread
from bentos.candidates import SOURCES, TASKS, Candidates, draw, opinions
from bentos.current_release import open_current
from bentos.online_features import OnlineFeatures
from bentos.release import Release, clock
from bentos.shopper import Shopper, shopper
from bentos.shortlist import Whole, bounded
from bentos.towers import item_side
from feature_repo.settings import Settings
from jobs.benches.grown import grown
from jobs.benches.serving import shoppers

SIZES = (300_000, 1_000_000)  # of the catalogue, besides the release's own
SHOPPERS, WARM_UP = 150, 10
TOP = 100  # of the pool's best among the candidates: what pages are made of
Record = dict[str, Any]


@dataclass
class Compared:
    """What both views drew for each shopper, and the CPU milliseconds of each."""

    exact_ms: list[float] = field(default_factory=list)
    bounded_ms: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)  # share of the exact candidates that were never bought
    top_held: list[float] = field(default_factory=list)  # and of the TOP of them by the pool


def records(settings: Settings) -> Iterator[Record]:
    """Figures of the release as it is and of larger ones; RuntimeError without faiss or shoppers' pasts."""
    limits = use_one_blas_thread()
    release = open_current(settings)
    known = known_shoppers(settings, release)
    for n_items in (len(release.catalogue.item_ids), *SIZES):
        yield from sized(release, n_items, known)
        gc.collect()
    del limits


def known_shoppers(settings: Settings, release: Release) -> list[Shopper]:
    """Those of the first drawn shoppers of whom the online store has a past, as of the release."""
    now = clock(release)
    features = OnlineFeatures(settings, release, lambda: now)
    drawn = dict.fromkeys(shoppers(settings, 2 * SHOPPERS))
    found = (shopper(features.read_user(user), release, now) for user in drawn)
    known = [who for who in found if who.past.items.size][:SHOPPERS]
    if not known:
        raise RuntimeError(f"The online store has no shopper's past as of {now}; run `endcap materialize`")
    return known


def sized(release: Release, n_items: int, known: Sequence[Shopper]) -> Iterator[Record]:
    """Figures of one size of the catalogue."""
    exact = grown(release, n_items)
    small = replace(exact)  # the same arrays, and a view of its own
    exact.once("view", lambda _: Whole())
    tags = {"report": "bench_index", "rows": n_items}
    for metric, value, unit in making(small):
        yield {**tags, "metric": metric, "value": value, "unit": unit}
    seen = [len(opinions(small, who).seen[1]) for who in known]
    yield {**tags, "metric": "looked_at", "value": float(np.mean(seen)), "unit": "items"}
    for task in TASKS:
        for who in known[:WARM_UP]:
            compare(Compared(), exact, small, who, task)
        gc.freeze()  # as the service does
        found = Compared()
        for who in known:
            compare(found, exact, small, who, task)
        gc.unfreeze()
        yield from figures(found, {**tags, "task": task, "users": len(known)})


def making(release: Release) -> Iterator[tuple[str, float, str]]:
    """CPU seconds and resident megabytes that a bounded view takes to be made, which is made here.

    Without what both views read: the items' vectors.
    """
    item_side(release, np.empty(0, dtype=np.int32))
    before, began = resident_mb(), time.process_time()
    try:
        view = bounded(release)
    except ImportError as error:
        raise RuntimeError("The index needs faiss; pip install 'endcap[large]'") from error
    yield "index_cpu_s", time.process_time() - began, "s"
    yield "index_mb", resident_mb() - before, "MB"
    release.once("view", lambda _: view)


def compare(found: Compared, exact: Release, small: Release, who: Shopper, task: str) -> None:
    """Draw for one shopper in both views, one after the other, and note it."""
    drawn: list[Candidates] = []
    for release, spent in ((exact, found.exact_ms), (small, found.bounded_ms)):
        began = time.process_time_ns()
        drawn.append(draw(release, who, task))
        spent.append((time.process_time_ns() - began) / 1e6)
    new = ~np.isin(drawn[0].items, who.past.items)
    pool = np.where(new, drawn[0].scores[:, SOURCES.index("pool")], np.float32(-np.inf))
    held = np.isin(drawn[0].items, drawn[1].items)
    found.held.append(float(held[new].mean()))
    found.top_held.append(float(held[np.argsort(-pool, kind="stable")[:TOP]].mean()))


def figures(found: Compared, tags: Record) -> Iterator[Record]:
    """Records of what was compared: means over shoppers, and the least of a shopper."""
    for design, spent in (("exact", found.exact_ms), ("bounded", found.bounded_ms)):
        yield {
            **tags,
            "design": design,
            "metric": "draw_cpu_ms",
            "value": float(np.mean(spent)),
            "unit": "ms",
        }
    for metric, shares in (("held", found.held), (f"top_{TOP}_held", found.top_held)):
        least = round(float(np.min(shares)), 3)
        yield {**tags, "metric": metric, "value": float(np.mean(shares)), "unit": "share", "least": least}


def resident_mb() -> float:
    """Memory that this process holds now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6
