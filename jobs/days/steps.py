"""The table of steps of one logical date, in their order: from the day's rows to the release that serves.

The steps are verbs of `endcap`, as those of `jobs.steps`, which make what a first day goes on from. Each day
has markers of its own. A day's data is in the online store before its model is judged, so features are fresh
whatever the gate says.
"""

import json
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.stores.packed.opened import store_files
from jobs.days.champion import champion_of
from jobs.markers import read_marker
from jobs.pipeline import day_before
from jobs.steps import FEATURE_STORES, STORE_CODE, Arguments, Choices, Step, step_named
from training.day import day_split

LAST_OF_DATA = "materialize"


def day_of(choices: Choices) -> date:
    """The logical date; ValueError for choices without one."""
    if choices.day is None:
        raise ValueError("These steps are of one day; give --date 2017-12-04")
    return choices.day


def base_cut(settings: Settings, day: date) -> int:
    """Newest shop week that was over before the window in which the day's challenger is judged."""
    return day_split(ShopCalendar.load(settings.shop_calendar), day).cut


def filled_to(settings: Settings, day: date) -> datetime | None:
    """The instant as of which the online store was last filled before a day; None if it never was."""
    if read_marker(settings, f"{day_before(day)}/materialize"):
        return ShopCalendar.load(settings.shop_calendar).day_end(day_before(day))
    marker = read_marker(settings, "materialize")
    words = marker.parts["arguments"].split() if marker else []
    return datetime.fromisoformat(words[words.index("--end") + 1]) if "--end" in words else None


def _scope(choices: Choices) -> str:
    return day_of(choices).isoformat()


def _day(_: Settings, choices: Choices) -> Arguments:
    return {"day": day_of(choices)}


def _source(_: Settings, choices: Choices) -> Arguments:
    return {"day": day_of(choices), "source": choices.source, "scale": choices.scale}


def _fill(settings: Settings, choices: Choices) -> Arguments:
    day = day_of(choices)
    end = ShopCalendar.load(settings.shop_calendar).day_end(day)
    return {"end": end, "since": filled_to(settings, day)}


def _cut(settings: Settings, choices: Choices) -> Arguments:
    return {"cut": base_cut(settings, day_of(choices))}


def _against(settings: Settings, choices: Choices) -> Arguments:
    return {"day": day_of(choices), "champion": champion_of(settings, day_of(choices))}


def _gate(settings: Settings, choices: Choices) -> Arguments:
    """A reason that was given once holds for the day."""
    path = settings.day(day_of(choices)) / "gate.json"
    before = json.loads(path.read_text()).get("override") if path.exists() else None
    return {**_against(settings, choices), "override": choices.override or before}


def refusal(settings: Settings, choices: Choices) -> str | None:
    """Why the gate let the day's challenger not pass; None where it did."""
    decision = json.loads((settings.day(day_of(choices)) / "gate.json").read_text())
    if decision["promoted"]:
        return None
    reasons = "; ".join(check["reason"] for check in decision["checks"] if not check["passed"])
    return f"The challenger of {choices.day} is refused: {reasons}"


def _snapshots(settings: Settings, choices: Choices) -> tuple[Path, ...]:
    names = ("user_stats", "user_history", "item_stats")
    return tuple(settings.feature_table(name) / f"day-{day_of(choices)}.parquet" for name in names)


DAY_STEPS = (
    Step(
        name="ingest",
        module="jobs.ingest_day",
        outputs=lambda s, c: (s.table_part("transactions", day_of(c)),),
        arguments=_source,
        scope=_scope,
    ),
    Step(
        name="build-features",
        module="jobs.build_day_features",
        after=("ingest",),
        outputs=_snapshots,
        arguments=_day,
        libraries=("pyspark",),
        scope=_scope,
        daily=True,
    ),
    replace(step_named("embed-items"), after=(), reads=lambda s: (s.table("items"),)),
    replace(step_named("load"), scope=_scope),
    step_named("apply"),
    Step(
        name="materialize",
        module="jobs.materialize",
        after=("build-features", "load", "apply"),
        outputs=lambda s, _: store_files(s),
        arguments=_fill,
        more_code=STORE_CODE[1:],
        files=FEATURE_STORES,
        libraries=("feast",),
        server=step_named("materialize").server,
        scope=_scope,
    ),
    # Once a week: rankers learn from whole weeks of labels. Corrections that come later do not undo it.
    replace(
        step_named("train"),
        outputs=lambda s, c: (s.training / f"cut-{base_cut(s, day_of(c))}" / "release" / "manifest.json",),
        arguments=_cut,
        pinned=True,
    ),
    Step(
        name="warm-start",
        module="jobs.train_day",
        after=("build-features", "embed-items", "load", "train"),
        outputs=lambda s, c: (s.day(day_of(c)) / "release" / "manifest.json",),
        arguments=_against,
        more_code=STORE_CODE[:-1],
        libraries=("feast", "tensorflow", "tensorflow-recommenders", "xgboost"),
        scope=_scope,
    ),
    Step(
        name="evaluate",
        module="jobs.evaluate_day",
        after=("warm-start",),
        outputs=lambda s, c: (s.day(day_of(c)) / "quality.json",),
        arguments=_against,
        libraries=("xgboost",),
        scope=_scope,
    ),
    Step(
        name="gate",
        module="jobs.gate.run",
        after=("evaluate", "materialize"),
        outputs=lambda s, c: (s.day(day_of(c)) / "gate.json",),
        arguments=_gate,
        scope=_scope,
        refusal=refusal,
    ),
    Step(
        name="publish",
        module="jobs.days.publish",
        after=("warm-start", "gate"),
        outputs=lambda s, c: (s.day(day_of(c)) / "tag",),
        arguments=_day,
        libraries=("bentoml",),
        scope=_scope,
    ),
    Step(
        name="switch",
        module="jobs.days.switch",
        after=("publish", "materialize"),
        outputs=lambda s, _: (s.current_release,),
        arguments=_day,
        scope=_scope,
    ),
)


def arguments_by_hand(settings: Settings, name: str, day: date, given: Arguments) -> Arguments:
    """What a day's step takes: what a person gave of it, the rest as in a run of the day."""
    whole = step_named(name, DAY_STEPS).arguments(settings, Choices(day=day))
    return {key: value if given.get(key) is None else given[key] for key, value in whole.items()}
