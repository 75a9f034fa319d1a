"""Business rules over ranked candidates."""

import numpy as np
import pytest

from bentos.rules import DEFAULT_RULES, RulesError, apply, checked_rules, load_rules


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


def test_the_shipped_rules_are_valid():
    """The default rule file loads."""
    assert set(load_rules(DEFAULT_RULES)) == {
        "available",
        "in_basket",
        "blocked",
        "category_cap",
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
