"""Going on from last week's training against training in full again: what it costs, and what it is worth.

In: an installation with full trainings of weeks one after the other. The older of two goes on learning, a day
at a time, up to what the younger one knows; both are assembled as of then and held against what was bought in
the seven days after, as `endcap evaluate` does. Out: tidy records.

    endcap bench-daily      # of the weeks that its days go on from
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import process_time
from typing import TYPE_CHECKING, Any

from feature_repo.settings import Settings
from jobs.pipeline import Say
from jobs.train import release_folder

if TYPE_CHECKING:
    import pandas as pd

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


def records(settings: Settings, cuts: Sequence[int], head: Say) -> list[Record]:
    """Quality of the three on the week after each of some cuts and over all, and the warm starts' CPU time.

    `day` is the first of a week, "all" for all of them. Lifts are the warm start's, paired by shopper.
    """
    import pandas as pd

    from bentos.blas import use_one_blas_thread
    from feature_repo.store import open_store
    from training.fit import Sources
    from training.head_to_head import records as figures
    from training.warm_start import advance

    use_one_blas_thread()
    sources, spent, values = Sources.open(settings, open_store(settings)), [], []
    for cut in cuts:
        pair = Pair.of(settings, cut)
        head(f"warm start from cut {cut - 1} until cut {cut}")
        began = process_time()
        warm = advance(sources, pair.before, pair.after.learnt_until, threads=settings.threads, report=head)
        spent.append(process_time() - began)
        values.append(
            measured_on(sources, {WARM: warm, FULL: pair.after, STALE: pair.before}, settings.threads)
        )
    cost = {
        "report": REPORT,
        "metric": "cpu_s",
        "unit": "s",
        "design": WARM,
        "value": sum(spent) / len(spent),
    }
    return [cost, *figures(pd.concat(values, ignore_index=True), REPORT, WARM)]


def measured_on(sources: "Sources", learnt: dict[str, "Parameters"], threads: int) -> "pd.DataFrame":
    """Values per shopper on the seven days after what was learnt last, with the first of them as `day`."""
    from training.day import WINDOW_DAYS, days_window
    from training.head_to_head import measured
    from training.refresh import release_at

    instant = max(each.learnt_until for each in learnt.values())
    first = sources.calendar.day_at(instant)
    window = days_window(sources.calendar, first, first + timedelta(days=WINDOW_DAYS - 1))
    releases = {
        name: release_at(sources, parameters, instant, threads=threads) for name, parameters in learnt.items()
    }
    return measured(sources, releases, window, threads=threads).assign(day=first)
