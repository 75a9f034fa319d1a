"""Train one release at one cut: two-tower retrieval, then a ranker for each task.

In: tables and Feast's offline store. Out: state/training/cut-<w>/release, checked and whole, and beside it
with_promotions/, rankers that read promotions of the coming week: evaluated, never published.

    endcap train --cut 49
"""

import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from bentos.blas import use_one_blas_thread
from bentos.release import save
from feature_repo.settings import Settings
from jobs.result import Result


def release_folder(settings: Settings, cut: int) -> Path:
    """Where the release of one cut waits for its evaluation."""
    return settings.training / f"cut-{cut}" / "release"


def promoted_folder(settings: Settings, cut: int) -> Path:
    """Where the rankers of one cut lie that read promotions; no folder where nothing was promoted."""
    return settings.training / f"cut-{cut}" / "with_promotions"


def save_promoted(rankers: Mapping[str, Any], folder: Path) -> None:
    """Write rankers that read promotions, aside and then renamed; the former ones are gone."""
    aside = folder.with_name(f"{folder.name}.aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for task, ranker in rankers.items():
        ranker.save_model(aside / f"ranker_{task}.json")
    shutil.rmtree(folder, ignore_errors=True)
    if rankers:
        aside.replace(folder)
    else:
        aside.rmdir()


def run(settings: Settings, cut: int) -> Result:
    """Train at the end of week `cut`.

    Raises ValueError for a cut that the data cannot serve, FileNotFoundError with the missing step.
    """
    from dataclasses import replace

    from feature_repo.store import open_store
    from training.fit import Sources, fit
    from training.parameters import PARAMETERS, arrays_of
    from training.split import temporal_split

    began = perf_counter()
    use_one_blas_thread()

    def report(line: str) -> None:
        print(f"  {perf_counter() - began:6.1f} s  {line}", file=sys.stderr, flush=True)  # noqa: T201

    sources = Sources.open(settings, open_store(settings))
    split = temporal_split(sources.calendar, cut)
    fitted = fit(sources, split, threads=settings.threads, report=report)
    release = fitted.release
    first, last = sources.warehouse.span(split.test.instant)
    facts = {
        **release.manifest,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cut": cut,
        "learnt_until": split.test.instant.isoformat(),
        "data_from": first.isoformat(),
        "data_to": last.isoformat(),
    }
    save_promoted(fitted.promoted, promoted_folder(settings, cut))
    folder = release_folder(settings, cut)
    aside = folder.with_name("release.aside")
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    save(replace(release, manifest=facts), aside, more={PARAMETERS: arrays_of(fitted.parameters)})
    shutil.rmtree(folder, ignore_errors=True)
    aside.replace(folder)
    return Result(
        step="train",
        rows=len(release.catalogue.item_ids),
        unit="items",
        where=folder,
        detail=f"as of {split.test.instant:%Y-%m-%d}",
    )
