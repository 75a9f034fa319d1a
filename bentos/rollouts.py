"""How far rollouts have come: `state/rollouts.json`, written by `endcap rollout` and followed by the service.

    {"engine": {"ramp": 0.05, "settled": null}}

The file says for an experiment how many of its users are in it by now or, once decided, which arm all get.
What it says stands over the experiments' file, so that a stop needs nobody to edit that. An experiment that
is to be rolled out has no users before it stands in here: all get the control's arm.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bentos.experiments import ExperimentError, Experiments
from bentos.file_parts import Name, Part, Share, first_of


class Rollout(Part):
    """Where one rollout stands."""

    ramp: Share
    settled: Name | None = None


ROLLOUTS = TypeAdapter(dict[Name, Rollout])


def load_rollouts(path: Path) -> dict[str, Rollout]:
    """Rollouts by experiment, none without the file; ExperimentError where it cannot be used."""
    try:
        return ROLLOUTS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        said = first_of(error) if isinstance(error, ValidationError) else error.strerror
        raise ExperimentError(
            f"{path} cannot be used ({said}); move it away, and `endcap rollout` writes it again"
        ) from error


def save_rollouts(path: Path, rollouts: Mapping[str, Rollout]) -> None:
    """Write the file aside, have it on the disk, then rename it."""
    aside = path.with_suffix(".aside")
    content = json.dumps({name: each.model_dump() for name, each in rollouts.items()}, indent=2)
    with aside.open("w") as file:
        file.write(content + "\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def rolled_out(experiments: Experiments, rollouts: Mapping[str, Rollout]) -> Experiments:
    """The experiments with what rollouts say of them; of others, which are gone, nothing is said any more.

    ExperimentError for an arm that an experiment does not have.
    """
    changed = {
        name: each if each.rollout is None or each.settled else each.model_copy(update={"ramp": 0.0})
        for name, each in experiments.experiments.items()
    }
    for name, rollout in rollouts.items():
        if name not in changed:
            continue
        arms = changed[name].arms
        if rollout.settled is not None and rollout.settled not in arms:
            raise ExperimentError(
                f"the rollout of {name} has settled for {rollout.settled!r}, which is none of its arms"
                f" ({', '.join(arms)}); give the experiment another name, and the rollout begins anew"
            )
        changed[name] = changed[name].model_copy(update=rollout.model_dump())
    return experiments.model_copy(update={"experiments": changed})
