"""One logical date, or several, from the day's rows to the release that serves.

    endcap daily --date 2017-12-04
    endcap backfill --from 2017-12-04 --to 2017-12-17

A day follows the last one that is in. Done steps are skipped, so a second run does nothing, and one that was
killed goes on. What was corrected of the days just before is taken in first, with all features since; their
releases stay as they were. Days before that do not move: `backfill` does them again.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs.days.champion import note_champion
from jobs.days.steps import LAST_OF_DATA, day_of
from jobs.markers import marker_file
from jobs.pipeline import Pipeline, Say, day_before
from jobs.steps import Choices, step_named

ONE_DAY = timedelta(days=1)
Changed = Callable[[Settings, Choices], Sequence[date]]


class DayOrderError(ValueError):
    """A day does not follow the last one that is in; the message says which one does."""


def base_day(settings: Settings) -> date:
    """Last day of the full ingest that days go on from; FileNotFoundError where there is none."""
    path = settings.state / "tables" / "ingest.json"
    if not path.exists():
        raise FileNotFoundError(f"No tables in {path.parent}; run `endcap ingest --until DAY`")
    record = json.loads(path.read_text())
    if record.get("until"):
        return date.fromisoformat(record["until"])
    return ShopCalendar.load(settings.shop_calendar).day_at(datetime.fromisoformat(record["last"]))


def days_in(settings: Settings) -> list[date]:
    """Days whose rows were taken in after the full ingest, in order."""
    folders = marker_file(settings, "ingest").parent.glob("????-??-??")
    return sorted(date.fromisoformat(path.name) for path in folders if (path / "ingest.json").exists())


def last_day(settings: Settings) -> date:
    """The last day that is in."""
    return max([base_day(settings), *days_in(settings)])


@dataclass(frozen=True)
class Daily:
    """Runs days over one pipeline; `changed` tells which of the days before one were corrected since."""

    pipeline: Pipeline
    changed: Changed
    say: Say
    head: Say

    def day(self, choices: Choices, *, until: str | None = None, again: str | None = None) -> None:
        """One day. DayOrderError where it is not the next one, RefusedError where the gate says no."""
        settings, day = self.pipeline.settings, day_of(choices)
        newest = last_day(settings)
        self._check_follows(day, newest)
        if day < newest:
            self._check_done(choices, newest)
            self.head(f"{day} is done, as are the days up to {newest}")
            return
        redone = [each for each in self.changed(settings, choices) if each in days_in(settings)]
        if redone:
            self.head(f"corrected since: {', '.join(map(str, redone))}; these and all features since anew")
            self._data(choices, redone[0], day_before(day), again=redone)
        self._whole(choices, until=until, again=again)

    def backfill(self, choices: Choices, first: date, last: date, *, every_model: bool = False) -> None:
        """All days from `first` to `last` anew, and a model of the last, or of each.

        DayOrderError where days behind `last` were made from these, or days before `first` are missing.
        """
        newest = last_day(self.pipeline.settings)
        if first > last:
            raise DayOrderError(f"--from {first} is after --to {last}; give the earlier day first")
        self._check_follows(first, newest)
        if last < newest:
            raise DayOrderError(f"Days up to {newest} were made from {last}; give --to {newest}")
        done = days_in(self.pipeline.settings)
        for day in days_between(first, last):
            self._data(choices, day, day, again=done)
            if every_model or day == last:
                self._whole(replace(choices, day=day))

    def _data(self, choices: Choices, first: date, last: date, *, again: Sequence[date]) -> None:
        """Rows, features and online store of some days in order; those in `again` are read again.

        All of it is done here: a cluster was asked for the newest day alone.
        """
        pipeline = replace(self.pipeline, elsewhere=())
        for day in days_between(first, last):
            self.head(f"data of {day}")
            pipeline.run(
                replace(choices, day=day),
                say=self.say,
                head=self.head,
                until=LAST_OF_DATA,
                again="ingest" if day in again else None,
            )

    def _whole(self, choices: Choices, *, until: str | None = None, again: str | None = None) -> None:
        """The whole table of a day, or up to a step; its champion is noted before any of its models."""
        steps = self.pipeline.steps
        if until is None or steps.index(step_named(until, steps)) > steps.index(
            step_named(LAST_OF_DATA, steps)
        ):
            note_champion(self.pipeline.settings, day_of(choices))
        self.pipeline.run(choices, say=self.say, head=self.head, until=until, again=again)

    def _check_follows(self, day: date, newest: date) -> None:
        base = base_day(self.pipeline.settings)
        if day <= base:
            raise DayOrderError(
                f"{day} is in the tables of the full ingest, which end with {base}; days go on from"
                f" {base + ONE_DAY}, or ingest anew with --until {day_before(day)}"
            )
        if day > newest + ONE_DAY:
            raise DayOrderError(
                f"{day} does not follow {newest}, the last day that is in; run"
                f" `endcap backfill --from {newest + ONE_DAY} --to {day}`"
            )

    def _check_done(self, choices: Choices, newest: date) -> None:
        """DayOrderError where the data of an earlier day would be made again."""
        for step in self.pipeline.steps:
            reason = self.pipeline.reason_to_run(step, choices) if step.scope(choices) else None
            if reason:
                raise DayOrderError(
                    f"{choices.day} would be done again ({step.name}: {reason}), and days up to {newest} were"
                    f" made from it; run `endcap backfill --from {choices.day} --to {newest}`"
                )
            if step.name == LAST_OF_DATA:
                return


def days_between(first: date, last: date) -> list[date]:
    """All days from one to another, both included."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
