"""Rule files: business rules as YAML, read, checked, held against a release, and named by a hash.

The shipped `bentos/rules.yaml` goes into every release; an operator's file overrides rules of a running one.

    endcap check-rules state/rules.yaml
"""

import hashlib
import json
from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bentos.release import Catalogue
from bentos.rule_parameters import FEATURED, Rules, RulesError, checked_rules, told
from bentos.yaml_file import YamlFileError, read_yaml

DEFAULT_RULES = Path(__file__).with_name("rules.yaml")


def load_rules(path: Path = DEFAULT_RULES) -> dict[str, dict[str, Any]]:
    """Read and check a rule file; RulesError in one line where it cannot be used."""
    try:
        rules = read_yaml(path, "rules", too_long="list departments instead of items")
    except YamlFileError as error:
        raise RulesError(str(error)) from error
    return checked_rules(rules)


def checked_against(rules: Rules, catalogue: Catalogue, item_features: Collection[str]) -> list[str]:
    """What to be warned of where rules name what a release does not have.

    RulesError for a department that it does not have. Items come and go by the week: those it does not have
    are only counted. `item_features` are the names of what it reads of items.
    """
    known, warnings = catalogue.department_names.tolist(), []
    every = set(catalogue.item_ids.tolist())
    for rule, parameters in rules.items():
        lists = {name: parameters.get(name) or () for name in ("departments", "item_ids")}
        if isinstance(lists["departments"], int):  # diversity counts them
            continue
        for department in lists["departments"]:
            if department not in known:
                raise RulesError(
                    f"{rule}.departments has {told(department)}; use {likely(department, known)}"
                )
        if strange := sum(item not in every for item in lists["item_ids"]):
            warnings.append(
                f"{rule}.item_ids has {strange:,} of {len(lists['item_ids']):,} not in the release"
            )
    if (rules.get("promotion_boost") or {}).get("featured") and not set(FEATURED) & set(item_features):
        warnings.append("promotion_boost.featured does nothing: the release reads no promotions")
    return warnings


def likely(name: str, known: list[str]) -> str:
    """What may have been meant: the closest names, or else a few of all."""
    close = get_close_matches(name.upper(), [each.upper() for each in known], n=3, cutoff=0.65)
    found = [each for each in known if each.upper() in close] or sorted(known)[:8]
    return f"{'one like ' if len(found) < len(known) else ''}{', '.join(map(repr, found))}"


def hash_of(rules: Rules) -> str:
    """Twelve digits that are the same for rules of the same meaning, whatever the file's layout."""
    return hashlib.sha256(json.dumps(rules, sort_keys=True).encode()).hexdigest()[:12]
