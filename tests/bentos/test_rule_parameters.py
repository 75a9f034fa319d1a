"""What a rule file may say, and how what it may not say is told."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentos.rule_parameters import (
    MOST_BOOST,
    PARAMETERS,
    REASONS,
    RulesError,
    checked_rules,
    reason_of,
    told,
)

NO_NUMBERS = [True, False, math.nan, math.inf, -math.inf, "0.5", None, [], {}, "half"]
WRONG = [
    *((f"minimum_margin.least is {told(value)}; use a number from -1, up to 1",
       {"minimum_margin": {"least": value}}) for value in NO_NUMBERS if value is not None),
    *((f"promotion_boost.boost is {told(value)}; use a number from 0, up to {MOST_BOOST:g}",
       {"promotion_boost": {"boost": value, "share": 0.2}}) for value in (*NO_NUMBERS, -0.1, 1.01)),
    *((f"promotion_boost.share is {told(value)}; use a number from 0, up to 1",
       {"promotion_boost": {"boost": 1, "share": value}}) for value in (*NO_NUMBERS, -0.1, 1.01)),
    *((f"diversity.departments is {told(value)}; use a whole number from 1, up to 100",
       {"diversity": {"departments": value}}) for value in (*NO_NUMBERS, 0, -1, 2.0, 2.5, 101)),
    *((f"category_cap.share is {told(value)}; use a number above 0, up to 1",
       {"category_cap": {"share": value}}) for value in (*NO_NUMBERS, 0, -0.1, 1.01)),
    *((f"minimum_margin.departments[GROCERY] is {told(value)}; use a number from -1, up to 1",
       {"minimum_margin": {"departments": {"GROCERY": value}}}) for value in (*NO_NUMBERS, 35, -1.5)),
    *((f"{rule}.enabled is {told(value)}; use true or false", {rule: {"enabled": value}})
      for rule in ("available", "in_basket") for value in (1, 0, "yes", None)),
    *((f"blocked.item_ids has {told(value)}; use names of up to 128 characters",
       {"blocked": {"item_ids": [value]}}) for value in (True, None, 7.0, [], {}, "", " ", "a\n", "x" * 129)),
    *((f"blocked.departments is {told(value)}; use a list of names",
       {"blocked": {"departments": value}}) for value in ("GROCERY", 7, {"GROCERY": 1}, True)),
    ("minimum_margin.item_ids is [7]; use a mapping", {"minimum_margin": {"item_ids": [7]}}),
    ("minimum_margin.item_ids has '7' twice", {"minimum_margin": {"item_ids": {7: 0.1, "7": 0.2}}}),
    ("promotion_boost.featured is 1; use true or false", {"promotion_boost": {"featured": 1}}),
    ("promotion_boost.share is missing", {"promotion_boost": {"boost": 0.5}}),
    ("rule 'boost' is unknown; use available", {"boost": {}}),
    ("rule 7 is unknown", {7: {}}),
    ("rule 'diversity' has no parameter 'categories'; use ['departments', 'reason']",
     {"diversity": {"categories": 3}}),
    ("rule 'diversity' has no parameter 3", {"diversity": {3: 3}}),
    ("diversity is 3; use a mapping", {"diversity": 3}),
    ("diversity.reason is ''; use a sentence", {"diversity": {"reason": ""}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "rules"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_wrong_value_is_named_with_what_to_use(message, rules):
    """Rule, parameter, value, and what would be right, in one line."""
    with pytest.raises(RulesError) as refused:
        checked_rules(rules)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_ids_may_be_numbers():
    """An id is the same as a number and as text; of leading zeros in text nothing is lost."""
    rules = {
        "blocked": {"item_ids": [819063, "819063", "0012"], "departments": None},
        "minimum_margin": {"least": None, "item_ids": {7: 1, "0012": -0.5}},
    }
    found = checked_rules(rules)
    assert found["blocked"] == {"item_ids": ["819063", "819063", "0012"], "departments": []}
    assert found["minimum_margin"] == {"least": None, "item_ids": {"7": 1, "0012": -0.5}}


def test_a_rule_without_parameters_is_off():
    """All rules may be named without saying anything."""
    assert checked_rules(dict.fromkeys(PARAMETERS)) == {rule: {} for rule in PARAMETERS}


def test_each_rule_has_a_reason_or_the_shops_own():
    """Ours by default; the file's where it has one."""
    assert REASONS.keys() == PARAMETERS.keys()
    assert reason_of("diversity", {}) == REASONS["diversity"]
    assert reason_of("diversity", {"diversity": {"reason": "a bit of all"}}) == "a bit of all"


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(sorted(PARAMETERS)),
        st.dictionaries(
            st.sampled_from(sorted({name for each in PARAMETERS.values() for name in each})), JUNK
        )
        | JUNK,
    )
)
def test_whatever_it_is_it_is_checked_or_refused(rules):
    """No other error than RulesError; and what passed passes again unchanged."""
    try:
        found = checked_rules(rules)
    except RulesError:
        return
    assert checked_rules(found) == found


def test_a_huge_value_is_told_briefly():
    """Lists within lists, which YAML's references make of a few bytes, do not swell the message."""
    bomb = ["lol"] * 9
    for _ in range(30):
        bomb = [bomb] * 9
    with pytest.raises(RulesError) as refused:
        checked_rules({"blocked": {"item_ids": bomb}})
    assert len(str(refused.value)) < 400
