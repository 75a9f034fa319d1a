"""Evaluate the release of one cut on the two weeks after it, beside its baselines.

In: state/training/cut-<w>/release. Out: reports/quality.json, .md, .html and plots.

    endcap evaluate --cut 49
"""

import sys

from bentos.blas import use_one_blas_thread
from bentos.release import load
from feature_repo.settings import Settings
from jobs.result import Result
from jobs.train import release_folder


def run(settings: Settings, cut: int) -> Result:
    """Measure every model on both tasks; FileNotFoundError names the step that is missing."""
    from feature_repo.store import open_store
    from training.evaluate import evaluation_records
    from training.fit import Sources, instant_at_cut
    from training.quality_report import table, write
    from training.split import temporal_split

    use_one_blas_thread()
    folder = release_folder(settings, cut)
    if not folder.exists():
        raise FileNotFoundError(f"No trained release in {folder}; run `endcap train --cut {cut}`")
    sources = Sources.open(settings, open_store(settings))
    split = temporal_split(sources.calendar, cut)
    release = load(folder)
    records = evaluation_records(
        sources,
        split,
        instant_at_cut(sources, split, release),
        release,
        lambda line: print(f"  {line}", file=sys.stderr, flush=True),  # noqa: T201
        threads=settings.threads,
    )
    write(records, settings.reports)
    return Result(
        step="evaluate",
        rows=len(records),
        unit="figures",
        where=settings.reports / "quality.json",
        detail=f"weeks {split.test.first}-{split.test.last}",
        notes=(table(records),),
    )
