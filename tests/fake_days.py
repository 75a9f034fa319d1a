"""A shop whose days are small numbers: what the tests of logical dates run.

    ingest (the day's number in source/DAY)  ->  build-features (yesterday's total + it)  ->  materialize
    train (once a week)                      ->  warm-start  ->  gate (refuses above a limit)  ->  switch

Its steps are `fake_day_steps.py`. As the run of days: `fake_days.py days FOLDER FIRST LAST`.
"""

import json
import sys
from datetime import date, timedelta
from pathlib import Path

import fake_day_steps
from fake_day_steps import write

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from jobs.days.daily import Daily, days_between
from jobs.pipeline import Pipeline
from jobs.steps import Choices, Step

BASE = date(2024, 1, 7)  # the full ingest ends with it; its total is 10


def _left(folder):
    return lambda settings, choices: (settings.state / folder / f"{choices.day}.txt",)


def _day(_, choices):
    return {"day": choices.day}


def _scope(choices):
    return choices.day.isoformat()


def _monday(choices):
    return choices.day - timedelta(days=choices.day.weekday())


def _gate(settings, choices):
    path = settings.state / "gate" / f"{choices.day}.txt"
    before = path.read_text().split() if path.exists() else []
    return {"day": choices.day, "override": choices.override or (before[1] if len(before) > 1 else None)}


def _refusal(settings, choices):
    said = (settings.state / "gate" / f"{choices.day}.txt").read_text().split()
    return "too large" if said == ["refused"] else None


def _step(name, *after, **more):
    return Step(
        name=name,
        module=f"fakes.{name.replace('-', '_')}",
        after=after,
        **{"arguments": _day, "scope": _scope, **more},
    )


STEPS = (
    _step("ingest", outputs=_left("tables")),
    _step("build-features", "ingest", outputs=_left("features"), daily=True),
    _step("materialize", "build-features"),
    _step(
        "train",
        "build-features",
        scope=lambda choices: f"week-{_monday(choices)}",
        arguments=lambda _, choices: {"day": _monday(choices)},
        pinned=True,
    ),
    _step("warm-start", "build-features", "train", outputs=_left("model")),
    _step("gate", "warm-start", outputs=_left("gate"), arguments=_gate, refusal=_refusal),
    _step("switch", "gate"),
)


def changed(settings, choices):
    """Days of the three before whose number is another than when it was taken in."""
    days = [choices.day - timedelta(days=n) for n in (3, 2, 1)]
    tables, source = settings.state / "tables", settings.state / "source"
    return [
        day
        for day in days
        if (tables / f"{day}.txt").exists()
        and (tables / f"{day}.txt").read_text() != (source / f"{day}.txt").read_text()
    ]


def shop(folder, lines=None, heads=None):
    """A run of days over FOLDER/state; days after BASE have the numbers 1, 2, 3 ..."""
    settings = Settings(state=folder / "state", reports=folder / "reports")
    if not (folder / "fakes").exists():
        (folder / "fakes").mkdir(parents=True)
        for step in STEPS:
            (folder / "fakes" / f"{step.name.replace('-', '_')}.py").write_text("X = 1\n")
        for number, day in enumerate(days_between(BASE + timedelta(days=1), BASE + timedelta(days=30)), 1):
            write(settings.state / "source" / f"{day}.txt", str(number))
        write(settings.state / "features" / f"{BASE}.txt", "10")
        write(settings.state / "tables" / "ingest.json", json.dumps({"until": BASE.isoformat()}))
        ShopCalendar("UTC", date(2024, 1, 1)).save(settings.shop_calendar)
    pipeline = Pipeline(settings, steps=STEPS, program=(sys.executable, fake_day_steps.__file__), root=folder)
    say, head = (lines if lines is not None else []).append, (heads if heads is not None else []).append
    return Daily(pipeline, changed, say=say, head=head)


if __name__ == "__main__":
    run = shop(Path(sys.argv[2]))
    for one in days_between(*map(date.fromisoformat, sys.argv[3:5])):
        run.day(Choices(day=one))
