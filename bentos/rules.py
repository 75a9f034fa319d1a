"""Business rules that keep items out: pure functions over arrays, with their parameters in `rules.yaml`.

Each rule says which candidates may stay; `apply` moves the rest out of the first k slots and counts,
rule by rule, what it turned away. Who stands where among those that stay: `placement.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bentos.release import Catalogue, Release
from feature_repo.pair_features import Positions

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Marks:
    """What the rules' lists say of the whole catalogue: (n_items,) each."""

    wanted: Mask | None  # not blocked; None where nothing is
    earning: Mask | None  # not below the least margin; None where nothing is
    promoted: Mask | None  # by the lists; None where nothing is boosted


def marks(release: Release) -> Marks:
    """The release's marks, made once under its rules: a request looks up its candidates only."""
    return release.once_under_rules("marks", lambda made: marks_of(made.catalogue, made.rules))


def marks_of(catalogue: Catalogue, rules: Mapping[str, Any]) -> Marks:
    """What the lists of rules say of a catalogue."""
    every = np.arange(len(catalogue.item_ids), dtype=np.int32)
    boost = rules.get("promotion_boost") or {}
    wanted, earning = not_blocked(every, catalogue, rules), enough_margin(every, catalogue, rules)
    return Marks(
        wanted=None if wanted.all() else wanted,
        earning=None if earning.all() else earning,
        promoted=listed(every, catalogue, boost) if boost.get("boost") else None,
    )


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
    """All but the items and departments that the shop never wants recommended."""
    return ~listed(items, catalogue, rules.get("blocked") or {})


def listed(items: Positions, catalogue: Catalogue, rule: Mapping[str, Any]) -> Mask:
    """Items that a rule lists, by themselves in `item_ids` or by their department in `departments`."""
    if not rule.get("item_ids") and not rule.get("departments"):
        return np.zeros(len(items), dtype=bool)
    ids = np.array([str(item) for item in rule.get("item_ids") or []], dtype=np.str_)
    departments = np.array([str(name) for name in rule.get("departments") or []], dtype=np.str_)
    of_department = np.isin(catalogue.department_names, departments)[catalogue.departments[items]]
    return np.asarray(np.isin(catalogue.item_ids[items], ids) | of_department)


def enough_margin(items: Positions, catalogue: Catalogue, rules: Mapping[str, Any]) -> Mask:
    """All but the items that are known to earn less than the least margin, a share of the price.

    An item's own margin goes before its department's; who has neither stays.
    """
    rule = rules.get("minimum_margin") or {}
    least = rule.get("least")
    if least is None:
        return np.ones(len(items), dtype=bool)
    by_department, own = rule.get("departments") or {}, rule.get("item_ids") or {}
    names = catalogue.department_names.tolist()
    of_department = np.array([by_department.get(name, np.nan) for name in names], dtype=np.float64)
    margins = of_department[catalogue.departments[items]]
    for place, item in enumerate(catalogue.item_ids[items].tolist()):
        margins[place] = own.get(item, margins[place])
    return np.asarray(~(margins < least))  # nothing is less than what is not known


def category_cap(k: int, rules: Mapping[str, Any]) -> int:
    """How many of `k` slots one category may have: its share of them, and at least one."""
    share = float((rules.get("category_cap") or {}).get("share", 1.0))
    return max(1, math.floor(share * k))


def within_category_cap(
    items: Positions, catalogue: Catalogue, k: int, rules: Mapping[str, Any]
) -> list[int]:
    """Places of the first `k` items that may stand in as many slots, fewer where there are not so many.

    `items` are best first. Of one category only the best `share * k` may, and at least one.
    """
    cap, found = category_cap(k, rules), []
    held: dict[int, int] = {}
    for begin in range(0, len(items), 2 * k):  # few are looked up: mostly the first of these suffice
        for place, category in enumerate(catalogue.categories[items[begin : begin + 2 * k]].tolist(), begin):
            if held.get(category, 0) < cap:
                held[category] = held.get(category, 0) + 1
                found.append(place)
                if len(found) == k:
                    return found
    return found


def apply(
    items: Positions,
    has_features: Mask,
    catalogue: Catalogue,
    k: int,
    rules: Mapping[str, Any],
    basket: Positions | None = None,
    marked: Marks | None = None,
) -> tuple[NDArray[np.intp], dict[str, int]]:
    """Order of candidates after the rules, and how many each rule turned away.

    `items` are best first, `has_features` aligned, `basket` what the shopper is buying already, `marked` the
    catalogue's marks under these rules, made here where they are not given. What is unavailable, blocked, in
    the basket or below the least margin leaves for good; what is above a cap leaves the first k slots, as far
    as others can fill them, and keeps its order behind.
    """
    marked = marked or marks_of(catalogue, rules)
    may_stay = {
        "available": available(has_features, rules),
        "blocked": None if marked.wanted is None else marked.wanted[items],
        "in_basket": not_in_basket(items, basket, rules),
        "minimum_margin": None if marked.earning is None else marked.earning[items],
    }
    staying, left, turned_away = np.ones(len(items), dtype=bool), len(items), dict.fromkeys(may_stay, 0)
    for rule, may in may_stay.items():
        if may is not None:
            staying &= may
            before, left = left, int(np.count_nonzero(staying))
            turned_away[rule] = before - left
    kept = np.flatnonzero(staying)
    first = within_category_cap(items[kept], catalogue, k, rules)
    behind = np.ones(len(kept), dtype=bool)
    behind[first] = False
    order = np.concatenate([kept[first], kept[behind]])
    shown = set(order[:k].tolist())
    turned_away["category_cap"] = sum(row not in shown for row in kept[:k].tolist())
    return order, turned_away
