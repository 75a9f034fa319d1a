"""Going on from last week's training against training in full again: what it costs, and what it is worth.

In: an installation with the full trainings of two weeks one after the other. The older one goes on learning,
a day at a time, until the younger one begins to know; both are assembled as of then and held against what was
bought in the seven days after, as `endcap evaluate` does. Out: tidy records.

    endcap bench-daily      # of the two weeks that its days go on from
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from time import process_time
from typing import TYPE_CHECKING, Any

from feature_repo.settings import Settings
from jobs.pipeline import Say
from jobs.train import release_folder

if TYPE_CHECKING:
    from training.fit import Sources
    from training.parameters import Parameters

WARM, FULL, STALE = "warm_start", "full_training", "week_before"
REPORT = "warm_start"
Record = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """What two trainings have learnt, a week apart."""

    before: "Parameters"
    after: "Parameters"

    @classmethod
    def of(cls, settings: Settings, cut: int) -> "Pair":
        """The trainings of a cut and of the one before it; FileNotFoundError names what is missing."""
        from training.parameters import load_parameters

        for each in (cut - 1, cut):
            if not release_folder(settings, each).exists():
                raise FileNotFoundError(
                    f"No training in {release_folder(settings, each)}; run `endcap train --cut {each}`"
                )
        before, after = (load_parameters(release_folder(settings, each)) for each in (cut - 1, cut))
        return cls(before, after)


def records(settings: Settings, cut: int, head: Say) -> Iterator[Record]:
    """Quality of the three on the week after `cut`, with paired lifts of the warm start, and its CPU time."""
    from bentos.blas import use_one_blas_thread
    from feature_repo.store import open_store
    from training.fit import Sources
    from training.warm_start import advance

    use_one_blas_thread()
    sources, pair = Sources.open(settings, open_store(settings)), Pair.of(settings, cut)
    head(f"warm start from cut {cut - 1} until cut {cut}")
    began = process_time()
    warm = advance(sources, pair.before, pair.after.learnt_until, threads=settings.threads, report=head)
    spent = process_time() - began
    yield {"report": REPORT, "metric": "cpu_s", "value": spent, "unit": "s", "cut": cut, "design": WARM}
    for record in compared(sources, settings, {WARM: warm, FULL: pair.after, STALE: pair.before}, head):
        yield {**record, "cut": cut}


def compared(
    sources: "Sources", settings: Settings, learnt: dict[str, "Parameters"], head: Say
) -> Iterator[Record]:
    """Figures on the seven days after what was learnt last."""
    from training.day import WINDOW_DAYS, days_window
    from training.head_to_head import measured
    from training.head_to_head import records as figures
    from training.refresh import release_at

    instant = max(each.learnt_until for each in learnt.values())
    first = sources.calendar.day_at(instant)
    window = days_window(sources.calendar, first, first + timedelta(days=WINDOW_DAYS - 1))
    releases = {}
    for name, parameters in learnt.items():
        head(f"{name} as of {instant:%Y-%m-%d}")
        releases[name] = release_at(sources, parameters, instant, threads=settings.threads)
    values = measured(sources, releases, window, threads=settings.threads)
    for record in figures(values.assign(day=first), REPORT, WARM):
        if record["day"] == "all":
            yield record
