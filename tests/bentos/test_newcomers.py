"""The newcomer: which item is tried, and that it costs no more than the last slot."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_release import NOW, InMemory, user_row

from bentos.candidates import draw, opinions
from bentos.newcomers import draw_with_newcomer, newcomer
from bentos.pool import APPEAL
from bentos.recommend import recommend
from bentos.shopper import shopper

READER = InMemory({"ann": user_row()})
RULE = {"enabled": True, "days": 28, "lift": 1.2}
TYPES = 5  # of the tiny release: an item's type is its position modulo 5


def shop(release, ages, *, hardly_sold=(), rules=None):
    """The tiny release with some items of an age in days, others of 100; the pool draws no `hardly_sold`."""
    appeal = release.arrays["appeal_inputs"].copy()
    for item, days in ages.items():
        appeal[APPEAL.index("item_age_days"), item] = np.log1p(np.float32(days))
    appeal[APPEAL.index("item_baskets_28d"), list(hardly_sold)] = -np.inf
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


def tried(release, row=None):
    """Position of ann's newcomer."""
    who = shopper(row or user_row(), release, NOW)
    return newcomer(release, who, opinions(release, who), release.rules["newcomer"])


def test_a_newcomer_that_no_source_draws_gets_the_last_slot(release):
    """Item 18 is of the type that ann buys; the slots before it are the same to the last bit."""
    new = shop(release, {18: 5}, hardly_sold=[18])
    before, after = answered(without_rule(new)), answered(new)
    assert "i18" not in ids(before)
    assert after[:-1] == before[:-1]
    assert (after[-1].item_id, after[-1].rank) == ("i18", 6)
    assert after[-1].sources == ("newcomer",)
    assert after[-1].reason == "New in the shop, of a kind that you buy"


def test_a_newcomer_among_the_candidates_comes_forward_with_its_score(release):
    """It was drawn too: it keeps what the ranker and the sources say of it."""
    new = shop(release, {18: 5})
    last = answered(new)[-1]
    alone = {slot.item_id: slot for slot in answered(without_rule(new), k=20)}["i18"]
    assert last.item_id == "i18"
    assert last.score == alone.score
    assert last.sources == ("newcomer", *alone.sources)


@pytest.mark.parametrize("rules", [{"newcomer": None}, {"newcomer": {**RULE, "enabled": False}}])
@pytest.mark.parametrize("task", ["all", "discover"])
def test_off_changes_nothing(release, rules, task):
    """Answers and candidates equal those of rules that know no newcomers."""
    off = shop(release, {18: 5}, hardly_sold=[18], rules=rules)
    assert answered(off, task=task) == answered(without_rule(off), task=task)
    who = shopper(user_row(), off, NOW)
    mine, plain = draw_with_newcomer(off, who, task), draw(off, who, task)
    np.testing.assert_array_equal(mine.items, plain.items)
    np.testing.assert_array_equal(mine.scores, plain.scores)
    assert mine.newcomer is None


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_new_only_the_last_slot_changes(release, seed):
    """Random ages and sales, every number of slots: the change is one newcomer of a type that is bought."""
    rng = np.random.default_rng(seed)
    ages = dict(enumerate(rng.choice([3, 27, 29, 200], size=20).tolist()))
    new = shop(release, ages, hardly_sold=np.flatnonzero(rng.random(20) < 0.4).tolist())
    for task in ("all", "discover"):
        for k in range(1, 12):
            before, after = answered(without_rule(new), k=k, task=task), answered(new, k=k, task=task)
            kept = min(k - 1, len(before))
            assert [slot.score for slot in after[:kept]] == [slot.score for slot in before[:kept]]
            assert ids(after[:kept]) == ids(before[:kept])
            assert len(after) <= k
            if ids(after) != ids(before):
                item = int(after[-1].item_id[1:])
                assert k > 1
                assert ages[item] <= RULE["days"]
                assert item % TYPES in {3, 13 % TYPES, 7 % TYPES}
                assert item not in {3, 7, 13}


def test_the_newcomer_is_the_one_of_highest_affinity(release):
    """8 and 18 are of the same type; 18 alone is of the department, and the line, of the shopper's 8."""
    row = user_row(items=("i08",), counts=(3,), days_ago=(1,))
    assert tried(shop(release, {3: 5, 13: 5, 18: 5}), row) == 18
    assert tried(shop(release, {3: 5, 13: 5, 18: 90}), row) in {3, 13}


@pytest.mark.parametrize(
    ("age", "lift", "found"),
    [(28, 1.2, 18), (28.5, 1.2, None), (0, 1.2, 18), (5, 100.0, None)],
)
def test_both_bounds_hold(release, age, lift, found):
    """Too old by half a day, or of a type that is not bought that much more often, it is not tried."""
    assert tried(shop(release, {18: age}, rules={"newcomer": {**RULE, "lift": lift}})) == found


def test_the_bound_is_the_types_share_over_the_shops(release):
    """Ann's share of type 3, smoothed by ten purchases as the shop makes them, counted by hand."""
    who = shopper(user_row(), release, NOW)
    own = sum(
        weight for item, weight in zip(who.past.items, who.past.decayed, strict=True) if item % TYPES == 3
    )
    sales = np.arange(20, 0, -1)
    share = sales[3::5].sum() / sales.sum()
    lift = (own + 10 * share) / ((who.past.decayed.sum() + 10) * share)
    for bound, found in ((lift * 0.999, 18), (lift * 1.001, None)):
        assert tried(shop(release, {18: 5}, rules={"newcomer": {**RULE, "lift": float(bound)}})) == found


def test_what_was_bought_is_no_newcomer(release):
    """Item 13 is new in the shop, but ann has it already; a shopper without a past has no kind."""
    assert tried(shop(release, {13: 5})) is None
    assert tried(shop(release, {13: 5}), user_row(items=("gone",), counts=(1,), days_ago=(1,))) is None


def test_an_item_without_features_has_no_age(release):
    """Its zeros say that nothing is known, not that it came today."""
    bare = shop(release, {18: 0})
    bare.arrays["appeal_inputs"][APPEAL.index("item_baskets_182d"), 18] = 0.0
    assert tried(bare) is None


@pytest.mark.parametrize("blocked", [{"item_ids": ["i18"]}, {"departments": ["north"]}])
def test_a_blocked_newcomer_gives_way_to_the_next(release, blocked):
    """Item 18 is of department north."""
    rules = {"blocked": blocked}
    row = user_row(items=("i07", "i08"), counts=(5, 9), days_ago=(1, 1))
    assert tried(shop(release, {18: 5, 17: 5}), row) == 18
    assert tried(shop(release, {18: 5, 17: 5}, rules=rules), row) == 17
    assert "i18" not in ids(answered(shop(release, {18: 5}, rules=rules)))


def test_an_unavailable_newcomer_is_not_shown(release):
    """Without online features it is no longer sold: the page is as it would be without the rule."""
    new = shop(release, {18: 5}, hardly_sold=[18])
    reader = InMemory({"ann": user_row()}, missing=["i18"])
    assert answered(new, reader=reader) == answered(without_rule(new), reader=reader)


def test_a_newcomer_keeps_to_the_cap_of_its_category(release):
    """Of six slots one per category: i03's is taken, so i18 is one too many."""
    new = shop(release, {18: 5}, hardly_sold=[18], rules={"category_cap": {"share": 0.2}})
    reader = InMemory({"ann": user_row(items=("i13",), counts=(5,), days_ago=(2,))})
    assert "i03" in ids(answered(new, reader=reader)[:5])
    assert ids(answered(new, reader=reader)) == ids(answered(without_rule(new), reader=reader))


def test_who_earned_a_better_slot_keeps_it(release):
    """Item 0 leads by its sales; new or not, the order stays."""
    reader = InMemory({"ann": user_row(items=("i05",), counts=(5,), days_ago=(2,))})
    new = shop(release, {0: 5})
    slots = answered(new, reader=reader)
    assert ids(slots) == ids(answered(without_rule(new), reader=reader))
    assert slots[0].reason == "New in the shop, of a kind that you buy"
