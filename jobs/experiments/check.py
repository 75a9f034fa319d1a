"""What an experiment file means: a line for each experiment, or what is wrong with it.

endcap experiment check state/experiments.yaml
"""

from pathlib import Path

from bentos.current_release import current_tag
from bentos.experiments import Arm, Experiment, load_experiments
from bentos.release import ReleaseError, stored_model
from bentos.rollouts import load_rollouts, rolled_out
from bentos.start_checks import check_experiments
from feature_repo.settings import Settings


def lines(settings: Settings, path: Path) -> list[str]:
    """What the file says, with what rollouts make of it; ExperimentError where a service would refuse it."""
    experiments = rolled_out(load_experiments(path), load_rollouts(settings.rollouts_file))
    told = [line for each in experiments.experiments.values() for line in told_of(each)]
    releases, end = [], f"{path} is valid"
    try:
        tag = current_tag(settings)
        releases, end = [Path(stored_model(tag).path)], f"{end} for {tag}"
    except ReleaseError as error:
        end = f"{end}; it was held against no release ({error})"
    warnings = check_experiments(experiments, path, settings, releases)
    return [*told, *(f"warning: {each}" for each in warnings), end]


def told_of(experiment: Experiment) -> list[str]:
    """One experiment in a line, and its arms."""
    end = f" until {experiment.end.isoformat()}" if experiment.end else ""
    state = f"settled: all get {experiment.settled}" if experiment.settled else f"ramp {experiment.ramp:.0%}"
    low, high = experiment.slice
    head = (
        f"{experiment.name}: layer {experiment.layer}, slice {low:g} to {high:g}, {state},"
        f" from {experiment.start.isoformat()}{end}, by {experiment.primary}"
    )
    return [
        head,
        *(f"    {name:<16} {arm.share:>6.1%}  {told_of_arm(arm)}" for name, arm in experiment.arms.items()),
    ]


def told_of_arm(arm: Arm) -> str:
    """What an arm changes."""
    parts = [
        f"legacy rule {arm.legacy}" if arm.legacy else "",
        f"release {arm.release}" if arm.release else "",
        f"rules of {arm.rules}" if arm.rules else "",
        f"explores the last {arm.explore.slots} slots at {arm.explore.temperature:g}" if arm.explore else "",
    ]
    return ", ".join(part for part in parts if part) or "as without the experiment"
