"""Days in a row on a recording: take in, train, judge and switch each, then hold it against the day after.

In: a source that ended in the past. Out: reports/bench_daily.json and bench_daily.png: quality by day of the
fresh releases beside the first one left as it was and the legacy rules, and what each step of a day took. All
is kept in state/bench-daily, a state folder of its own with a model store of its own; a second run goes on.

    endcap bench-daily --first 2017-12-04 --days 14
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs.days.champion import champion_file
from jobs.days.daily import Daily, days_between, days_in
from jobs.days.publish import tag_of
from jobs.days.steps import DAY_STEPS, base_cut
from jobs.markers import read_marker
from jobs.pipeline import Pipeline, RefusedError, Say, day_before
from jobs.source_days import changed_days
from jobs.steps import Choices, step_named

if TYPE_CHECKING:
    import pandas as pd

REPORT = "bench_daily"
FRESH, FROZEN = "fresh", "frozen"
BASE = ("ingest", "build-features", "embed-items", "apply", "materialize")  # what a day's data goes on from
SAID = ("recall@10", "ndcg@10")
Record = dict[str, Any]


@dataclass(frozen=True)
class DailyBench:
    """The bench over an installation's settings; its own lie below them."""

    settings: Settings
    say: Say
    head: Say

    @property
    def own(self) -> Settings:
        """Settings of the bench's own state folder."""
        state = self.settings.state / "bench-daily"
        return replace(self.settings, state=state, reports=state / "reports")

    def run(self, first: date, days: int, choices: Choices, *, kills: int = 0) -> Path:
        """Play the days, measure each on the next, write the report; the path of the picture.

        With `kills` the first two days are then played again, killed so often, and held against a quiet run.
        """
        from jobs.bench import write
        from jobs.benches import daily_plot, day_kills

        os.environ["BENTOML_HOME"] = str(self.own.state / "bentoml")
        self.base(first, choices)
        every = days_between(first, first + timedelta(days=days - 1))
        for day in every:
            self.play(day, choices)
        self.daily().day(replace(choices, day=every[-1] + timedelta(days=1)), until="ingest")
        found = [*self.quality(every), *self.costs(every), *self.warm_start(every)]
        if kills:
            found += day_kills.records(self.kept, every[:2], choices, kills, self.head)
        path = write(self.settings, "daily", found)
        self.say(f"{len(found)} figures in {path}")
        picture = daily_plot.write(self.settings.reports, found)
        self.say(f"drawn in {picture}")
        return picture

    @property
    def kept(self) -> Settings:
        """Settings of the copy of the base as it was before the first day."""
        return replace(self.own, state=self.settings.state / "bench-daily-base")

    def base(self, first: date, choices: Choices) -> None:
        """Everything up to the day before the first in full, and the week's training that it goes on from."""
        if days_in(self.own):
            return
        until = day_before(first)
        choices = replace(choices, data_until=until)
        self._full(BASE[:-1], choices)
        calendar = ShopCalendar.load(self.own.shop_calendar)
        self._full(BASE, replace(choices, cut=calendar.whole_weeks(calendar.day_end(until))))
        self._full((*BASE[:-1], "train"), replace(choices, cut=base_cut(self.own, first)))
        shutil.rmtree(self.kept.state, ignore_errors=True)
        shutil.copytree(self.own.state, self.kept.state)

    def _full(self, names: Sequence[str], choices: Choices) -> None:
        """Some steps of the full pipeline."""
        pipeline = Pipeline(self.own, steps=tuple(step_named(name) for name in names))
        pipeline.run(choices, say=self.say, head=self.head, notes=False)

    def daily(self) -> Daily:
        """The runner of days over the bench's state."""
        return Daily(Pipeline(self.own, steps=DAY_STEPS), changed_days, say=self.say, head=self.head)

    def play(self, day: date, choices: Choices) -> None:
        """One day; a refusal is noted, and the champion goes on."""
        note = self.own.day(day) / "played.json"
        if note.exists():
            self.head(f"{day} was played before")
            return
        refused = None
        try:
            self.daily().day(replace(choices, day=day))
        except RefusedError as error:
            refused = str(error)
            self.say(refused)
        begin = time.perf_counter()
        with suppress(RefusedError):
            self.daily().day(replace(choices, day=day))
        played = {"refused": refused, "serves": self.serving(day), "again_s": time.perf_counter() - begin}
        write_json(note, played)

    def serving(self, day: date) -> str:
        """The release that serves after a day: its own, or where it was refused its champion."""
        if (self.own.day(day) / "tag").exists():
            return tag_of(self.own, day)
        tag = json.loads(champion_file(self.own, day).read_text())["tag"]
        if tag is None:
            raise RuntimeError(
                f"The challenger of {day} was refused and there is no champion; see its gate.json"
            )
        return str(tag)

    def played(self, day: date) -> Record:
        """What was noted of a day."""
        found: Record = json.loads((self.own.day(day) / "played.json").read_text())
        return found

    def quality(self, days: list[date]) -> Iterator[Record]:
        """Figures of each day's release on the next day, beside the first day's and the rules."""
        import pandas as pd

        from training.head_to_head import records

        values = pd.concat([self.values(day, days[0]).assign(day=day) for day in days], ignore_index=True)
        for record in records(values, REPORT, FRESH):
            if record["day"] == "all" and record["metric"] in SAID:
                self.say(line(record))
            yield record

    def values(self, day: date, first: date) -> "pd.DataFrame":
        """Values per shopper of one day, kept beside its release."""
        import pandas as pd

        from bentos.blas import use_one_blas_thread
        from bentos.release import load_stored, stored_model
        from feature_repo.store import open_store
        from training import per_shopper
        from training.day import days_window
        from training.fit import Sources
        from training.head_to_head import measured

        path = self.own.day(day) / "next_day.parquet"
        if path.exists():
            return pd.read_parquet(path)
        use_one_blas_thread()
        self.head(f"measuring {day} on the day after")
        sources = Sources.open(self.own, open_store(self.own))
        releases = {
            FRESH: load_stored(stored_model(self.played(day)["serves"])),
            FROZEN: load_stored(stored_model(self.played(first)["serves"])),
        }
        after = day + timedelta(days=1)
        window = days_window(sources.calendar, after, after)
        per_shopper.write(measured(sources, releases, window, threads=self.own.threads), path)
        return pd.read_parquet(path)

    def warm_start(self, days: list[date]) -> list[Record]:
        """Going on against training in full, for the days' trainings; kept beside the days."""
        from jobs.benches import warm_start

        path = self.own.state / "warm_start.json"
        cuts = sorted({base_cut(self.own, day) for day in days})[1:]
        if not cuts:
            self.head("one training in these days: no warm start to hold against it; give --days 8 or more")
            return []
        if not path.exists():
            write_json(path, warm_start.records(self.own, cuts, self.head))
        found: list[Record] = json.loads(path.read_text())
        for record in found:
            if record["metric"] in SAID and record["day"] == "all":
                self.say(line(record))
        return found

    def costs(self, days: list[date]) -> Iterator[Record]:
        """CPU and wall seconds of each step of each day, of the full build, and seconds of a second run."""
        for name in BASE:
            marker = read_marker(self.kept, name)
            if marker:
                yield cost("cpu_s", marker.cpu_seconds, stage=name, design="full")
                yield cost("wall_s", marker.result.seconds, stage=name, design="full")
        for day in days:
            refused = 1.0 if self.played(day)["refused"] else 0.0
            yield {"report": REPORT, "metric": "refused", "value": refused, "unit": "days", "day": str(day)}
            yield cost("again_s", self.played(day)["again_s"], day=str(day))
            for step in DAY_STEPS:
                marker = (
                    read_marker(self.own, step.marker(Choices(day=day)))
                    if step.scope(Choices(day=day))
                    else None
                )
                if marker:
                    tags = {"day": str(day), "stage": step.name, "design": "day"}
                    yield cost("cpu_s", marker.cpu_seconds, **tags)
                    yield cost("wall_s", marker.result.seconds, **tags)


def write_json(path: Path, content: Any) -> None:
    """Write a file aside, then rename it."""
    aside = path.with_suffix(".aside")
    aside.write_text(json.dumps(content))
    aside.replace(path)


def cost(metric: str, seconds: float, **tags: str) -> Record:
    """One figure of a cost."""
    return {"report": REPORT, "metric": metric, "value": seconds, "unit": "s", **tags}


def line(record: Record) -> str:
    """A figure over all days as a person reads it."""
    versus = f" over {record['versus']}" if "versus" in record else ""
    shown = "{:+.1%}" if versus else "{:.4f}"
    value, low, high = (shown.format(record[name]) for name in ("value", "low", "high"))
    return (
        f"{record['task']:<9} {record['model'] + versus:<24} {record['metric']:<10} {value} [{low}, {high}]"
    )
