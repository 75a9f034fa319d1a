"""Who stands where: boosts, departments and the cap together, against plain walks down a list."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_release import N_ITEMS, NOW, InMemory, tiny_release, user_row

from bentos.placement import diverse, placed
from bentos.recommend import recommend
from bentos.rule_file import load_rules
from bentos.rule_parameters import checked_rules

ITEMS = np.arange(N_ITEMS, dtype=np.int32)
NAMES = [f"i{item:02d}" for item in ITEMS]
FEATURES = np.ones((N_ITEMS, 2), dtype=np.float32)
BARE = tiny_release()
READER = InMemory({"ann": user_row()})
NUMBERS = st.integers(0, 12).map(lambda n: n / 4)  # a few, so that there are ties
SCORES = st.lists(NUMBERS, min_size=N_ITEMS, max_size=N_ITEMS)
SLOTS = st.integers(1, N_ITEMS)
SHARES = st.sampled_from([0.0, 0.1, 0.29, 0.3, 0.5, 1.0])
CAPS = st.sampled_from([0.01, 0.2, 0.4, 1.0])


def shop(rules, *, categories=None, departments=None, n_departments=2):
    """The tiny release under rules, with categories and departments of our choice."""
    catalogue = BARE.catalogue
    if categories is not None:
        names = np.array([f"D{number}" for number in range(n_departments)])
        catalogue = replace(
            catalogue,
            categories=np.asarray(categories, np.int32),
            departments=np.asarray(departments, np.int32),
            department_names=names,
        )
    return replace(BARE, catalogue=catalogue, rules=checked_rules(rules))


def place(release, scores, k, features=FEATURES):
    """What `placed` makes of scores for all items."""
    return placed(release, ITEMS, np.array(scores, np.float32), features, k=k)


def walk(scores, categories, k, cap, barred=None):
    """The first k by score, at most `cap` of a category, and then what else there is, unless barred."""
    order = sorted(range(len(scores)), key=lambda item: (-scores[item], item))
    page, passed = [], []
    for item in order:
        if len(page) < k and not (barred and barred(item, page)):
            full = sum(categories[other] == categories[item] for other in page) >= cap
            (passed if full else page).append(item)
    return page + passed[: k - len(page)]


@settings(max_examples=300)
@given(SCORES, st.sets(st.integers(0, N_ITEMS - 1)), SLOTS, SHARES, CAPS, st.sampled_from([0.25, 0.5, 1.0]))
def test_boosts_stay_within_their_share(scores, promoted, k, share, cap_share, boost):
    """The page is that of a walk down the boosted list which passes by more risers than the share allows."""
    rule = {"boost": boost, "share": share, "item_ids": [NAMES[item] for item in promoted]}
    found = place(shop({"promotion_boost": rule, "category_cap": {"share": cap_share}}), scores, k)
    categories, cap = [item % 5 for item in range(N_ITEMS)], max(1, int(cap_share * k))
    plain = walk(scores, categories, k, cap)
    most = int(round(share * 100) * k // 100)

    def barred(item, page):
        risers = [other for other in page if other in promoted and other not in plain]
        return item in promoted and item not in plain and len(risers) >= most

    raised = [score + boost * (item in promoted) for item, score in enumerate(scores)]
    page = walk(raised, categories, k, cap, barred)
    assert found.order[:k].tolist() == page
    assert found.placed_by == dict.fromkeys(set(page) - set(plain), "promotion_boost")
    assert found.gave_way == dict.fromkeys(set(plain) - set(page), "promotion_boost")
    assert len(found.placed_by) == len(found.gave_way) == found.turned_away["promotion_boost"] <= most
    assert sorted(found.order) == list(range(N_ITEMS))


def test_above_the_share_an_item_is_where_it_would_be_without_boost():
    """Of five promoted items two take half of the four slots; the others stand behind as if nothing were."""
    scores = [20 - item / 10 for item in range(N_ITEMS)]
    rule = {"boost": 1, "share": 0.5, "item_ids": NAMES[4:9]}
    found = place(shop({"promotion_boost": rule}), scores, 4)
    assert found.order.tolist() == [4, 5, 0, 1, 2, 3, *range(6, N_ITEMS)]
    assert (found.placed_by, found.gave_way) == (
        dict.fromkeys((4, 5), "promotion_boost"),
        dict.fromkeys((2, 3), "promotion_boost"),
    )


def test_departments_and_what_is_featured_are_promoted():
    """By department; and by the item's own features, where the release reads them: NaN promotes nothing."""
    scores = [1.0] * 10 + [0.5] * 10
    south = place(shop({"promotion_boost": {"boost": 1, "share": 1, "departments": ["south"]}}), scores, 20)
    assert south.order[:10].tolist() == list(range(1, 20, 2))
    features = FEATURES.copy()
    features[:, 1] = [np.nan, 0, 0.2, *[np.nan] * 17]
    release = shop({"promotion_boost": {"boost": 1, "share": 1, "featured": True}})
    assert place(release, scores, 3, features).order[:3].tolist() == [0, 1, 2]
    manifest = {**release.manifest, "features": {"user": [], "item": ["item_price_91d", "item_mailer_share"]}}
    knows = replace(release, manifest=manifest)
    assert place(knows, scores, 3, features).order[:3].tolist() == [2, 0, 1]


def exchanged(order, k, wanted, departments):
    """The rule by its words, for categories that lie within one department each."""
    page, behind, given = list(order[:k]), list(order[k:]), []
    while True:
        shown = [departments[item] for item in page]
        fresh = [item for item in behind if departments[item] not in shown]
        several = [place for place in range(len(page)) if shown.count(shown[place]) > 1]
        if len(set(shown)) >= min(wanted, k) or not fresh or not several:
            return page + [item for item in order[:k] if item in given] + behind
        given.append(page[several[-1]])
        page[several[-1]] = fresh[0]
        behind.remove(fresh[0])


@settings(max_examples=300)
@given(
    SCORES,
    SLOTS,
    CAPS,
    st.integers(1, 7),
    st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 6, 7]), min_size=N_ITEMS, max_size=N_ITEMS),
)
def test_the_last_of_many_give_way_to_departments_not_shown(scores, k, cap_share, wanted, categories):
    """Two categories to a department: as many departments as are wanted or exist, and no cap is broken."""
    departments = [category // 2 for category in categories]
    rules = {"category_cap": {"share": cap_share}, "diversity": {"departments": wanted}}
    release = shop(rules, categories=categories, departments=departments, n_departments=4)
    plain = place(replace(release, rules={**rules, "diversity": None}), scores, k).order.tolist()
    found = place(release, scores, k)
    page = found.order[:k].tolist()
    assert found.order.tolist() == exchanged(plain, k, wanted, departments)
    shown = {departments[item] for item in page}
    assert len(shown) >= min(wanted, k, len(set(departments)))
    assert shown >= {departments[item] for item in plain[:k]}
    for category in set(categories):
        held = [sum(categories[item] == category for item in each) for each in (page, plain[:k])]
        assert held[0] <= max(held[1], max(1, int(cap_share * k)))
    assert found.placed_by == dict.fromkeys(set(page) - set(plain[:k]), "diversity")
    assert found.turned_away["diversity"] == len(set(plain[:k]) - set(page)) == len(found.gave_way)


@settings(max_examples=150)
@given(SCORES, SLOTS, CAPS, st.integers(1, 4), st.lists(st.integers(0, 3), min_size=20, max_size=20))
def test_diversity_keeps_to_the_cap_of_categories_across_departments(
    scores, k, cap_share, wanted, departments
):
    """Where categories cut across departments no page gets more above a cap, nor fewer departments."""
    categories = [item % 3 for item in range(N_ITEMS)]
    rules = {"category_cap": {"share": cap_share}, "diversity": {"departments": wanted}}
    release = shop(rules, categories=categories, departments=departments, n_departments=4)
    plain = place(replace(release, rules={**rules, "diversity": None}), scores, k).order[:k].tolist()
    page = place(release, scores, k).order[:k].tolist()
    for category in range(3):
        held = [sum(categories[item] == category for item in each) for each in (page, plain)]
        assert held[0] <= max(held[1], max(1, int(cap_share * k)))
    assert {departments[item] for item in page} >= {departments[item] for item in plain}


@settings(max_examples=150)
@given(SCORES, SLOTS, st.sets(st.integers(0, N_ITEMS - 1)), st.integers(2, 4), st.booleans())
def test_a_newcomer_costs_no_department_that_is_wanted(scores, k, new, wanted, promote):
    """With all three rules on, the last slot goes to a newcomer only where enough departments are left."""
    departments = [min(item % 7, 3) for item in range(N_ITEMS)]
    boost = {"boost": 1, "share": 0.3, "item_ids": NAMES[10:] if promote else []}
    rules = {"promotion_boost": boost, "diversity": {"departments": wanted}}
    release = shop(rules, categories=departments, departments=departments, n_departments=4)
    newcomers = np.isin(ITEMS, list(new))
    floats = np.array(scores, np.float32)
    found = placed(release, ITEMS, floats, FEATURES, k=k, newcomers=newcomers)
    page = found.order[:k].tolist()
    assert len({departments[item] for item in page}) >= min(wanted, k)
    assert set(found.placed_by) <= set(page)
    assert not set(found.gave_way) & set(page)
    assert sorted(found.order) == list(range(N_ITEMS))
    assert sum(rule == "promotion_boost" for rule in found.placed_by.values()) <= int(0.3 * k + 1e-9)


def test_the_shipped_rules_move_nothing():
    """Promotion, diversity and margins are off: answers equal those of rules that do not know them."""
    shipped = load_rules()
    new = ("promotion_boost", "diversity", "minimum_margin")
    old = {rule: parameters for rule, parameters in shipped.items() if rule not in new}
    answers = [
        recommend(replace(BARE, rules=rules), READER, user, k=k, task=task, now=NOW)
        for rules in (shipped, old)
        for user in ("ann", "nobody")
        for k in (1, 5, 20)
        for task in ("all", "discover")
    ]
    half = len(answers) // 2
    for with_them, without in zip(answers[:half], answers[half:], strict=True):
        assert with_them.slots == without.slots
        assert all(slot.placed_by is None for slot in with_them.slots)
        assert not any(with_them.turned_away.get(rule) for rule in new)


@pytest.mark.parametrize("task", ["all", "discover"])
def test_the_score_told_is_the_rankers_own(task):
    """A boosted item is shown with the score it has without boost, and said to be shown by the rule."""
    rules = {"promotion_boost": {"boost": 1, "share": 0.4, "item_ids": NAMES[10:]}}
    whole = recommend(replace(BARE, rules={}), READER, "ann", k=20, task=task, now=NOW).slots
    own = {slot.item_id: slot for slot in whole}
    slots = recommend(
        replace(BARE, rules=checked_rules(rules)), READER, "ann", k=10, task=task, now=NOW
    ).slots
    for slot in slots:
        alone = own[slot.item_id]
        assert slot == replace(alone, rank=slot.rank, placed_by=slot.placed_by)
        assert (slot.placed_by == "promotion_boost") == (alone.rank > 10)


def test_top_sellers_keep_to_the_rules_too():
    """The fallback shows as many departments as are wanted, and nothing that earns too little."""
    rules = {
        "diversity": {"departments": 2},
        "minimum_margin": {"least": 0.2, "departments": {"south": 0.1}, "item_ids": {"i09": 0.3}},
    }
    answer = recommend(replace(BARE, rules=checked_rules(rules)), READER, "nobody", k=3, task="all", now=NOW)
    assert [slot.item_id for slot in answer.slots] == ["i00", "i02", "i09"]
    assert [slot.placed_by for slot in answer.slots] == [None, None, "diversity"]


def test_an_exchange_within_one_category_is_none_too_many(release):
    """Where a category is above its cap for want of others, one of it may give way to another of it."""
    catalogue = replace(release.catalogue, categories=np.zeros(N_ITEMS, np.int32))
    items = np.array([0, 2, 4, 1], dtype=np.int32)  # three of one department, then one of the other
    rules = {"category_cap": {"share": 0.4}, "diversity": {"departments": 2}}
    assert diverse(np.arange(4), items, catalogue, 3, rules).tolist() == [0, 1, 3, 2]
