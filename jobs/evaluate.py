"""Evaluate the release of one cut on the two weeks after it, beside its baselines.

In: state/training/cut-<w>/release and with_promotions. Out: per_shopper.parquet and households.json beside
them, and reports/quality.json, .md, .html and plots of this cut. The peers are measured by
`endcap bench-quality`.

    endcap evaluate --cut 49
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bentos.blas import use_one_blas_thread
from bentos.release import load, load_ranker
from feature_repo.settings import Settings
from jobs.result import Result
from jobs.train import promoted_folder, release_folder

if TYPE_CHECKING:
    import pandas as pd


def per_shopper_file(settings: Settings, cut: int) -> Path:
    """Where the values per shopper of one cut's release are kept."""
    return settings.training / f"cut-{cut}" / "per_shopper.parquet"


def households_file(settings: Settings, cut: int) -> Path:
    """Where the households that the page shows of one cut are kept."""
    return settings.training / f"cut-{cut}" / "households.json"


def households(settings: Settings, cut: int) -> list[dict[str, Any]]:
    """The households to show of one cut; none where they were not kept."""
    path = households_file(settings, cut)
    return json.loads(path.read_text()) if path.exists() else []


def run(settings: Settings, cut: int) -> Result:
    """Measure every model on both tasks and report it; FileNotFoundError names the step that is missing."""
    from training.quality_records import quality_records
    from training.quality_report import table, write

    records = quality_records(measure(settings, cut))
    write(records, settings.reports, households(settings, cut))
    return Result(
        step="evaluate",
        rows=len(records),
        unit="figures",
        where=settings.reports / "quality.json",
        detail=f"weeks {cut + 1}-{cut + 2}",
        notes=(table(records),),
    )


def promoted_rankers(settings: Settings, cut: int) -> dict[str, Any]:
    """Rankers by task that read promotions of the coming week; none where training saw none."""
    paths = sorted(promoted_folder(settings, cut).glob("ranker_*.json"))
    return {path.stem.removeprefix("ranker_"): load_ranker(path) for path in paths}


def measure(settings: Settings, cut: int) -> "pd.DataFrame":
    """Values per shopper of one cut's release, left beside it too."""
    from feature_repo.store import open_store
    from training import per_shopper
    from training.evaluate import measured
    from training.fit import Sources, instant_at_cut
    from training.households import households as told
    from training.split import temporal_split

    use_one_blas_thread()
    folder = release_folder(settings, cut)
    if not folder.exists():
        raise FileNotFoundError(f"No trained release in {folder}; run `endcap train --cut {cut}`")
    sources = Sources.open(settings, open_store(settings))
    split = temporal_split(sources.calendar, cut)
    release = load(folder)
    instant = instant_at_cut(sources, split, release)
    values = measured(
        sources,
        split,
        instant,
        release,
        lambda line: print(f"  {line}", file=sys.stderr, flush=True),  # noqa: T201
        promoted=promoted_rankers(settings, cut),
        threads=settings.threads,
    )
    aside = households_file(settings, cut).with_suffix(".aside")
    aside.write_text(json.dumps(told(sources, split, instant, release, values), indent=1))
    aside.replace(households_file(settings, cut))
    path = per_shopper_file(settings, cut)
    per_shopper.write(values, path)
    return per_shopper.read(path, cut)


def write_page(settings: Settings) -> Path | None:
    """Write the quality page anew, after a report that it shows has changed; None where there is no page."""
    from training.quality_blocks import cuts_of, headline
    from training.quality_report import write

    path = settings.reports / "quality.json"
    if not path.exists():
        return None
    records = json.loads(path.read_text())
    return write(records, settings.reports, households(settings, cuts_of(headline(records))[-1]))
