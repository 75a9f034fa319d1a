"""What a rule file means: a line for each rule with its parameters and its reason, or what is wrong with it.

endcap check-rules state/rules.yaml
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from bentos.current_release import current_tag
from bentos.release import Catalogue, ReleaseError, load_catalogue, read_manifest, stored_model
from bentos.rule_file import checked_against, load_rules
from bentos.rule_parameters import PARAMETERS, RulesError, reason_of
from feature_repo.settings import Settings

SHOWN = 3  # of a list; of longer ones, how many it has


def lines(settings: Settings, path: Path) -> list[str]:
    """What the file says, and what to be warned of; RulesError where a service would refuse it."""
    if not path.exists():
        raise RulesError(f"{path} is not there, so all rules are the release's; copy bentos/rules.yaml to it")
    rules = load_rules(path)
    told = [f"{rule:<16} {shown(rules[rule])}  # {reason_of(rule, rules)}" for rule in rules]
    others = [rule for rule in PARAMETERS if rule not in rules]
    if others:
        told.append(f"as the release has them: {', '.join(others)}")
    try:
        tag, catalogue, item_features = current(settings)
    except ReleaseError as error:
        return [*told, f"{path} is valid; its names were held against no release ({error})"]
    warnings = checked_against(rules, catalogue, item_features)
    return [*told, *(f"warning: {each}" for each in warnings), f"{path} is valid for {tag}"]


def current(settings: Settings) -> tuple[str, Catalogue, Collection[str]]:
    """Tag, catalogue and item features of the release in use; ReleaseError without one."""
    tag = current_tag(settings)
    folder = Path(stored_model(tag).path)
    return tag, load_catalogue(folder), read_manifest(folder)["features"]["item"]


def shown(parameters: Mapping[str, Any]) -> str:
    """Parameters in one line."""
    return (
        ", ".join(f"{name} {value(each)}" for name, each in parameters.items() if name != "reason") or "off"
    )


def value(each: Any) -> str:
    """A parameter's value, short."""
    if isinstance(each, (list, dict)) and len(each) > SHOWN:
        return f"of {len(each):,}"
    return str(each).lower() if isinstance(each, bool) else "none" if each is None else str(each)
