"""Quality over several cuts: the stack, its sources and rules, and the peers, on the same shoppers and items.

In: feature tables (`endcap run --until apply`). For each cut: a release, trained if it is missing or stale,
and values per shopper. Out: reports/quality.json, .md, .html and plots, pooled figures first. A cut that is
done is not done again, so an interrupted run goes on where it was.

    endcap bench-quality --cuts 49,45,47
"""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs import evaluate
from jobs.benches import peers
from jobs.benches.cut_steps import CutSteps
from jobs.child import run_child
from jobs.markers import result_of
from jobs.pipeline import StepFailedError, environment, result_lines
from jobs.result import Result
from jobs.steps import Step, step_named
from jobs.writer_lock import writer_lock

if TYPE_CHECKING:
    import pandas as pd

Say = Callable[[str], None]

TRAIN = step_named("train")
EVALUATE = replace(
    step_named("evaluate"),
    outputs=lambda settings, choices: (evaluate.per_shopper_file(settings, choices.cut),),
)
PEERS = Step(
    name="peers",
    module="training.peers.measure",
    after=("ingest",),
    outputs=lambda settings, choices: (peers.per_shopper_file(settings, choices.cut),),
    arguments=lambda _, choices: {"cut": choices.cut},
    libraries=("implicit", "scipy"),
)


@dataclass(frozen=True)
class QualityBench:
    """The bench of one installation; `say` takes results, `head` a line before what takes its time."""

    settings: Settings
    say: Say
    head: Say
    program: tuple[str, ...] = (sys.executable, "-m", "jobs.cli")

    def run(self, cuts: Sequence[int]) -> Path:
        """Bring every cut up to date, pool them, write the reports; the path of the page."""
        import pandas as pd

        from training.quality_blocks import cut_name, cuts_of, headline
        from training.quality_records import cut_label, pools, quality_records
        from training.quality_report import table, write

        check(self.settings, cuts)
        with writer_lock(self.settings) as lock:
            values = {
                cut: self.values(cut, lock, f"[{number}/{len(cuts)}] cut {cut}")
                for number, cut in enumerate(cuts, 1)
            }
            records = []
            for pool in pools(cuts):
                self.head(f"figures of {cut_name(cut_label(pool))}")
                records += quality_records(pd.concat([values[cut] for cut in pool]))
            first = headline(records)
            shown = evaluate.households(self.settings, cuts_of(first)[-1])
            page = write(records, self.settings.reports, shown)
        self.say(table([record for record in records if record["cut"] == first]))
        self.say(f"\n{len(records)} figures of {len(cuts)} cuts: {page}")
        return page

    def values(self, cut: int, lock: int, name: str) -> "pd.DataFrame":
        """Values per shopper of one cut, the peers' too; what is not done yet is done now."""
        import pandas as pd

        from training import per_shopper

        steps = CutSteps(self.settings, cut, (TRAIN, EVALUATE, PEERS))
        self.step(steps, TRAIN, lambda: self.train(cut, lock), name)
        self.step(steps, EVALUATE, lambda: self.evaluate(cut), name)
        catalogue = peers.catalogue_hash(self.settings, cut)
        self.step(steps, PEERS, lambda: self.peers(cut), name, catalogue=catalogue)
        files = (evaluate.per_shopper_file, peers.per_shopper_file)
        return pd.concat([per_shopper.read(file(self.settings, cut), cut) for file in files])

    def step(self, steps: CutSteps, step: Step, work: Callable[[], Result], name: str, **more: str) -> None:
        """One step of one cut, unless it is done."""
        marker = steps.done(step, **more)
        remark = f"{name}, done before"
        if marker is None:
            self.head(f"{name}: {step.name}")
            marker, remark = steps.do(step, work, **more), name
        self.say(result_lines(marker.result, remark, notes=False))

    def train(self, cut: int, lock: int) -> Result:
        """Train in a process of its own, as the pipeline does; StepFailedError if it fails."""
        with tempfile.TemporaryDirectory(prefix="endcap-") as folder:
            answer = Path(folder) / "result.json"
            options = ("--with-parent", "--result-file", str(answer), "train", "--cut", str(cut))
            child = run_child(
                (*self.program, *options), environment=environment(self.settings), keep_open=[lock]
            )
            if child.code != 0 or not answer.exists():
                raise StepFailedError(
                    f"Training cut {cut} failed with exit code {child.code}; its message stands above. "
                    "When that is mended, run the same command again to go on"
                )
            return result_of(json.loads(answer.read_text()))

    def evaluate(self, cut: int) -> Result:
        """Measure the stack and the rules."""
        values = evaluate.measure(self.settings, cut)
        where = evaluate.per_shopper_file(self.settings, cut)
        return Result("evaluate", len(values), "values", where, detail=f"weeks {cut + 1}-{cut + 2}")

    def peers(self, cut: int) -> Result:
        """Measure the peers."""
        count = peers.measure(self.settings, cut, lambda line: self.head(f"  {line}"))
        where = peers.per_shopper_file(self.settings, cut)
        return Result("peers", count, "values", where, detail=f"weeks {cut + 1}-{cut + 2}")


def check(settings: Settings, cuts: Sequence[int]) -> None:
    """Whether every cut can be trained and tested on the data there is; told before the first is begun."""
    from training.split import temporal_split
    from training.warehouse import Warehouse

    latest = Warehouse.of(settings).frame("SELECT max(event_timestamp) AS at_last FROM transactions", [])
    calendar = ShopCalendar.load(settings.shop_calendar)
    last = calendar.week_at(latest["at_last"].iloc[0])
    for cut in cuts:
        test = temporal_split(calendar, cut).test
        if test.last > last:
            raise ValueError(
                f"Cut {cut} is tested on weeks {test.first} and {test.last}; the data ends in week {last}. "
                f"Use a cut of at most {last - 2}: endcap bench-quality --cuts {last - 2}"
            )
