"""A day's challenger: the towers go on learning, and all facts are those of the day's end.

In: the day's tables and features, and the parameters of the champion or of the week's full training. Out:
state/days/D/release, a whole release that carries its own parameters.

    endcap warm-start --date 2017-12-04
"""

import shutil
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from bentos.blas import use_one_blas_thread
from bentos.release import ReleaseError, save, stored_model
from feature_repo.settings import Settings
from jobs.result import Result
from jobs.train import release_folder

if TYPE_CHECKING:
    from training.day import DaySplit
    from training.parameters import Parameters


def challenger_folder(settings: Settings, day: date) -> Path:
    """Where the day's challenger lies."""
    return settings.day(day) / "release"


def run(settings: Settings, day: date, champion: str | None = None) -> Result:
    """Make the challenger of a day; FileNotFoundError names the step that is missing."""
    from feature_repo.store import open_store
    from training.day import day_split
    from training.fit import Sources
    from training.parameters import PARAMETERS, arrays_of
    from training.refresh import release_at
    from training.warm_start import advance

    began = perf_counter()
    use_one_blas_thread()

    def report(line: str) -> None:
        print(f"  {perf_counter() - began:6.1f} s  {line}", file=sys.stderr, flush=True)  # noqa: T201

    sources = Sources.open(settings, open_store(settings))
    split = day_split(sources.calendar, day)
    parameters, origin = start(settings, split, champion)
    report(f"from {origin}, which has learnt until {parameters.learnt_until:%Y-%m-%d %H:%M}Z")
    learnt = advance(sources, parameters, split.window.instant, threads=settings.threads, report=report)
    release = release_at(sources, learnt, split.known, threads=settings.threads)
    report(f"assembled as of {split.known:%Y-%m-%d %H:%M}Z")
    first, last = sources.warehouse.span(split.known)
    facts = {
        **release.manifest,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "day": day.isoformat(),
        "cut": learnt.cut,
        "learnt_until": learnt.learnt_until.isoformat(),
        "started_from": origin,
        "data_from": first.isoformat(),
        "data_to": last.isoformat(),
    }
    folder = challenger_folder(settings, day)
    aside = folder.with_name("release.new")
    folder.parent.mkdir(parents=True, exist_ok=True)
    save(replace(release, manifest=facts), aside, more={PARAMETERS: arrays_of(learnt)})
    shutil.rmtree(folder, ignore_errors=True)
    aside.replace(folder)
    detail = f"learnt until {split.window.instant:%Y-%m-%d}, facts of {day}"
    return Result("warm-start", len(release.catalogue.item_ids), "items", folder, detail=detail)


def start(settings: Settings, split: "DaySplit", champion: str | None) -> tuple["Parameters", str]:
    """What learning goes on from, and its name: the champion, or the week's training where that is newer."""
    from training.parameters import has_parameters, load_parameters

    if champion is not None:
        try:
            folder = Path(stored_model(champion).path)
            if has_parameters(folder):
                found = load_parameters(folder)
                if found.cut >= split.cut and found.learnt_until <= split.window.instant:
                    return found, champion
        except ReleaseError as error:
            print(f"  {champion} cannot be gone on from: {error}", file=sys.stderr)  # noqa: T201
    folder = release_folder(settings, split.cut)
    if not folder.exists():
        raise FileNotFoundError(f"No training in {folder}; run `endcap train --cut {split.cut}`")
    return load_parameters(folder), f"cut-{split.cut}"
