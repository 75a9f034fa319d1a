"""Quality against CPU time of a request, for the release of one cut.

In: state/training/cut-<w>/release, the tables and, for the cost of reading items, the online store. Out:
reports/cpu_curve.json and .png.

    endcap bench-cpu-curve --cut 49
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from time import process_time
from typing import Any

import numpy as np

from bentos.blas import use_one_blas_thread
from bentos.candidates import SIZE
from bentos.online_features import OnlineFeatures
from bentos.release import Release, load
from feature_repo.pair_features import Positions
from feature_repo.settings import Settings
from jobs.train import release_folder

Record = dict[str, Any]

READS = 20


def run(settings: Settings, cut: int, say: Callable[[str], None]) -> None:
    """Measure, report; FileNotFoundError names the step that is missing."""
    from training.cpu_curve_report import table, write

    found = list(records(settings, cut))
    say(table(found))
    say(f"\n{len(found)} figures: {write(found, settings.reports)}")


def records(settings: Settings, cut: int) -> Iterator[Record]:
    """Figures of all settings, then the cost of reading one item's features online, if there is a store."""
    from feature_repo.store import open_store
    from training.cpu_curve import curve
    from training.fit import Sources, instant_at_cut
    from training.split import temporal_split

    use_one_blas_thread()
    folder = release_folder(settings, cut)
    if not folder.exists():
        raise FileNotFoundError(f"No trained release in {folder}; run `endcap train --cut {cut}`")
    release = load(folder)
    sources = Sources.open(settings, open_store(settings))
    split = temporal_split(sources.calendar, cut)
    instant = instant_at_cut(sources, split, release)
    yield from curve(
        sources,
        split,
        instant,
        release,
        lambda line: print(f"  {line}", file=sys.stderr, flush=True),  # noqa: T201
    )
    if settings.online_store.exists():
        yield item_read(settings, release, cut)


def item_read(settings: Settings, release: Release, cut: int) -> Record:
    """CPU milliseconds of reading one item's features, as the service reads those of its candidates."""
    as_of = datetime.fromisoformat(release.manifest["as_of"])
    reader, n = OnlineFeatures(settings, release, lambda: as_of), len(release.catalogue.item_ids)
    draws = [
        np.random.default_rng(number).permutation(n)[:SIZE].astype(np.int32) for number in range(READS + 1)
    ]
    spent = [read_ms(reader, drawn) for drawn in draws][1:]  # the first one opens the store
    return {
        "report": "cpu_curve",
        "metric": "item_read_cpu_ms",
        "value": statistics.median(spent) / len(draws[0]),
        "unit": "ms",
        "store": "sqlite",
        "cut": cut,
        "rows": len(draws[0]),
    }


def read_ms(reader: OnlineFeatures, items: Positions) -> float:
    """CPU milliseconds of one read."""
    began = process_time()
    reader.read_items(items)
    return 1e3 * (process_time() - began)
