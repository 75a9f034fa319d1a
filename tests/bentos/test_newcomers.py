"""Newcomers: which candidates are, and that one costs no more than the last slot."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_release import NOW, InMemory, user_row

from bentos.candidates import draw
from bentos.newcomers import newcomers
from bentos.pool import APPEAL
from bentos.recommend import recommend
from bentos.shopper import shopper

READER = InMemory({"ann": user_row()})
RULE = {"tasks": ["all", "discover"], "days": 28, "lift": 1.2}
TYPES = 5  # of the tiny release: an item's type is its position modulo 5
REASON = "New in the shop, of a kind that you buy"


def shop(release, ages, *, rules=None):
    """The tiny release with some items of an age in days, all others of 100."""
    appeal = release.arrays["appeal_inputs"].copy()
    for item, days in ages.items():
        appeal[APPEAL.index("item_age_days"), item] = np.log1p(np.float32(days))
    arrays = {**release.arrays, "appeal_inputs": appeal}
    return replace(release, arrays=arrays, rules={**release.rules, "newcomer": RULE, **(rules or {})})


def without_rule(release):
    """The same release, whose rules know no newcomers."""
    return replace(release, rules={name: rule for name, rule in release.rules.items() if name != "newcomer"})


def answered(release, *, k=6, task="discover", reader=READER):
    """Slots of one answer to ann."""
    return recommend(release, reader, "ann", k=k, task=task, now=NOW).slots


def ids(slots):
    """Their item ids, best first."""
    return [slot.item_id for slot in slots]


def tried(release, row=None, task="all"):
    """Positions of ann's newcomers."""
    candidates = draw(release, shopper(row or user_row(), release, NOW), task)
    return candidates.items[newcomers(release, candidates, task)].tolist()


def test_a_newcomer_comes_forward_to_the_last_slot(release):
    """Item 18 is of the type that ann buys; all that stands before it stays, to the last bit."""
    new = shop(release, {18: 5})
    before, after = answered(without_rule(new), k=20), answered(new)
    assert after[:-1] == before[:5]
    alone = {slot.item_id: slot for slot in before}["i18"]
    assert alone.rank > 6
    assert after[-1] == replace(alone, rank=6, reason=REASON, placed_by="newcomer")


@pytest.mark.parametrize("rule", [None, {**RULE, "tasks": []}, {**RULE, "tasks": ["all"]}])
def test_off_changes_nothing(release, rule):
    """Answers equal those of rules that know no newcomers."""
    off = shop(release, {18: 5}, rules={"newcomer": rule})
    assert answered(off) == answered(without_rule(off))


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_new_only_the_last_slot_changes(release, seed):
    """Random ages, every number of slots: the change is the first newcomer behind the page."""
    rng = np.random.default_rng(seed)
    ages = dict(enumerate(rng.choice([3, 27, 29, 200], size=20, p=[0.1, 0.1, 0.4, 0.4]).tolist()))
    new = shop(release, ages)
    fits = set(tried(new))
    for task in ("all", "discover"):
        whole = answered(without_rule(new), k=20, task=task)
        for k in range(1, 12):
            before, after = answered(without_rule(new), k=k, task=task), answered(new, k=k, task=task)
            waiting = [name for name in ids(whole)[k:] if int(name[1:]) in fits]
            some = any(int(name[1:]) in fits for name in ids(before))
            expected = ids(before) if k == 1 or some or not waiting else [*ids(before)[:-1], waiting[0]]
            assert ids(after) == expected
            assert after[:-1] == before[:-1]


@pytest.mark.parametrize(
    ("age", "lift", "found"), [(28, 1.2, [18]), (28.5, 1.2, []), (0, 1.2, [18]), (5, 100.0, [])]
)
def test_both_bounds_hold(release, age, lift, found):
    """Too old by half a day, or of a type that is not bought that much more often, it is not tried."""
    assert tried(shop(release, {18: age}, rules={"newcomer": {**RULE, "lift": lift}})) == found


def test_the_bound_is_the_types_share_over_the_shops(release):
    """Ann's share of type 3, smoothed by ten purchases as the shop makes them, counted by hand."""
    past = shopper(user_row(), release, NOW).past
    own = sum(weight for item, weight in zip(past.items, past.decayed, strict=True) if item % TYPES == 3)
    sales = np.arange(20, 0, -1)
    share = sales[3::5].sum() / sales.sum()
    lift = float((own + 10 * share) / ((past.decayed.sum() + 10) * share))
    for bound, found in ((lift * 0.999, [18]), (lift * 1.001, [])):
        assert tried(shop(release, {18: 5}, rules={"newcomer": {**RULE, "lift": bound}})) == found


def test_what_was_bought_is_no_newcomer(release):
    """Item 13 is new in the shop, but ann has it already; who bought nothing buys no kind."""
    assert tried(shop(release, {13: 5})) == []
    nobody = user_row(items=("gone",), counts=(1,), days_ago=(1,))
    assert tried(shop(release, dict.fromkeys(range(20), 5)), nobody) == []


def test_an_item_without_features_has_no_age(release):
    """Its zeros say that nothing is known, not that it came today."""
    bare = shop(release, {18: 0})
    bare.arrays["appeal_inputs"][APPEAL.index("item_baskets_182d"), 18] = 0.0
    assert tried(bare) == []


@pytest.mark.parametrize("blocked", [{"item_ids": ["i08"]}, {"departments": ["north"]}])
def test_a_blocked_newcomer_gives_way_to_the_next(release, blocked):
    """Item 8 is of department north; item 17 comes after it, of a type that is bought too."""
    reader = InMemory({"ann": user_row(items=("i03", "i07"), counts=(9, 5), days_ago=(1, 1))})
    new = shop(release, {8: 5, 17: 5})
    assert ids(answered(new, reader=reader))[-1] == "i08"
    rules = {"blocked": blocked}
    assert ids(answered(shop(release, {8: 5, 17: 5}, rules=rules), reader=reader))[-1] == "i17"


def test_an_unavailable_newcomer_is_not_shown(release):
    """Without online features it is no longer sold: the page is as it would be without the rule."""
    new, reader = shop(release, {18: 5}), InMemory({"ann": user_row()}, missing=["i18"])
    assert answered(new, reader=reader) == answered(without_rule(new), reader=reader)


def test_a_newcomer_keeps_to_the_cap_of_its_category(release):
    """One of each: item 17 is one too many beside item 2, item 8 takes the slot of its like, item 3."""
    rules = {"category_cap": {"share": 0.34}}
    reader = InMemory({"ann": user_row(items=("i13", "i12"), counts=(9, 9), days_ago=(1, 1))})
    new = shop(release, {8: 5, 17: 5}, rules=rules)
    page = ids(answered(new, k=4, reader=reader))
    assert ids(answered(without_rule(new), k=4, reader=reader)) == ["i00", "i01", "i02", "i03"]
    assert page == ["i00", "i01", "i02", "i08"]
    assert ids(answered(shop(release, {17: 5}, rules=rules), k=4, reader=reader)) == [
        "i00",
        "i01",
        "i02",
        "i03",
    ]


def test_who_earned_a_better_slot_keeps_it(release):
    """Item 0 leads by its sales; new or not, the page and its reasons stay."""
    reader = InMemory({"ann": user_row(items=("i05", "i13"), counts=(5, 5), days_ago=(2, 2))})
    new = shop(release, {0: 5, 18: 5})
    assert tried(new, reader.read_user("ann")) == [0, 18]
    assert answered(new, reader=reader) == answered(without_rule(new), reader=reader)
