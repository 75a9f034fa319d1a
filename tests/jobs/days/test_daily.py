"""Days follow one another: each once, in order, resumable, corrected or refused where they must be."""

import os
import random
import signal
import subprocess
import sys
import time
from datetime import date, timedelta
from itertools import accumulate

import fake_days
import pytest
from fake_day_steps import write

from jobs.days.champion import champion_file
from jobs.days.daily import DayOrderError, base_day, days_in, last_day
from jobs.pipeline import RefusedError, StepFailedError
from jobs.steps import Choices
from jobs.writer_lock import StateIsBusyError, writer_lock

FIRST = fake_days.BASE + timedelta(days=1)  # Monday 8 January
ALL = ["ingest", "build-features", "materialize", "train", "warm-start", "gate", "switch"]


def after(n):
    """The n-th day after the full ingest."""
    return fake_days.BASE + timedelta(days=n)


class Runs:
    """A shop of days, with what its steps did at the last call."""

    def __init__(self, folder):
        self.lines, self.heads = [], []
        self.daily = fake_days.shop(folder, self.lines, self.heads)
        self.state = self.daily.pipeline.settings.state

    def _did(self, work):
        log = self.state / "calls.log"
        log.unlink(missing_ok=True)
        try:
            work()
        finally:
            calls = log.read_text().splitlines() if log.exists() else []
            self.did = [tuple(call.split()[0:3:2]) for call in calls]
        return self.did

    def day(self, n, **options):
        """Run the n-th day; names and days of the steps that were really done."""
        choices = Choices(day=after(n), override=options.pop("override", None))
        return self._did(lambda: self.daily.day(choices, **options))

    def backfill(self, first, last, **options):
        """Run days anew."""
        return self._did(lambda: self.daily.backfill(Choices(), after(first), after(last), **options))

    def left(self):
        """All that days have left, by file, without markers."""
        paths = [*self.state.rglob("*.txt"), self.state / "current"]
        return {str(path.relative_to(self.state)): path.read_text() for path in paths if path.exists()}


@pytest.fixture
def runs(tmp_path):
    """A shop whose full ingest ends with Sunday 7 January."""
    return Runs(tmp_path)


def test_a_day_does_every_step_in_order_and_serves(runs):
    """The first day goes on from the full ingest's total of 10 and adds its 1."""
    assert [name for name, _ in runs.day(1)] == ALL
    assert (runs.state / "features" / f"{FIRST}.txt").read_text() == "11"
    assert (runs.state / "current").read_text() == f"{FIRST} 77"


def test_a_second_run_of_a_day_does_nothing(runs):
    """The newest day and an earlier one alike."""
    runs.day(1)
    assert runs.day(1) == []
    runs.day(2)
    assert runs.day(1) == []
    assert "is done" in runs.heads[-1]


def test_days_add_up_and_a_week_is_trained_once(runs):
    """Ten days: totals are running sums, training is done on two Mondays."""
    done = [step for n in range(1, 11) for step in runs.day(n)]
    totals = list(accumulate(range(1, 11), initial=10))[1:]
    assert [(runs.state / "features" / f"{after(n)}.txt").read_text() for n in range(1, 11)] == list(
        map(str, totals)
    )
    assert [day for name, day in done if name == "train"] == ["2024-01-08", "2024-01-15"]
    assert last_day(runs.daily.pipeline.settings) == after(10)


def test_a_day_that_does_not_follow_is_refused(runs):
    """A gap names the days to fill, a day of the full ingest the one to go on from; nothing is done."""
    with pytest.raises(DayOrderError, match="backfill --from 2024-01-08 --to 2024-01-10"):
        runs.day(3)
    with pytest.raises(
        DayOrderError, match=r"2024-01-07 is in the tables of the full .* go on from 2024-01-08"
    ):
        runs.day(0)
    assert runs.did == []
    assert days_in(runs.daily.pipeline.settings) == []
    assert base_day(runs.daily.pipeline.settings) == fake_days.BASE


def test_an_earlier_day_whose_code_changed_is_not_done_under_later_ones(runs, tmp_path):
    """It says which days were made from it, and the command that does them all."""
    runs.day(1)
    runs.day(2)
    (tmp_path / "fakes" / "ingest.py").write_text("X = 2\n")
    with pytest.raises(DayOrderError, match=r"code changed.*backfill --from 2024-01-08 --to 2024-01-09"):
        runs.day(1)


def test_yesterdays_corrections_are_taken_in_first(runs):
    """A number that changed moves its own day's rows and all totals since; releases of before stay."""
    for n in (1, 2, 3):
        runs.day(n)
    (runs.state / "source" / f"{after(2)}.txt").write_text("20")
    did = runs.day(4)
    data = [
        ("ingest", 2),
        ("build-features", 2),
        ("materialize", 2),
        ("build-features", 3),
        ("materialize", 3),
    ]
    assert did[: len(data)] == [(name, str(after(n))) for name, n in data]
    assert [name for name, day in did[len(data) :]] == [name for name in ALL if name != "train"]
    assert (runs.state / "features" / f"{after(4)}.txt").read_text() == str(10 + 1 + 20 + 3 + 4)
    assert (runs.state / "model" / f"{after(2)}.txt").read_text() == str(7 * 13)


def test_corrections_of_the_full_ingest_are_left_to_it(runs):
    """A day before the first has no day of its own to be taken in again."""
    write(runs.state / "tables" / f"{fake_days.BASE}.txt", "1")
    write(runs.state / "source" / f"{fake_days.BASE}.txt", "2")
    assert [name for name, _ in runs.day(1)] == ALL


def test_a_refused_challenger_leaves_the_champion(runs):
    """Data and features are in, `current` stays, a second run says the same; an override lets it pass."""
    for n in range(1, 4):
        runs.day(n)
    before = (runs.state / "current").read_text()
    (runs.state / "source" / f"{after(4)}.txt").write_text("1000")
    with pytest.raises(RefusedError, match="too large"):
        runs.day(4)
    assert runs.did[-1] == ("gate", str(after(4)))
    assert (runs.state / "store.txt").read_text() == "1016"
    assert (runs.state / "current").read_text() == before
    with pytest.raises(RefusedError):
        runs.day(4)
    assert runs.did == []
    assert [name for name, _ in runs.day(4, override="known")] == ["gate", "switch"]
    assert runs.day(4) == []
    assert (runs.state / "current").read_text().startswith(str(after(4)))


def test_backfill_takes_in_several_days_and_trains_on_the_last(runs):
    """Each day's data, one model; with --every-model each day's; done days are read again."""
    did = runs.backfill(1, 3)
    assert [day for name, day in did if name == "ingest"] == [str(after(n)) for n in (1, 2, 3)]
    assert [day for name, day in did if name == "warm-start"] == [str(after(3))]
    did = runs.backfill(2, 4, every_model=True)
    assert [day for name, day in did if name == "ingest"] == [str(after(n)) for n in (2, 3, 4)]
    assert [day for name, day in did if name == "warm-start"] == [str(after(n)) for n in (2, 3, 4)]


def test_backfill_does_not_leave_later_days_behind(runs):
    """Days that were made from those that are done anew are part of it; a wrong order is named."""
    runs.backfill(1, 4)
    with pytest.raises(DayOrderError, match="give --to 2024-01-11"):
        runs.backfill(2, 3)
    with pytest.raises(DayOrderError, match="earlier day first"):
        runs.backfill(3, 2)


def test_the_champion_is_noted_once(runs):
    """It is what served before the day, also in a second run after the switch."""
    runs.day(1)
    runs.day(2)
    runs.day(2)
    assert champion_file(runs.daily.pipeline.settings, after(1)).read_text() == '{"tag": null}\n'
    assert f'"{FIRST} 77"' in champion_file(runs.daily.pipeline.settings, after(2)).read_text()


def test_until_a_step_of_the_data_notes_no_champion(runs):
    """Who takes in data alone has begun no model."""
    assert [name for name, _ in runs.day(1, until="materialize")] == ALL[:3]
    assert not champion_file(runs.daily.pipeline.settings, FIRST).exists()


def test_two_runs_at_once_are_one(runs):
    """The second says who is at work, and does nothing."""
    with writer_lock(runs.daily.pipeline.settings), pytest.raises(StateIsBusyError, match="is writing to"):
        runs.day(1)
    assert runs.did == []


def test_a_day_whose_source_fails_leaves_the_days_before(runs):
    """A step that fails ends the run; mended, the same command goes on."""
    runs.day(1)
    (runs.state / "source" / f"{after(2)}.txt").rename(runs.state / "away")
    with pytest.raises(StepFailedError, match="ingest failed"):
        runs.day(2)
    assert last_day(runs.daily.pipeline.settings) == FIRST
    (runs.state / "away").rename(runs.state / "source" / f"{after(2)}.txt")
    assert [name for name, _ in runs.day(2)] == [name for name in ALL if name != "train"]


def test_killed_at_random_moments_the_days_end_as_if_nothing_was(runs, tmp_path):
    """Two days, killed again and again with all their children: the same files as an undisturbed run."""
    runs.day(1)
    runs.day(2)
    folder = tmp_path / "killed"
    killed = Runs(folder)
    command = [sys.executable, fake_days.__file__, "days", str(folder), str(after(1)), str(after(2))]
    rng, kills = random.Random(4), 0
    while kills < 20:
        with subprocess.Popen(command, env={**os.environ, "FAKE_PAUSE": "0.15"}) as process:
            try:
                process.wait(rng.uniform(0.4, 1.6))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                kills += 1
        if process.returncode == 0:
            break
        time.sleep(0.6)  # its children end as they notice
    subprocess.run(command, check=True, timeout=120)
    assert kills > 2
    assert killed.left() == runs.left()


def test_days_go_on_over_the_end_of_a_month():
    """29 February stands between the 28th and 1 March of a leap year."""
    days = fake_days.days_between(date(2024, 2, 28), date(2024, 3, 1))
    assert [day.isoformat() for day in days] == ["2024-02-28", "2024-02-29", "2024-03-01"]
