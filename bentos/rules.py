"""Business rules: named pure functions over arrays, with their parameters in `rules.yaml`.

Each rule says which candidates may stay; `apply` moves the rest out of the first k slots and counts,
rule by rule, what it turned away.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from bentos.candidates import TASKS
from bentos.release import Catalogue
from feature_repo.pair_features import Positions

Mask = NDArray[np.bool_]
DEFAULT_RULES = Path(__file__).with_name("rules.yaml")
PARAMETERS = {
    "available": {"enabled"},
    "in_basket": {"enabled"},
    "blocked": {"item_ids", "departments"},
    "category_cap": {"share"},
    "newcomer": {"tasks", "days", "lift"},
}


class RulesError(ValueError):
    """The rule file cannot be used; the message names the rule and the value."""


def load_rules(path: Path = DEFAULT_RULES) -> dict[str, Any]:
    """Read and check a rule file."""
    try:
        rules = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise RulesError(f"{path} cannot be read as rules: {error}") from error
    return checked_rules(rules)


def checked_rules(rules: object) -> dict[str, Any]:
    """Rules with known names, known parameters and values in range; otherwise RulesError."""
    if not isinstance(rules, Mapping):
        raise RulesError(f"rules must be a mapping of rule names. Received: {type(rules).__name__}")
    for name, parameters in rules.items():
        if name not in PARAMETERS:
            raise RulesError(f"rule {name!r} is unknown; use {', '.join(PARAMETERS)}")
        unknown = set(parameters or {}) - PARAMETERS[name]
        if unknown:
            raise RulesError(
                f"rule {name!r} has no parameter {sorted(unknown)}; use {sorted(PARAMETERS[name])}"
            )
    share = (rules.get("category_cap") or {}).get("share", 1.0)
    if not isinstance(share, (int, float)) or isinstance(share, bool) or not 0 < share <= 1:
        raise RulesError(f"category_cap.share is {share!r}; use a number above 0, up to 1")
    check_newcomer(rules.get("newcomer") or {})
    return dict(rules)


def check_newcomer(rule: Mapping[str, Any]) -> None:
    """Nothing, or RulesError: where newcomers are tried, both bounds must be given."""
    tasks = rule.get("tasks", [])
    if not isinstance(tasks, list) or not all(task in TASKS for task in tasks):
        raise RulesError(f"newcomer.tasks is {tasks!r}; use a list of {' and '.join(TASKS)}")
    for name, least in (("days", 0), ("lift", 1)):
        value = rule.get(name, None if tasks else least)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value < math.inf:
            raise RulesError(f"newcomer.{name} is {value!r}; use a number from {least}")


def available(has_features: Mask, rules: Mapping[str, Any]) -> Mask:
    """Items without fresh item features are no longer sold."""
    enabled = (rules.get("available") or {}).get("enabled", False)
    return has_features if enabled else np.ones_like(has_features)


def not_in_basket(items: Positions, basket: Positions | None, rules: Mapping[str, Any]) -> Mask:
    """Items that the shopper is not buying already."""
    if basket is None or not basket.size or not (rules.get("in_basket") or {}).get("enabled", False):
        return np.ones(len(items), dtype=bool)
    return ~np.isin(items, basket)


def not_blocked(items: Positions, catalogue: Catalogue, rules: Mapping[str, Any]) -> Mask:
    """Items and departments that the shop never wants recommended."""
    blocked = rules.get("blocked") or {}
    if not blocked.get("item_ids") and not blocked.get("departments"):
        return np.ones(len(items), dtype=bool)
    ids = np.array([str(item) for item in blocked.get("item_ids") or []], dtype=np.str_)
    departments = np.array([str(name) for name in blocked.get("departments") or []], dtype=np.str_)
    names = catalogue.department_names[catalogue.departments[items]]
    return ~(np.isin(catalogue.item_ids[items], ids) | np.isin(names, departments))


def within_category_cap(items: Positions, catalogue: Catalogue, k: int, rules: Mapping[str, Any]) -> Mask:
    """Of one category, only the best `share * k` (at least one) may stand among the first k.

    `items` are best first.
    """
    cap = max(1, math.floor((rules.get("category_cap") or {}).get("share", 1.0) * k))
    codes = catalogue.categories[items]
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.searchsorted(ordered, ordered, side="left")
    place = np.empty(len(items), dtype=np.intp)
    place[order] = np.arange(len(items)) - starts
    return np.asarray(place < cap)


def apply(
    items: Positions,
    has_features: Mask,
    catalogue: Catalogue,
    k: int,
    rules: Mapping[str, Any],
    basket: Positions | None = None,
) -> tuple[NDArray[np.intp], dict[str, int]]:
    """Order of candidates after the rules, and how many each rule turned away.

    `items` are best first, `has_features` aligned, `basket` what the shopper is buying already. What is
    unavailable, blocked or in the basket leaves for good; what is above a cap leaves the first k slots, as
    far as others can fill them, and keeps its order behind.
    """
    sold = available(has_features, rules)
    wanted = not_blocked(items, catalogue, rules)
    missing = not_in_basket(items, basket, rules)
    kept = np.flatnonzero(sold & wanted & missing)
    capped = within_category_cap(items[kept], catalogue, k, rules)
    first = np.flatnonzero(capped)[:k]
    behind = np.ones(len(kept), dtype=bool)
    behind[first] = False
    order = np.concatenate([kept[first], kept[behind]])
    turned_away = {
        "available": int((~sold).sum()),
        "blocked": int((sold & ~wanted).sum()),
        "in_basket": int((sold & wanted & ~missing).sum()),
        "category_cap": int((~np.isin(kept[:k], order[:k])).sum()),
    }
    return order, turned_away


def newcomer_last(
    order: NDArray[np.intp],
    newcomers: Mask,
    items: Positions,
    catalogue: Catalogue,
    k: int,
    rules: Mapping[str, Any],
) -> NDArray[np.intp]:
    """An order of `items` as `apply` gives it, with the first newcomer behind slot k brought forward to it.

    `newcomers` are aligned with `items`. Nothing moves where one stands in the first k slots already, where
    there is but one slot, or where each would be one too many of its category.
    """
    if k == 1 or newcomers[order[:k]].any():
        return order
    for place in order[k:][newcomers[order[k:]]]:
        tried = np.append(order[: k - 1], place)
        if within_category_cap(items[tried], catalogue, k, rules)[-1]:
            behind = order[k - 1 :]
            return np.concatenate([tried, behind[behind != place]])
    return order
