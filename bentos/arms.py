"""What answers a request: the release, rules, legacy rule and exploration that a user's arms make together.

Followed while the service runs: `state/experiments.yaml`, an operator's, with the rule files that it names,
and over it `state/rollouts.json`, which `endcap rollout` writes. Files that cannot be used change nothing:
what was valid last stays, and the log and /metrics say so.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any

from bentos import metrics
from bentos.assignment import Assigned, arms_in_force, assigned
from bentos.experiments import ExperimentError, Experiments, load_experiments
from bentos.exploration import Explore
from bentos.followed_files import FollowedFiles, state_of
from bentos.live_release import Engine, LiveRelease
from bentos.live_rules import under
from bentos.online_features import OnlineFeatures
from bentos.release import Catalogue, Manifest, Release
from bentos.rollouts import load_rollouts, rolled_out
from bentos.rule_file import checked_against, load_rules
from feature_repo.settings import Settings

log = logging.getLogger("bentoml.endcap")
NO_EXPERIMENTS = Experiments()


@dataclass(frozen=True)
class Variant:
    """What answers one user."""

    release: Release
    features: OnlineFeatures
    assigned: Assigned
    legacy: str | None = None
    explore: Explore | None = None


def experiments_in_force(settings: Settings) -> Experiments:
    """What both files say; no experiment without the first. ExperimentError where one cannot be used."""
    if state_of(settings.experiments_file) is None:
        return NO_EXPERIMENTS
    return rolled_out(load_experiments(settings.experiments_file), load_rollouts(settings.rollouts_file))


def rules_of(experiments: Experiments) -> list[str]:
    """Names of the rule files that arms name."""
    arms = (arm for each in experiments.experiments.values() for arm in each.arms.values())
    return sorted({arm.rules for arm in arms if arm.rules})


def releases_of(experiments: Experiments) -> list[str]:
    """Tags of the releases that arms name."""
    arms = (arm for each in experiments.experiments.values() for arm in each.arms.values())
    return sorted({arm.release for arm in arms if arm.release})


@contextmanager
def named_in(path: Path, what: str) -> Iterator[None]:
    """What is wrong with something that an experiment file names is an ExperimentError with both names."""
    try:
        yield
    except ValueError as error:
        raise ExperimentError(f"{path}: {what}: {error}") from error


def rule_variants(experiments: Experiments, path: Path) -> dict[str, Mapping[str, Any]]:
    """The rules of the files that arms name, by that name, relative to the folder of the experiment file."""
    variants: dict[str, Mapping[str, Any]] = {}
    for name in rules_of(experiments):
        with named_in(path, f"rules {name!r}"):
            variants[name] = load_rules(path.parent / name)
    return variants


def check_variants(
    variants: Mapping[str, Mapping[str, Any]], path: Path, catalogue: Catalogue, manifest: Manifest
) -> list[str]:
    """What to be warned of, by rule file; ExperimentError for rules that cannot be used with a release."""
    warnings = []
    for name, rules in variants.items():
        with named_in(path, f"rules {name!r}"):
            found = checked_against(rules, catalogue, manifest["features"]["item"])
        warnings += [f"{name}: {warning}" for warning in found]
    return warnings


@dataclass(frozen=True)
class InForce:
    """What the files say and what it takes: replaced as a whole, so a request takes it once."""

    experiments: Experiments
    engines: Mapping[str, Engine]  # by release
    rules: Mapping[str, Mapping[str, Any]]  # by file
    ruled: dict[tuple[str, str], tuple[Release, Release]] = field(default_factory=dict)

    def under(self, release: Release, name: str) -> Release:
        """A release under the rules of one file, made once for as long as its own rules stay."""
        made = self.ruled.get((release.tag, name))
        if made is None or made[0] is not release:
            made = self.ruled[release.tag, name] = (release, under(release, self.rules[name]))
        return made[1]


class Arms(FollowedFiles):
    """Chooses what answers, by the experiments in force."""

    def __init__(self, settings: Settings, live: LiveRelease, engine_of: Callable[[str], Engine]) -> None:
        """`engine_of` opens another release by its tag; what cannot be used is an error at the start."""
        super().__init__(settings.experiments_file, settings.rollouts_file)
        self._settings, self._live, self._engine_of = settings, live, engine_of
        self.in_force, self._turn = InForce(NO_EXPERIMENTS, {}, {}), Lock()
        if state_of(settings.experiments_file) is not None:
            self._take()

    def take(self) -> None:
        """Take the files, or say why they are refused."""
        try:
            with self._turn:  # the files and the current release may change at one time
                self._take()
        except Exception as error:  # whatever a release or a file holds
            metrics.experiments_read("refused")
            log.warning("experiments refused, the last valid ones stay in force: %s", error)

    def _take(self) -> None:
        path, before, own = self._settings.experiments_file, self.in_force.engines, self._live.engine
        new = experiments_in_force(self._settings)
        named = rules_of(new)
        self.follow(path, self._settings.rollouts_file, *(path.parent / name for name in named))
        rules, engines = rule_variants(new, path), {}
        for tag in releases_of(new):
            with named_in(path, f"release {tag!r}"):
                known = own if tag == own.release.tag else before.get(tag)
                engines[tag] = known or self._engine_of(tag)
        for each in (own, *engines.values()):
            check_variants(rules, path, each.release.catalogue, each.release.manifest)
        self.in_force = InForce(new, engines, rules)
        for engine in engines.values():
            engine.rules.watch()
        for engine in before.values():
            self.let_go(engine)
        metrics.experiments_read("taken")
        log.info("experiments in force: %s", ", ".join(new.experiments) or "none")

    def switched(self, old: Engine) -> None:
        """Another release is current: arms that name one keep it, and rules are held against the new one."""
        self.take()
        self.let_go(old)

    def let_go(self, engine: Engine) -> None:
        """Follow the rules of an engine no longer, unless it answers somebody."""
        in_use = (self._live.engine, *self.in_force.engines.values())
        if not any(engine is each for each in in_use):
            engine.rules.stop()

    def of(self, user_id: str, now: datetime, forced: Mapping[str, str] | None = None) -> Variant:
        """What answers a user at an instant; ExperimentError for a forced arm that is not there."""
        now_in_force, own = self.in_force, self._live.engine
        experiments = now_in_force.experiments
        variant = Variant(own.release, own.features, Assigned())
        if not experiments.experiments and not forced:
            return variant
        found = assigned(experiments, user_id, now, forced)
        arms = arms_in_force(experiments, found)
        for arm in arms:
            if arm.release:
                engine = now_in_force.engines[arm.release]
                variant = replace(variant, release=engine.release, features=engine.features, legacy=None)
            variant = replace(
                variant,
                legacy=arm.legacy or variant.legacy,
                explore=arm.explore.as_drawn() if arm.explore else variant.explore,
            )
        for name in (arm.rules for arm in arms if arm.rules):
            variant = replace(variant, release=now_in_force.under(variant.release, name))
        return replace(variant, assigned=found)
