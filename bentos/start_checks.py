"""What is checked before a service starts: its release, rules, experiments, the store, what Vertex wants.

Here and not in the service, whose class BentoML makes in a worker: one that fails is started again for ever.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import bentoml

from bentos.arms import check_variants, experiments_in_force, named_in, releases_of, rule_variants
from bentos.current_release import current_tag
from bentos.durable_log import LogError
from bentos.event_log import EventLog
from bentos.experiments import ExperimentError, Experiments
from bentos.exposure_log import ExposureLog
from bentos.followed_files import state_of
from bentos.live_rules import operator_rules
from bentos.release import ReleaseError, load_catalogue, packed_tag, read_manifest, stored_model
from bentos.rule_parameters import RulesError
from bentos.secret_manager import SecretError, take_redis_url
from bentos.vertex import Contract, ContractError
from feature_repo.settings import Settings, SettingsError
from feature_repo.stores.packed.layout import RefusedError
from feature_repo.stores.packed.opened import check_server


def release_tag(settings: Settings) -> str:
    """The release to serve: the current one, or in a Bento, whose sources lie in its `src`, the packed one.

    BentoML tells a BentoMLException in one line, and starts no worker that could only fail again: with a
    release, an operator's rules or experiments, or a log that cannot be used, or with a Redis server that
    will not serve. One that does not answer is waited for by what is served.
    """
    try:
        tag = packed_tag(Path(__file__).parents[2]) or current_tag(settings)
        model = stored_model(tag)
        check_rules(settings.rules_file, Path(model.path))
        experiments = experiments_in_force(settings)
        check_experiments(experiments, settings.experiments_file, settings, [Path(model.path)])
        check_logs(settings)
        check_server(settings)
        return str(model.tag)
    except (ReleaseError, RulesError, ExperimentError, LogError, SettingsError, RefusedError) as error:
        raise bentoml.exceptions.BentoMLException(str(error)) from error


def container_contract() -> Contract:
    """What Vertex wants of this process; its environment gets the secret that it names, if it names one."""
    try:
        take_redis_url(os.environ)
        return Contract.from_environment(os.environ)
    except (ContractError, SecretError) as error:
        raise bentoml.exceptions.BentoMLException(str(error)) from error


def in_bento() -> bool:
    """Whether the release is packed with the code: then it is this one for ever."""
    return packed_tag(Path(__file__).parents[2]) is not None


def check_rules(path: Path, release: Path) -> None:
    """Nothing, or RulesError for an operator's file that cannot be used with the release in a folder."""
    if state_of(path) is not None:
        item_features = read_manifest(release)["features"]["item"]
        operator_rules(path, load_catalogue(release), item_features)


def check_logs(settings: Settings) -> None:
    """Nothing, or LogError for a log that cannot be written to."""
    EventLog(settings.event_log).close()
    ExposureLog(settings.exposure_log).close()


def check_experiments(
    experiments: Experiments, path: Path, settings: Settings, releases: Sequence[Path]
) -> list[str]:
    """What to be warned of where a file's experiments meet the releases in some folders and those of arms.

    ExperimentError where they cannot be used.
    """
    folders, variants = list(releases), rule_variants(experiments, path)
    for tag in releases_of(experiments):
        with named_in(path, f"release {tag!r}"):
            folders.append(Path(stored_model(tag).path))
            check_rules(settings.rules_file, folders[-1])
    found = [check_variants(variants, path, load_catalogue(each), read_manifest(each)) for each in folders]
    return list(dict.fromkeys(warning for warnings in found for warning in warnings))
