"""Business rules over ranked candidates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_release import tiny_release

from bentos.rule_file import DEFAULT_RULES, load_rules
from bentos.rule_parameters import RulesError, checked_rules
from bentos.rules import apply


def applied(release, items, rules, k=10, missing=()):
    """Item positions after the rules."""
    items = np.asarray(items, dtype=np.int32)
    has_features = ~np.isin(items, list(missing))
    order, turned_away = apply(items, has_features, release.catalogue, k, rules)
    return items[order].tolist(), turned_away


def test_an_item_without_features_is_not_sold_any_more(release):
    """The availability rule removes it and counts it."""
    items, turned_away = applied(release, [4, 2, 9], {"available": {"enabled": True}}, missing=[2])
    assert items == [4, 9]
    assert turned_away["available"] == 1


def test_availability_can_be_switched_off(release):
    """Without the rule the same item stays."""
    items, _ = applied(release, [4, 2, 9], {}, missing=[2])
    assert items == [4, 2, 9]


def test_blocked_items_and_departments_leave(release):
    """Item i04 and everything of department south (odd positions) go."""
    rules = {"blocked": {"item_ids": ["i04"], "departments": ["south"]}}
    items, turned_away = applied(release, [4, 3, 2, 1, 0], rules)
    assert items == [2, 0]
    assert turned_away["blocked"] == 3


def test_category_cap_moves_the_surplus_behind_all_others(release):
    """With four slots and a share of one half, a category's third item stands behind the others."""
    items, turned_away = applied(release, [0, 5, 10, 15, 1, 2], {"category_cap": {"share": 0.5}}, k=4)
    assert items == [0, 5, 1, 2, 10, 15]
    assert turned_away["category_cap"] == 2


def test_the_cap_leaves_the_order_behind_the_slots_alone(release):
    """With three slots and a cap of one, i05 and i10 give way to i01 and i02; from there on nothing moves."""
    items, turned_away = applied(release, [0, 5, 10, 1, 2, 15, 3, 6], {"category_cap": {"share": 0.5}}, k=3)
    assert items == [0, 1, 2, 5, 10, 15, 3, 6]
    assert turned_away["category_cap"] == 2


def test_the_cap_fills_the_slots_where_there_is_nothing_else(release):
    """Three slots and one category: all three of it are shown, in their order, before the fourth."""
    items, _ = applied(release, [0, 10, 5, 15], {"category_cap": {"share": 0.5}}, k=3)
    assert items == [0, 10, 5, 15]


def test_the_cap_always_leaves_one_slot(release):
    """A tiny share still lets each category show its best."""
    items, _ = applied(release, [0, 5, 1], {"category_cap": {"share": 0.01}}, k=2)
    assert items == [0, 1, 5]


@pytest.mark.parametrize(("enabled", "kept"), [(True, [4, 9]), (False, [4, 2, 9])])
def test_what_is_in_the_basket_leaves(release, enabled, kept):
    """Where the rule is on, what the shopper is buying already is not recommended, and counted."""
    items, features = np.array([4, 2, 9], np.int32), np.ones(3, dtype=bool)
    rules = checked_rules({"in_basket": {"enabled": enabled}})
    order, turned_away = apply(items, features, release.catalogue, 3, rules, np.array([2, 7], np.int32))
    assert items[order].tolist() == kept
    assert turned_away["in_basket"] == 3 - len(kept)


MARGINS = st.sampled_from([-1, -0.2, 0, 0.1, 0.2, 0.3, 1])


@settings(max_examples=200)
@given(
    st.none() | MARGINS,
    st.dictionaries(st.sampled_from(["north", "south"]), MARGINS),
    st.dictionaries(st.integers(0, 25), MARGINS),
)
def test_what_earns_too_little_leaves(least, departments, own):
    """Item by item: its own margin, or else its department's, or else it stays; the order is kept."""
    release, items = tiny_release(), list(range(19, -1, -1))
    rules = {"least": least, "departments": departments}
    rules["item_ids"] = {f"i{item:02d}": margin for item, margin in own.items()}
    kept = []
    for item in items:
        margin = own.get(item, departments.get("south" if item % 2 else "north"))
        if least is None or margin is None or margin >= least:
            kept.append(item)
    found, turned_away = applied(release, items, checked_rules({"minimum_margin": rules}), k=5)
    assert found == kept
    assert turned_away["minimum_margin"] == 20 - len(kept)


def test_an_item_is_turned_away_by_the_first_rule_only(release):
    """Without features, blocked, in the basket and poor at once, it counts for one."""
    rules = checked_rules(
        {
            "available": {"enabled": True},
            "in_basket": {"enabled": True},
            "blocked": {"departments": ["north"]},
            "minimum_margin": {"least": 0.5, "departments": {"north": 0.1}},
        }
    )
    items = np.array([2], np.int32)
    order = ("available", "blocked", "in_basket", "minimum_margin")
    for place, first in enumerate(order):
        some = {rule: rules[rule] for rule in order[place:]}
        _, turned_away = apply(items, np.zeros(1, dtype=bool), release.catalogue, 1, some, items)
        assert {rule: count for rule, count in turned_away.items() if count} == {first: 1}


def test_the_shipped_rules_are_valid():
    """The default rule file loads."""
    assert set(load_rules(DEFAULT_RULES)) == {
        "available",
        "in_basket",
        "blocked",
        "minimum_margin",
        "category_cap",
        "promotion_boost",
        "diversity",
        "newcomer",
    }


def test_newcomers_are_not_tried_unless_a_shop_asks():
    """The shipped rules leave the last slot to the ranker."""
    assert load_rules(DEFAULT_RULES)["newcomer"]["tasks"] == []


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([], "must be a mapping"),
        ({"boost": {}}, "rule 'boost' is unknown"),
        ({"blocked": {"brands": []}}, "no parameter"),
        ({"category_cap": {"share": 0}}, "category_cap.share is 0"),
        ({"category_cap": {"share": True}}, "category_cap.share is True"),
        ({"category_cap": {"share": "half"}}, "category_cap.share is 'half'"),
        ({"newcomer": {"tasks": ["some"]}}, "newcomer.tasks is \\['some'\\]"),
        ({"newcomer": {"tasks": ["all"], "days": 28}}, "newcomer.lift is None"),
        ({"newcomer": {"tasks": ["all"], "days": True, "lift": 4}}, "newcomer.days is True"),
        ({"newcomer": {"days": -1}}, "newcomer.days is -1"),
        ({"newcomer": {"lift": 0.5}}, "newcomer.lift is 0.5"),
    ],
)
def test_a_bad_rule_file_is_refused_by_name(rules, message):
    """The error names the rule and the value."""
    with pytest.raises(RulesError, match=message):
        checked_rules(rules)


def test_a_broken_rule_file_is_named(tmp_path):
    """YAML that does not parse is an error with the file's name."""
    path = tmp_path / "rules.yaml"
    path.write_text("blocked: [")
    with pytest.raises(RulesError, match=r"rules\.yaml cannot be read"):
        load_rules(path)
