"""What an experiment file means: a line for each experiment, or what is wrong with it.

endcap experiment check state/experiments.yaml
"""

from pathlib import Path

from bentos.arms import releases_of, rule_variants
from bentos.current_release import current_tag
from bentos.experiments import Arm, Experiment, load_experiments
from bentos.release import ReleaseError, load_catalogue, read_manifest, stored_model
from bentos.rollouts import load_rollouts, rolled_out
from bentos.rule_file import checked_against
from feature_repo.settings import Settings


def lines(settings: Settings, path: Path) -> list[str]:
    """What the file says, with what rollouts make of it; an error where a service would refuse it."""
    experiments = rolled_out(load_experiments(path), load_rollouts(settings.rollouts_file))
    told = [line for each in experiments.experiments.values() for line in told_of(each)]
    rules = rule_variants(experiments, path.parent)
    for tag in sorted(releases_of(experiments)):
        stored_model(tag)
    try:
        tag = current_tag(settings)
        folder = Path(stored_model(tag).path)
    except ReleaseError as error:
        return [*told, f"{path} is valid; it was held against no release ({error})"]
    item_features = read_manifest(folder)["features"]["item"]
    for name, each in rules.items():
        warnings = checked_against(each, load_catalogue(folder), item_features)
        told += [f"warning: {name}: {warning}" for warning in warnings]
    return [*told, f"{path} is valid for {tag}"]


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
