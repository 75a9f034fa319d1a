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
from typing import Any

from bentos import metrics
from bentos.assignment import Assigned, arms_in_force, assigned
from bentos.experiments import ExperimentError, Experiments, load_experiments
from bentos.exploration import Explore
from bentos.followed_files import FollowedFiles, state_of
from bentos.ladder import Reader
from bentos.live_rules import LiveRules, under
from bentos.release import Catalogue, Manifest, Release
from bentos.rollouts import load_rollouts, rolled_out
from bentos.rule_file import checked_against, load_rules
from feature_repo.settings import Settings

log = logging.getLogger("bentoml.endcap")
NO_EXPERIMENTS = Experiments()


@dataclass(frozen=True)
class Engine:
    """A release under the rules in force, and where its features come from."""

    rules: LiveRules
    features: Reader

    @property
    def release(self) -> Release:
        """The release under the rules in force now."""
        return self.rules.release


@dataclass(frozen=True)
class Variant:
    """What answers one user."""

    release: Release
    features: Reader
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
) -> None:
    """ExperimentError for rules of an experiment file that cannot be used with a release."""
    for name, rules in variants.items():
        with named_in(path, f"rules {name!r}"):
            checked_against(rules, catalogue, manifest["features"]["item"])


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

    def __init__(self, settings: Settings, own: Engine, engine_of: Callable[[str], Engine]) -> None:
        """`engine_of` opens another release by its tag; what cannot be used is an error at the start."""
        super().__init__(settings.experiments_file, settings.rollouts_file)
        self._settings, self._own, self._engine_of = settings, own, engine_of
        self.in_force = InForce(NO_EXPERIMENTS, {}, {})
        if state_of(settings.experiments_file) is not None:
            self._take()

    def take(self) -> None:
        """Take the files, or say why they are refused."""
        try:
            self._take()
        except Exception as error:  # whatever a release or a file holds
            metrics.experiments_read("refused")
            log.warning("experiments refused, the last valid ones stay in force: %s", error)

    def _take(self) -> None:
        path, before = self._settings.experiments_file, self.in_force.engines
        new = experiments_in_force(self._settings)
        named = rules_of(new)
        self.follow(path, self._settings.rollouts_file, *(path.parent / name for name in named))
        rules, engines = rule_variants(new, path), {}
        for tag in releases_of(new):
            if tag != self._own.release.tag:
                with named_in(path, f"release {tag!r}"):
                    engines[tag] = before.get(tag) or self._engine_of(tag)
        for each in (self._own, *engines.values()):
            check_variants(rules, path, each.release.catalogue, each.release.manifest)
        self.in_force = InForce(new, engines, rules)
        for tag in engines.keys() - before.keys():
            engines[tag].rules.watch()
        for tag in before.keys() - engines.keys():
            before[tag].rules.stop()
        metrics.experiments_read("taken")
        log.info("experiments in force: %s", ", ".join(new.experiments) or "none")

    def of(self, user_id: str, now: datetime, forced: Mapping[str, str] | None = None) -> Variant:
        """What answers a user at an instant; ExperimentError for a forced arm that is not there."""
        now_in_force, own = self.in_force, self._own
        experiments = now_in_force.experiments
        variant = Variant(own.release, own.features, Assigned())
        if not experiments.experiments and not forced:
            return variant
        found = assigned(experiments, user_id, now, forced)
        arms = arms_in_force(experiments, found)
        for arm in arms:
            if arm.release:
                engine = now_in_force.engines.get(arm.release, own)
                variant = replace(variant, release=engine.release, features=engine.features, legacy=None)
            variant = replace(
                variant,
                legacy=arm.legacy or variant.legacy,
                explore=arm.explore.as_drawn() if arm.explore else variant.explore,
            )
        for name in (arm.rules for arm in arms if arm.rules):
            variant = replace(variant, release=now_in_force.under(variant.release, name))
        return replace(variant, assigned=found)
