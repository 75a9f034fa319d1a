"""Measure a day's challenger, its champion and the legacy rules on the days before the day's end.

In: state/days/D/release and the champion in the model store. Both are assembled as of the start of the
window, of which neither has learnt anything, and asked what they would have shown. Out: per_shopper.parquet
and quality.json beside the challenger.

    endcap evaluate --date 2017-12-04
"""

import json
import sys
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from bentos.blas import use_one_blas_thread
from bentos.release import ReleaseError, stored_model
from feature_repo.settings import Settings
from jobs.result import Result
from jobs.train_day import challenger_folder

if TYPE_CHECKING:
    from datetime import datetime

    from training.parameters import Parameters

CHALLENGER, CHAMPION = "challenger", "champion"
TOLD = ("recall@10", "ndcg@10")
Record = dict[str, Any]


def values_file(settings: Settings, day: date) -> Path:
    """Where the day's values per shopper lie."""
    return settings.day(day) / "per_shopper.parquet"


def run(settings: Settings, day: date, champion: str | None = None) -> Result:
    """Measure both; FileNotFoundError names the step that is missing."""
    from feature_repo.store import open_store
    from training import per_shopper
    from training.day import day_split
    from training.fit import Sources
    from training.head_to_head import measured, records
    from training.parameters import load_parameters
    from training.refresh import release_at

    began = perf_counter()
    use_one_blas_thread()
    folder = challenger_folder(settings, day)
    if not folder.exists():
        raise FileNotFoundError(f"No challenger in {folder}; run `endcap warm-start --date {day}`")
    sources = Sources.open(settings, open_store(settings))
    window = day_split(sources.calendar, day).window
    learnt = {CHALLENGER: load_parameters(folder)}
    before, why_not = champions(champion, window.instant)
    if before is not None:
        learnt[CHAMPION] = before
    releases = {}
    for name, parameters in learnt.items():
        releases[name] = release_at(sources, parameters, window.instant, threads=settings.threads)
        print(f"  {perf_counter() - began:6.1f} s  {name} as of the window", file=sys.stderr)  # noqa: T201
    values = measured(sources, releases, window, threads=settings.threads)
    per_shopper.write(values, values_file(settings, day))
    found = list(records(values.assign(day=day), "daily", CHALLENGER))
    found = [each for each in found if each["day"] != "all"]
    path = settings.day(day) / "quality.json"
    aside = path.with_suffix(".aside")
    aside.write_text(json.dumps(found, indent=1) + "\n")
    aside.replace(path)
    notes = (*([why_not] if why_not else []), *lines(found))
    return Result(
        "evaluate",
        len(found),
        "figures",
        path,
        detail=f"on {window.instant:%d %b} to {day:%d %b}",
        notes=notes,
    )


def champions(champion: str | None, instant: "datetime") -> tuple["Parameters | None", str]:
    """The champion's parameters, and why there are none where that is so."""
    from training.parameters import load_parameters

    if champion is None:
        return None, "no champion: nothing was released before"
    try:
        found = load_parameters(Path(stored_model(champion).path))
    except ReleaseError as error:
        return None, f"no champion to measure: {error}"
    if found.learnt_until > instant:
        return (
            None,
            f"no champion to measure: {champion} has learnt until {found.learnt_until}, in the window",
        )
    return found, ""


def lines(records: list[Record]) -> list[str]:
    """The challenger's lifts as a person reads them."""
    shown = [each for each in records if "versus" in each and each["metric"] in TOLD]
    return [
        f"{each['task']:<9} over {each['versus']:<10} {each['metric']:<10}"
        f" {each['value']:+.1%} [{each['low']:+.1%}, {each['high']:+.1%}]"
        for each in shown
    ]
