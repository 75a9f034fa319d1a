"""The state folder of a replay: the installation as of its release, apart from the shop's own.

    state/replays/engine/       current, experiments.yaml, online_store.db, events.db, exposures.db, logs/

Tables and features are links, all else is the replay's: playing trips moves feature rows and fills logs, of
which the shop's own must not hear. It is built aside and renamed.
"""

import shutil
import sys
import tempfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from bentos.arms import rule_variants
from bentos.current_release import current_tag
from bentos.experiments import Experiments, load_experiments
from bentos.release import read_manifest, stored_model
from bentos.rollouts import Rollout, save_rollouts
from feature_repo.settings import FEATURE_STORE, Settings
from jobs.child import run_child
from jobs.pipeline import environment

LINKED, COPIED = ("tables", "features"), ("current", "registry.db", "rules.yaml")
MATERIALIZE = (sys.executable, "-m", "jobs.cli", "--with-parent")


class ReplayError(RuntimeError):
    """A replay cannot begin or go on; the message says why and what to do."""


def replay_settings(settings: Settings, name: str) -> Settings:
    """The settings of a replay's processes: embedded, whatever the shop's own online store is."""
    return replace(
        settings, state=settings.state / "replays" / name, feature_store=FEATURE_STORE, profile="embedded"
    )


def replayed(settings: Settings, name: str) -> Settings:
    """The settings of a replay that was begun; ReplayError where none was."""
    own = replay_settings(settings, name)
    if not own.state.exists():
        raise ReplayError(f"{name} was not replayed yet; `endcap replay --experiment {name}` does")
    return own


def played_from(settings: Settings) -> datetime:
    """The instant of the current release: all that it was made of lies before.

    ReplayError where it is not of a recording, whose trips after that are known.
    """
    manifest = read_manifest(Path(stored_model(current_tag(settings)).path))
    if not manifest.get("recorded"):
        raise ReplayError("The current release is of a shop that goes on; only a recording can be replayed")
    return datetime.fromisoformat(manifest["as_of"])


def experiment_files(settings: Settings, experiments: Experiments) -> dict[str, bytes]:
    """Contents of the experiments' file and of the rule files that arms name, by name.

    ExperimentError for a rule file that cannot be used, ReplayError for one outside the folder, where a
    replay would share it.
    """
    path = settings.experiments_file
    names = sorted(rule_variants(experiments, path))
    for name in map(Path, names):
        if name.is_absolute() or ".." in name.parts:
            raise ReplayError(
                f"{path}: rules '{name}' lie outside {path.parent}; a replay takes its own along"
            )
    return {name: (path.parent / name).read_bytes() for name in (path.name, *names)}


def prepare(settings: Settings, name: str, *, restart: bool) -> Settings:
    """The settings of a replay of one experiment, begun now or before, with its store filled.

    ReplayError where the experiments or the release are other ones than when it was begun.
    """
    experiments = load_experiments(settings.experiments_file)
    experiments.named(name)
    own, begin = replay_settings(settings, name), played_from(settings)
    files = experiment_files(settings, experiments)
    files["current"] = settings.current_release.read_bytes()
    own.state.parent.mkdir(parents=True, exist_ok=True)
    for left in own.state.parent.glob(f".{name}-*"):  # of a process that was killed
        shutil.rmtree(left)
    if restart and own.state.exists():
        shutil.rmtree(own.state.rename(own.state.with_name(f".{name}-before")))
    if own.state.exists():
        for file, content in files.items():
            if (own.state / file).read_bytes() != content:
                raise ReplayError(
                    f"{file} has changed since the replay of {name} began; give --restart to play all again"
                )
        return own
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=own.state.parent) as folder:
        aside = replace(own, state=Path(folder) / name)
        fill(settings, aside, files)
        save_rollouts(aside.rollouts_file, all_in(experiments))
        materialize(aside, begin)
        aside.state.rename(own.state)
    return own


def all_in(experiments: Experiments) -> dict[str, Rollout]:
    """Rollouts that have come as far as the file lets them: a replay shows what is to be rolled out."""
    every = experiments.experiments.items()
    return {name: Rollout(ramp=each.ramp, settled=each.settled) for name, each in every if each.rollout}


def fill(settings: Settings, aside: Settings, files: dict[str, bytes]) -> None:
    """Lay out the folder."""
    aside.state.mkdir()
    for link in LINKED:
        (aside.state / link).symlink_to(settings.state / link)
    for file in COPIED:
        if (settings.state / file).is_file():
            shutil.copy2(settings.state / file, aside.state / file)
    for file, content in files.items():
        (aside.state / file).parent.mkdir(parents=True, exist_ok=True)
        (aside.state / file).write_bytes(content)


def materialize(own: Settings, end: datetime) -> None:
    """Write what was known at an instant to a replay's online store, as the nightly job would."""
    with tempfile.TemporaryDirectory(prefix="endcap-") as folder:
        words = ("--result-file", f"{folder}/result.json", "materialize", "--end", end.isoformat())
        child = run_child([*MATERIALIZE, *words], environment=environment(own))
    if child.code != 0:
        raise ReplayError(f"The online store could not be written as of {end.isoformat()}; see above")
