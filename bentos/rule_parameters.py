"""What a rule file may say: rules by name, their parameters by name, each value by its type and range.

In: what YAML gave. Out: the same, with every id a string, or a RulesError that names rule, parameter and
value and says what to use. What the rules do stands in `rules.py` and `placement.py`.
"""

import math
from collections.abc import Callable, Mapping
from reprlib import Repr
from typing import Any

from bentos.candidates import TASKS

Rules = Mapping[str, Mapping[str, Any]]  # parameters by rule
Check = Callable[[str, Any], Any]  # of the place in the file and what stands there: what is meant
MOST_BOOST = 1.0  # log odds: a promoted item passes for one 2.7 times as likely, hardly for any item
FEATURED = ("item_mailer_share", "item_display_share")  # item features: of stores that promote it this week
MOST_NAME, MOST_REASON = 128, 200  # characters

# Why an item is kept out of the first places or, of the last three, why another is among them.
REASONS = {
    "available": "the shop does not sell it now, as it has no fresh features",
    "in_basket": "the shopper is buying it already",
    "blocked": "the shop does not want it recommended",
    "minimum_margin": "it earns the shop less than the least margin",
    "category_cap": "its category has as many of the places as it may have",
    "promotion_boost": "promoted items may pass others, up to their share of the places",
    "diversity": "a department not shown yet goes before one that is shown several times",
    "newcomer": "the last place may go to an item that is new in the shop",
}


class RulesError(ValueError):
    """The rule file cannot be used; the message names the rule and the value."""


def told(value: object) -> str:
    """A value as a message shows it: short, however deep or long it is."""
    short = Repr()
    short.maxlevel, short.maxstring, short.maxother = 1, 60, 60
    return short.repr(value)


def is_number(value: object) -> bool:
    """Whether it is a finite number; yes and no are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(least: float, most: float = math.inf, *, above: bool = False, whole: bool = False) -> Check:
    """A check for numbers from `least`, or above it, up to `most`."""
    what = f"a {'whole ' if whole else ''}number {'above' if above else 'from'} {least:g}"
    what += f", up to {most:g}" if most < math.inf else ""

    def check(where: str, value: Any) -> float:
        fits = is_number(value) and least <= value <= most and not (above and value == least)
        if not fits or (whole and not isinstance(value, int)):
            raise RulesError(f"{where} is {told(value)}; use {what}")
        return float(value) if not isinstance(value, int) else value

    return check


def optional(check: Check) -> Check:
    """The same check, where nothing (null) may stand too."""
    return lambda where, value: None if value is None else check(where, value)


def flag(where: str, value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise RulesError(f"{where} is {told(value)}; use true or false")
    return value


def name(where: str, value: Any) -> str:
    """An id or a department as text; whole numbers are ids too."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.strip() or not text.isprintable() or len(text) > MOST_NAME:
        raise RulesError(
            f"{where} has {told(value)}; use names of up to {MOST_NAME} characters, in quotes where YAML"
            " reads something else (dates, yes, no, fractions)"
        )
    return text


def names(where: str, value: Any) -> list[str]:
    """A list of ids or departments; null is an empty one."""
    if value is not None and not isinstance(value, list):
        raise RulesError(f"{where} is {told(value)}; use a list of names")
    return [name(where, each) for each in value or []]


def margins(where: str, value: Any) -> dict[str, float]:
    """A margin by id or department; null is none."""
    if value is not None and not isinstance(value, dict):
        raise RulesError(f"{where} is {told(value)}; use a mapping of names to margins")
    found: dict[str, float] = {}
    for key, margin in (value or {}).items():
        if (text := name(where, key)) in found:  # 7 and "7"
            raise RulesError(f"{where} has {told(text)} twice; give it one margin")
        found[text] = MARGIN(f"{where}[{text}]", margin)
    return found


def tasks(where: str, value: Any) -> list[str]:
    """Some of the tasks."""
    if not isinstance(value, list) or not all(task in TASKS for task in value):
        raise RulesError(f"{where} is {told(value)}; use a list of {' and '.join(TASKS)}")
    return value


def sentence(where: str, value: Any) -> str:
    """A reason in the shop's own words."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable() or len(value) > MOST_REASON:
        raise RulesError(f"{where} is {told(value)}; use a sentence of up to {MOST_REASON} characters")
    return value


MARGIN = number(-1, 1)  # share of the price: 35 % are 0.35
PARAMETERS: Mapping[str, Mapping[str, Check]] = {
    "available": {"enabled": flag},
    "in_basket": {"enabled": flag},
    "blocked": {"item_ids": names, "departments": names},
    "minimum_margin": {"least": optional(MARGIN), "departments": margins, "item_ids": margins},
    "category_cap": {"share": number(0, 1, above=True)},
    "promotion_boost": {
        "boost": number(0, MOST_BOOST),
        "share": number(0, 1),
        "featured": flag,
        "item_ids": names,
        "departments": names,
    },
    "diversity": {"departments": number(1, 100, whole=True)},
    "newcomer": {"tasks": tasks, "days": number(0), "lift": number(1)},
}


def checked_rules(rules: object) -> dict[str, dict[str, Any]]:
    """Rules with known names, known parameters and values in range, ids as strings; otherwise RulesError.

    A rule without parameters is off. Whether the catalogue has what they name is not checked here.
    """
    if not isinstance(rules, Mapping):
        raise RulesError(f"rules must be a mapping of rule names. Received: {type(rules).__name__}")
    found = {rule: checked_rule(rule, parameters) for rule, parameters in rules.items()}
    newcomer = found.get("newcomer", {})
    if newcomer.get("tasks"):  # where newcomers are tried, both bounds must be given
        for bound in ("days", "lift"):
            PARAMETERS["newcomer"][bound](f"newcomer.{bound}", newcomer.get(bound))
    if found.get("promotion_boost", {}).get("boost") and "share" not in found["promotion_boost"]:
        raise RulesError("promotion_boost.share is missing; use a number from 0, up to 1, beside its boost")
    return found


def checked_rule(rule: object, parameters: object) -> dict[str, Any]:
    """One rule's parameters, checked."""
    if not isinstance(rule, str) or rule not in PARAMETERS:
        raise RulesError(f"rule {told(rule)} is unknown; use {', '.join(PARAMETERS)}")
    if parameters is not None and not isinstance(parameters, Mapping):
        raise RulesError(f"{rule} is {told(parameters)}; use a mapping of its parameters")
    checks = {**PARAMETERS[rule], "reason": sentence}
    found = {}
    for parameter, value in (parameters or {}).items():
        if not isinstance(parameter, str) or parameter not in checks:
            raise RulesError(f"rule {rule!r} has no parameter {told(parameter)}; use {sorted(checks)}")
        found[parameter] = checks[parameter](f"{rule}.{parameter}", value)
    return found


def reason_of(rule: str, rules: Rules) -> str:
    """Why a rule moves items, in a sentence: the rule file's own, or else ours."""
    return str((rules.get(rule) or {}).get("reason", REASONS[rule]))
