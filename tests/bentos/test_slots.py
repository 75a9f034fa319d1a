"""Slots by the legacy rules: a plain sort under the rules that keep items out, and so through the path."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tiny_release import N_CATEGORIES, N_ITEMS, NOW, InMemory, user_row

from bentos.ladder import FeaturesUnavailableError
from bentos.legacy_rules import LEGACY_RULES
from bentos.recommend import recommend
from bentos.session import Session, positions
from bentos.shopper import shopper
from bentos.slots import REASONS, legacy_slots

BOUGHT = {3, 7, 13}  # by the shopper of `user_row`
STRICT = {
    "blocked": {"item_ids": ["i01", "i13"]},
    "minimum_margin": {"least": 0.1, "item_ids": {"i04": 0.05, "i05": 0.2}},
    "in_basket": {"enabled": True},
    "category_cap": {"share": 0.4},
}
BASKET = ("i00", "i19", "not there")


@pytest.fixture(params=range(3))
def shuffled(release, request):
    """The tiny release with random popularity, in which many items tie, under strict rules."""
    rng = np.random.default_rng(request.param)
    popularity = rng.integers(0, 6, N_ITEMS).astype(np.float32)
    segments = rng.integers(0, 6, (2, N_ITEMS)).astype(np.float32)
    arrays = {**release.arrays, "popularity": popularity, "segment_popularity": segments}
    return replace(release, arrays=arrays, rules=STRICT)


def page(scores, k, without):
    """The first k by score, ties by position; of them a category has at most 40 % if others can fill it."""
    allowed = [item for item in range(N_ITEMS) if item not in without]
    order, shown = sorted(allowed, key=lambda item: (-scores[item], item)), Counter()
    first, others = [], []
    for item in order:
        fits = len(first) < k and shown[item % N_CATEGORIES] < max(1, int(0.4 * k))
        (first if fits else others).append(item)
        shown[item % N_CATEGORIES] += fits
    return (first + others)[:k]


@pytest.mark.parametrize("name", LEGACY_RULES)
@pytest.mark.parametrize("task", ["all", "discover"])
@pytest.mark.parametrize("k", [1, 5, 10, 30])
def test_slots_are_the_best_that_the_rules_allow(shuffled, name, task, k):
    """Blocked, too little earning, in the basket and, to discover, bought before: none of these is shown."""
    who = shopper(user_row(), shuffled, NOW)
    slots = legacy_slots(shuffled, who, name, k, task, positions(shuffled, BASKET))
    scores = LEGACY_RULES[name](shuffled, who).tolist()
    without = {1, 13, 4, 0, 19} | (BOUGHT if task == "discover" else set())
    expected = page(scores, k, without)
    assert [slot.item_id for slot in slots] == [f"i{item:02d}" for item in expected]
    assert [slot.title for slot in slots] == [f"Item {item}" for item in expected]
    assert [slot.score for slot in slots] == [scores[item] for item in expected]
    assert [slot.rank for slot in slots] == list(range(1, len(expected) + 1))
    assert [slot.bought_before for slot in slots] == [item in BOUGHT for item in expected]
    assert {(slot.sources, slot.reason, slot.placed_by) for slot in slots} == {((name,), REASONS[name], None)}


def test_each_rule_has_an_order_of_its_own(release):
    """By position, in the north reversed, the own first; of category 3 seven were bought, and it leads."""
    expected = {
        "top_sellers": ["i00", "i01", "i02", "i03"],
        "segment": ["i19", "i18", "i17", "i16"],
        "buy_again": ["i03", "i13", "i07", "i00"],
        "category_affinity": ["i03", "i08", "i13", "i02"],
    }
    who = shopper(user_row(), release, NOW)
    nothing = np.empty(0, dtype=np.int32)
    found = {name: legacy_slots(release, who, name, 4, "all", nothing) for name in LEGACY_RULES}
    assert {name: [slot.item_id for slot in slots] for name, slots in found.items()} == expected


@pytest.mark.parametrize("rule", ["blocked", "minimum_margin"])
def test_the_page_is_filled_from_behind_what_is_kept_out(release, rule):
    """Though all the best are blocked, or earn too little."""
    best = [f"i{item:02d}" for item in range(18)]
    parameters = (
        {"item_ids": best} if rule == "blocked" else {"least": 0.1, "item_ids": dict.fromkeys(best, 0.0)}
    )
    ruled = replace(release, rules={rule: parameters})
    slots = legacy_slots(ruled, shopper(None, ruled, NOW), "top_sellers", 1, "all", np.empty(0, np.int32))
    assert [slot.item_id for slot in slots] == ["i18"]


def test_a_department_that_is_shown_for_diversity_says_so(release):
    """The south's best seller of a page of the north stands there by the rule alone."""
    popularity = np.where(np.arange(N_ITEMS) % 2 == 0, 100.0, 1.0) - np.arange(N_ITEMS) / 100
    arrays = {**release.arrays, "popularity": popularity.astype(np.float32)}
    ruled = replace(release, arrays=arrays, rules={"diversity": {"departments": 2}})
    slots = legacy_slots(ruled, shopper(None, ruled, NOW), "top_sellers", 3, "all", np.empty(0, np.int32))
    assert [(slot.item_id, slot.placed_by) for slot in slots] == [
        ("i00", None),
        ("i02", None),
        ("i01", "diversity"),
    ]


@pytest.mark.parametrize("name", LEGACY_RULES)
@pytest.mark.parametrize("task", ["all", "discover"])
def test_the_path_answers_by_a_legacy_rule(shuffled, name, task):
    """Without a ranker: the rule's slots, as of the shopper's row, not degraded."""
    reader = InMemory({"ann": user_row()})
    found = recommend(
        replace(shuffled, rankers={}), reader, "ann", k=5, task=task, now=NOW, legacy=name,
        session=Session(basket=BASKET, clicked=("i06",)),
    )  # fmt: skip
    who = shopper(user_row(), shuffled, NOW)
    assert found.slots == legacy_slots(shuffled, who, name, 5, task, positions(shuffled, BASKET))
    assert (found.degraded, found.feature_time) == ((), NOW)
    assert found.stages_ms.keys() == {"user", "legacy"}


class Down(InMemory):
    """A store that does not answer."""

    def read_user(self, user_id):
        """No row of anybody."""
        raise FeaturesUnavailableError(f"no answer about {user_id}")


@pytest.mark.parametrize(
    ("reader", "says"),
    [
        (InMemory({}), "unknown user: top sellers"),
        (Down({}), "no answer about ann: top sellers"),
    ],
)
def test_of_whom_nothing_is_known_has_top_sellers_and_is_told(release, reader, says):
    """Also in a visit, which the rules of before do not hear of, but for its basket."""
    ruled = replace(release, rules={"in_basket": {"enabled": True}})
    session = Session(basket=("i00",), clicked=("i05",))
    found = recommend(ruled, reader, "ann", k=2, task="all", now=NOW, legacy="segment", session=session)
    assert [slot.item_id for slot in found.slots] == ["i01", "i02"]
    assert (found.degraded, found.feature_time) == ((says,), None)


def test_where_no_item_passes_the_rules_it_is_told(release):
    """Nothing is shown rather than what the shop blocks."""
    ruled = replace(release, rules={"blocked": {"departments": ["north", "south"]}})
    found = recommend(ruled, InMemory({"ann": user_row()}), "ann", k=2, task="all", now=NOW, legacy="segment")
    assert (found.slots, found.degraded) == ((), ("no item passed the rules: top sellers",))


def test_a_legacy_arm_does_not_show_what_is_sold_no_more(release):
    """An item without features is left out by the arm; the fallback, which asks no store, still has it."""
    asked = {"k": 5, "task": "all", "now": NOW}
    reader = InMemory({"ann": user_row()})
    before = [slot.item_id for slot in recommend(release, reader, "ann", legacy="top_sellers", **asked).slots]
    lacking = InMemory({"ann": user_row()}, missing=before[:1])
    after = [slot.item_id for slot in recommend(release, lacking, "ann", legacy="top_sellers", **asked).slots]
    assert after[:4] == before[1:]
    assert recommend(release, lacking, "nobody", **asked).slots[0].item_id == before[0]


def test_a_legacy_arm_tells_what_it_could_not_read(release):
    """Late features and a store that fails between user and items are told as they are of the engine."""

    class Late(InMemory):
        def late(self):
            return NOW

        def read_items(self, items):
            raise FeaturesUnavailableError(f"the store is gone, and {len(items)} items with it")

    reader = Late({"ann": user_row()})
    answer = recommend(release, reader, "ann", k=5, task="all", now=NOW, legacy="buy_again")
    assert len(answer.slots) == 5
    late, gone = answer.degraded
    assert late.startswith("features are out of date")
    assert gone.startswith("the store is gone")
