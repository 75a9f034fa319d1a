"""The table of steps: what runs, in which order, from what, with which arguments, and what it leaves.

This is the only place that knows the order. A step is a verb of `endcap`, so each can also be run by hand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from feature_repo.settings import Settings
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.stores.packed.opened import store_files, store_server

Arguments = Mapping[str, str | int | float | date | datetime | None]


@dataclass(frozen=True)
class Choices:
    """What a person chooses for a whole run of the pipeline."""

    cut: int = 49
    source: str = "complete_journey"
    scale: float | None = None
    model: str | None = None
    data_until: date | None = None  # what the full ingest ends with
    day: date | None = None
    override: str | None = None


@dataclass(frozen=True)
class Step:
    """One row of the table.

    Attributes
    ----------
    name
        the verb, as in `endcap NAME`
    module
        module with `run(settings, **arguments) -> Result`; all that it imports of ours counts as its code
    after
        steps whose outputs it reads: when one of them is done again, so is this one
    outputs
        files or folders that it leaves; when one is missing, it is done again
    arguments
        keyword arguments of `run` for the given choices; called when the steps before are done
    more_code
        modules of ours that it reaches by name only, not by an import
    files
        files of the repository that it reads besides code
    libraries
        distributions whose version shapes the outputs
    server
        the server that it fills besides: filled for one, it is to be done again for another
    scope
        what the step is done for: its marker lies in the folder of that name, none for the whole installation
    reads
        files that it reads whose content counts, not who wrote them when
    daily
        whether it goes on from what it left the day before, and is done again when that is
    pinned
        whether what it left holds when the steps before it are done again
    refusal
        asked when it is done: why nothing after it is to be done, None to go on
    here
        whether an installation has it
    """

    name: str
    module: str
    after: tuple[str, ...] = ()
    outputs: Callable[[Settings, Choices], tuple[Path, ...]] = lambda _settings, _choices: ()
    arguments: Callable[[Settings, Choices], Arguments] = lambda _settings, _choices: {}
    more_code: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    server: Callable[[Settings], str | None] = lambda _settings: None
    scope: Callable[[Choices], str] = lambda _choices: ""
    reads: Callable[[Settings], tuple[Path, ...]] = lambda _settings: ()
    daily: bool = False
    pinned: bool = False
    refusal: Callable[[Settings, Choices], str | None] = lambda _settings, _choices: None
    here: Callable[[Settings], bool] = lambda _settings: True

    def marker(self, choices: Choices) -> str:
        """Name of its marker."""
        return "/".join(filter(None, (self.scope(choices), self.name)))


def _cut(_: Settings, choices: Choices) -> Arguments:
    return {"cut": choices.cut}


def _end_of_cut(settings: Settings, choices: Choices) -> Arguments:
    return {"end": ShopCalendar.load(settings.shop_calendar).end(choices.cut)}


# What `feature_store.yaml` names by class path, so that no import tells of it.
STORE_CODE = (
    "feature_repo.definitions",
    "feature_repo.stores.asof",
    "feature_repo.stores.state_registry",
    "feature_repo.stores.packed.online_store",
)
FEATURE_STORES = ("feature_repo/feature_store.yaml", "feature_repo/feature_store.gcp.yaml")
STEPS = (
    Step(
        name="ingest",
        module="jobs.ingest",
        outputs=lambda s, _: (s.table("transactions"), s.table("items"), s.state / "tables" / "ingest.json"),
        arguments=lambda _, choices: {
            "source": choices.source,
            "scale": choices.scale,
            "until": choices.data_until,
        },
    ),
    Step(
        name="build-features",
        module="jobs.build_features",
        after=("ingest",),
        outputs=lambda s, _: tuple(
            s.feature_table(n) for n in ("user_stats", "user_history", "item_stats", "item_coming_promotions")
        ),
        libraries=("pyspark",),
    ),
    Step(
        name="embed-items",
        module="jobs.embed_items",
        after=("ingest",),
        outputs=lambda s, _: (s.feature_table("item_text"),),
        arguments=lambda _, choices: {"model": choices.model},
        libraries=("torch", "transformers"),
    ),
    Step(
        name="load",
        module="jobs.load",
        after=("ingest", "build-features", "embed-items"),
        outputs=lambda s, _: (s.state / "bigquery" / f"{s.bigquery_dataset}.transactions.json",),
        more_code=("feature_repo.features.users", "feature_repo.features.items"),
        libraries=("google-cloud-bigquery",),
        here=lambda s: s.in_bigquery,
    ),
    Step(
        name="apply",
        module="jobs.apply",
        outputs=lambda s, _: (s.registry,),
        more_code=STORE_CODE,
        files=FEATURE_STORES,
        libraries=("feast",),
        server=store_server,
    ),
    # Training needs the registry, not a new registration: it follows the definitions' code, not `apply`.
    Step(
        name="train",
        module="jobs.train",
        after=("build-features", "embed-items", "load"),
        outputs=lambda s, choices: (s.training / f"cut-{choices.cut}" / "release" / "manifest.json",),
        arguments=_cut,
        more_code=STORE_CODE[:-1],
        files=FEATURE_STORES,
        libraries=("feast", "tensorflow", "tensorflow-recommenders", "xgboost"),
    ),
    Step(
        name="evaluate",
        module="jobs.evaluate",
        after=("train",),
        outputs=lambda s, _: (s.reports / "quality.json",),
        arguments=_cut,
        libraries=("xgboost",),
    ),
    Step(
        name="publish",
        module="jobs.publish",
        after=("train", "evaluate"),
        outputs=lambda s, _: (s.current_release,),
        arguments=_cut,
        libraries=("bentoml",),
    ),
    Step(
        name="materialize",
        module="jobs.materialize",
        after=("build-features", "load", "apply"),
        outputs=lambda s, _: store_files(s),
        arguments=_end_of_cut,
        more_code=STORE_CODE[1:],
        files=FEATURE_STORES,
        libraries=("feast",),
        server=store_server,
    ),
)


def steps_here(settings: Settings, steps: tuple[Step, ...] = STEPS) -> tuple[Step, ...]:
    """Those of the steps that an installation has."""
    return tuple(step for step in steps if step.here(settings))


def step_named(name: str, steps: tuple[Step, ...] = STEPS) -> Step:
    """Return the step of that name."""
    for step in steps:
        if step.name == name:
            return step
    raise ValueError(f"No step is named {name!r}; use one of {', '.join(step.name for step in steps)}")
