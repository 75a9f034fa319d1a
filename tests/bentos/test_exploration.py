"""Drawn slots: propensities against the enumeration of all draws, and rules that hold whatever is drawn."""

import hashlib
import math
from collections import Counter
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import chisquare
from tiny_release import N_ITEMS, NOW, InMemory, tiny_release, user_row

from bentos.exploration import Explore, chances, explored, rng_of
from bentos.placement import placed
from bentos.recommend import recommend
from bentos.rule_parameters import checked_rules

ITEMS = np.arange(N_ITEMS, dtype=np.int32)
BARE = tiny_release()
READER = InMemory({"ann": user_row()})


def catalogue(categories, departments):
    """The tiny catalogue with categories and departments of our choice."""
    return replace(
        BARE.catalogue,
        categories=np.asarray(categories, np.int32),
        departments=np.asarray(departments, np.int32),
        department_names=np.array([f"D{number}" for number in range(N_ITEMS)]),
    )


def rules_of(cap_share=1.0, wanted=1):
    """A rule file with these two."""
    return {"category_cap": {"share": cap_share}, "diversity": {"departments": wanted}}


def eligible_of(shown, order, k, explore, of_row, cap_share, wanted):
    """Rows after which some way is left to fill the page from the pool within cap and with all departments.

    `of_row` are (category, department) of each row.
    """
    kept = max(0, k - explore.slots)
    before, pool = order[:k], order[kept : kept + explore.pool]
    had = Counter(of_row[row][0] for row in before)
    cap = max(1, math.floor(cap_share * k))
    least = min(wanted, k, len({of_row[row][1] for row in before}))

    def holds(page):
        held = Counter(of_row[row][0] for row in page)
        within = all(number <= max(cap, had[category]) for category, number in held.items())
        return within and len({of_row[row][1] for row in page}) >= least

    left = [row for row in pool if row not in shown]
    more = len(before) - len(shown) - 1
    return [
        row
        for row in left
        if any(holds([*shown, row, *rest]) for rest in combinations([r for r in left if r != row], more))
    ]


def all_draws(shown, order, k, explore, of_row, scores, cap_share, wanted):
    """Every page that can be drawn, with the probability of each of its draws."""
    if len(shown) == min(k, len(order)):
        return {tuple(shown): ()}
    able = eligible_of(shown, order, k, explore, of_row, cap_share, wanted)
    weights = [math.exp(float(scores[row]) / explore.temperature) for row in able]
    found = {}
    for row, weight in zip(able, weights, strict=True):
        rest = all_draws([*shown, row], order, k, explore, of_row, scores, cap_share, wanted)
        found |= {page: (weight / sum(weights), *more) for page, more in rest.items()}
    return found


@pytest.mark.parametrize(("cap_share", "wanted"), [(1.0, 1), (0.4, 1), (1.0, 3), (0.4, 3)])
def test_propensities_and_frequencies_are_those_of_all_draws(cap_share, wanted):
    """Of 4,000 pages each has the propensities of the enumeration, and comes as often as it says."""
    categories = [0, 1, 0, 2, 2, 0, 1, 4, *range(8, 20)]
    departments = [0, 0, 0, 1, 1, 0, 0, 2, *range(3, 15)]
    scores = np.array([2, 1.9, 1.5, 1.2, 1.1, 1, 0.4, 0.2, *np.linspace(0, -1, 12)], np.float32)
    k, explore, under = 5, Explore(slots=3, temperature=0.7, pool=5), rules_of(cap_share, wanted)
    shop = replace(BARE, catalogue=catalogue(categories, departments), rules=under)
    order = placed(shop, ITEMS, scores, None, k=k).order
    of_row = list(zip(categories, departments, strict=True))
    draws = all_draws(order[:2].tolist(), order.tolist(), k, explore, of_row, scores, cap_share, wanted)
    expected = {page: math.prod(each) for page, each in draws.items()}
    assert sum(expected.values()) == pytest.approx(1, abs=1e-12)
    seen = Counter()
    for number in range(4_000):
        rng = np.random.default_rng(number)
        found = explored(order, scores, ITEMS, shop.catalogue, k, under, explore, rng)
        page = tuple(found.order[:k].tolist())
        seen[page] += 1
        assert found.propensities == pytest.approx([1, 1, *draws[page]], rel=1e-12)
    pages = [page for page, chance in expected.items() if 4_000 * chance >= 5]
    rest = 1 - sum(expected[page] for page in pages)
    counts = [*(seen[page] for page in pages), 4_000 - sum(seen[page] for page in pages)]
    likely = np.array([*(expected[page] for page in pages), max(rest, 1e-12)]) * 4_000
    assert chisquare(counts, likely * (4_000 / likely.sum())).pvalue > 0.001


def test_a_page_above_its_cap_for_want_of_others_can_be_drawn_in_any_order():
    """Five items of two categories for five slots: all orders of the last four come, and nothing twice."""
    shop = replace(BARE, catalogue=catalogue([0, 0, 1, 0, 0, *range(2, 17)], [0] * 20), rules=rules_of(0.4))
    order, scores, pages = np.arange(5), np.zeros(N_ITEMS, np.float32), set()
    for number in range(300):
        rng = np.random.default_rng(number)
        found = explored(order, scores, ITEMS, shop.catalogue, 5, shop.rules, Explore(4, 1.0), rng)
        assert found.propensities == pytest.approx([1, 1 / 4, 1 / 3, 1 / 2, 1])
        pages.add(tuple(found.order.tolist()))
    assert pages == {(0, *rest) for rest in permutations([1, 2, 3, 4])}


NUMBERS = st.integers(0, 12).map(lambda n: n / 4)  # a few, so that there are ties
KIND = st.sampled_from([0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6])  # of one more than its cap on many a page
KINDS = st.lists(KIND, min_size=N_ITEMS, max_size=N_ITEMS)
SCORES = st.lists(NUMBERS, min_size=N_ITEMS, max_size=N_ITEMS)
RULES = {"cap_share": st.sampled_from([0.01, 0.3, 0.5, 1.0]), "wanted": st.integers(1, 4)}


@settings(max_examples=200)
@given(
    scores=SCORES,
    categories=KINDS,
    of_category=st.lists(st.integers(0, 3), min_size=7, max_size=7),
    k=st.integers(1, 7),
    slots=st.integers(1, 4),
    pool=st.integers(4, 7),
    n=st.integers(0, N_ITEMS),
    seed=st.integers(0, 99),
    **RULES,
)
def test_who_may_be_drawn_is_who_leaves_a_page_within_the_rules(
    scores, categories, of_category, k, slots, pool, n, seed, cap_share, wanted
):
    """Category within department: after each draw, eligible are those with whom some page can be filled."""
    departments = [of_category[category] for category in categories]
    scores, explore = np.array(scores, np.float32), Explore(slots, 1.0, pool)
    shop = replace(BARE, catalogue=catalogue(categories, departments), rules=rules_of(cap_share, wanted))
    order = placed(shop, ITEMS[:n], scores[:n], None, k=k).order
    rng = np.random.default_rng(seed)
    found = explored(order, scores, ITEMS, shop.catalogue, k, shop.rules, explore, rng)
    page, of_row = found.order[:k].tolist(), list(zip(categories, departments, strict=True))
    assert len(found.propensities) == len(page) == min(k, n)
    assert found.kept + len(found.eligible) == len(page)
    for draw, eligible in enumerate(found.eligible):
        shown = page[: found.kept + draw]
        able = eligible_of(shown, order.tolist(), k, explore, of_row, cap_share, wanted)
        assert found.pool[eligible].tolist() == [row for row in found.pool if row in able]
        weights = {row: math.exp(float(scores[row])) for row in able}
        drawn = page[found.kept + draw]
        chance = weights[drawn] / sum(weights.values())
        assert found.propensities[found.kept + draw] == pytest.approx(chance, rel=1e-12)


@settings(max_examples=200)
@given(
    scores=SCORES,
    categories=KINDS,
    departments=KINDS,
    k=st.integers(1, N_ITEMS),
    slots=st.integers(1, 12),
    pool=st.integers(12, 20),
    promoted=st.sets(st.integers(0, N_ITEMS - 1)),
    new=st.sets(st.integers(0, N_ITEMS - 1)),
    seed=st.integers(0, 99),
    **RULES,
)
def test_no_draw_breaks_a_rule(
    scores, categories, departments, k, slots, pool, promoted, new, seed, cap_share, wanted
):
    """With categories across departments, boosts and newcomers: caps, departments and who is kept hold."""
    names = [f"i{item:02d}" for item in promoted]
    boost = {"boost": 1, "share": 0.5, "item_ids": names}
    under = checked_rules({**rules_of(cap_share, wanted), "promotion_boost": boost})
    shop = replace(BARE, catalogue=catalogue(categories, departments), rules=under)
    scores, newcomers = np.array(scores, np.float32), np.isin(ITEMS, list(new))
    order = placed(shop, ITEMS, scores, None, k=k, newcomers=newcomers).order
    rng = np.random.default_rng(seed)
    found = explored(order, scores, ITEMS, shop.catalogue, k, under, Explore(slots, 1.0, pool), rng)
    page, before = found.order[:k].tolist(), order[:k].tolist()
    kept = max(0, k - slots)
    assert page[:kept] == before[:kept]
    assert set(page[kept:]) <= set(order[kept : kept + pool].tolist())
    assert found.order[k:].tolist() == [row for row in order.tolist() if row not in page]
    assert found.order.size == len(set(found.order.tolist())) == N_ITEMS
    held, had = (Counter(categories[row] for row in each) for each in (page, before))
    assert all(held[each] <= max(had[each], max(1, math.floor(cap_share * k))) for each in held)
    shown, had = ({departments[row] for row in each} for each in (page, before))
    assert len(shown) >= min(wanted, k, len(had))
    assert ((found.propensities > 0) & (found.propensities <= 1)).all()
    assert (found.propensities[:kept] == 1).all()


@settings(max_examples=100)
@given(st.permutations(range(N_ITEMS)), KINDS, st.integers(1, 9), RULES["cap_share"])
def test_a_cold_draw_is_the_rankers_page_and_a_hot_one_is_even(scores, categories, k, cap_share):
    """At temperature 1e-9 the page stays as the cap left it; at 1e9 all who are eligible are as likely."""
    shop = replace(BARE, catalogue=catalogue(categories, categories), rules=rules_of(cap_share))
    scores = np.array(scores, np.float32)
    order = placed(shop, ITEMS, scores, None, k=k).order
    full = np.bincount(np.array(categories)[order[:k]]).max() > max(1, math.floor(cap_share * k))
    cold, hot = (
        explored(
            order, scores, ITEMS, shop.catalogue, k, shop.rules, Explore(3, temperature), rng_of("request")
        )
        for temperature in (1e-9, 1e9)
    )
    if not full:  # else some stand there for want of others, in whose places they may be drawn too
        assert cold.order.tolist() == order.tolist()
        assert cold.propensities == pytest.approx(1)
    assert hot.propensities[hot.kept :] == pytest.approx(1 / hot.eligible.sum(axis=1), rel=1e-6)


def test_chances_are_the_softmax_of_the_eligible():
    """Row by row as SciPy has it, over any leading axes; others have none."""
    rng = np.random.default_rng(0)
    scores, eligible = rng.normal(size=(4, 3, 6)), rng.random((4, 3, 6)) < 0.6
    eligible[..., 0] = True
    found = chances(scores, eligible, 0.3)
    for place in np.ndindex(4, 3):
        able = eligible[place]
        assert found[place][able] == pytest.approx(softmax(scores[place][able] / 0.3), rel=1e-12)
        assert not found[place][~able].any()


@pytest.mark.parametrize("temperature", [1e-300, 1e-3, 1e300])
def test_no_score_overflows(temperature):
    """Scores 1e30 apart, in float32, at temperatures next to nothing and to all, draw without warning."""
    scores = np.array([1e30, -1e30, 0, *np.zeros(17)], np.float32)
    found = explored(
        np.arange(20), scores, ITEMS, BARE.catalogue, 3, {}, Explore(3, temperature, 5), rng_of("a")
    )
    assert np.isfinite(found.propensities).all()
    assert (found.propensities > 0).all()
    if temperature < 1e300:
        assert found.order[0] == 0


def test_what_has_no_score_is_not_drawn():
    """NaN and infinities are never eligible while others are; where none is left, the next is certain."""
    scores = np.array([9, np.nan, 1, -np.inf, np.inf, 0, *np.full(14, np.nan)], np.float32)
    for number in range(50):
        found = explored(
            np.arange(20), scores, ITEMS, BARE.catalogue, 5, {}, Explore(4, 1.0, 7), rng_of(str(number))
        )
        page = found.order[:5].tolist()
        assert set(page[1:3]) == {2, 5}
        assert page[3:] == [1, 3]
        assert found.propensities[2:].tolist() == [1, 1, 1]
        assert found.eligible.sum(axis=1).tolist() == [2, 1, 1, 1]


class Least:
    """A generator that draws the least number there is."""

    def random(self):
        """Nothing."""
        return 0.0


def test_the_least_number_draws_no_one_of_chance_0():
    """Where the first in the pool may not be drawn, the first who may is."""
    scores = np.array([np.nan, 3, 2, 1, *np.zeros(16)], np.float32)
    found = explored(np.arange(20), scores, ITEMS, BARE.catalogue, 2, {}, Explore(2, 1.0, 4), Least())
    assert found.order[:2].tolist() == [1, 2]


def test_one_request_id_draws_one_page():
    """The same id gives the same generator, that of its hash; another id gives another page in most cases."""
    scores = np.zeros(N_ITEMS, np.float32)
    pages = [
        tuple(
            explored(np.arange(20), scores, ITEMS, BARE.catalogue, 5, {}, Explore(3, 1.0), rng_of(request))
            .order[:5]
            .tolist()
        )
        for request in [*map(str, range(40)), *map(str, range(40))]
    ]
    assert pages[:40] == pages[40:]
    assert len(set(pages)) > 35
    seed = int(hashlib.blake2b("ü1".encode(), digest_size=16, person=b"exploration").hexdigest(), 16)
    assert rng_of("ü1").random() == np.random.Generator(np.random.PCG64(seed)).random()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"slots": 0}, "slots is 0; use a whole number from 1"),
        ({"slots": True}, "slots is True"),
        ({"slots": 2.0}, "slots is 2.0"),
        ({"temperature": 0}, "temperature is 0; use a finite number above 0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"pool": 1}, "pool is 1; use a whole number from 2 to 100"),
        ({"pool": 101}, "pool is 101"),
        ({"pool": 3.5}, "pool is 3.5"),
        ({"slots": 5, "pool": 4}, "pool is 4; .*that is not below slots, 5"),
    ],
)
def test_what_cannot_be_meant_is_refused(bad, message):
    """Each number has its range, and the message says which."""
    with pytest.raises(ValueError, match=message):
        Explore(**{"slots": 3, "temperature": 0.5, **bad})


def asked(user_id="ann", request="r", shop=BARE, reader=READER, **more):
    """An answer with three slots explored."""
    wanted = {"k": 6, "task": "discover", "now": NOW, "explore": Explore(3, 4.0, 8), **more}
    return recommend(shop, reader, user_id, rng=rng_of(request), **wanted)


def test_an_answer_tells_what_was_drawn():
    """The record holds all that the slots' propensities follow from; the first slots stay as they are."""
    plain = recommend(BARE, READER, "ann", k=14, task="discover", now=NOW).slots
    beyond = set()
    for number in range(30):
        answer = asked(request=str(number))
        assert answer.slots[:3] == plain[:3]
        assert answer.exploration.pool == tuple(slot.item_id for slot in plain[3:11])
        assert answer.exploration.scores == tuple(slot.score for slot in plain[3:11])
        weights = {slot.item_id: math.exp(slot.score / 4) for slot in plain[3:11]}
        for draw, slot in enumerate(answer.slots[3:]):
            assert slot.explored
            assert slot.propensity == pytest.approx(weights[slot.item_id] / sum(weights.values()))
            able = zip(answer.exploration.pool, answer.exploration.eligible[draw], strict=True)
            assert {item for item, eligible in able if eligible} == set(weights)
            del weights[slot.item_id]
            outside = slot.item_id not in {other.item_id for other in plain[:6]}
            assert slot.placed_by == ("exploration" if outside else None)
            beyond.add(outside)
    assert beyond == {True, False}
    assert not any(slot.explored or slot.propensity != 1 for slot in answer.slots[:3])


def test_an_answer_without_the_ranker_explores_nothing():
    """A late answer by the pool and top sellers for a stranger are shown as they are, and said to be."""
    for answer in (asked(budget_ms=0.0), asked(user_id="nobody"), recommend_plainly()):
        assert answer.exploration is None
        assert all(slot.propensity == 1 and not slot.explored for slot in answer.slots)
        assert len(answer.slots) == 6


def recommend_plainly():
    """An answer that nobody wants explored."""
    return recommend(BARE, READER, "ann", k=6, task="discover", now=NOW)


def test_to_explore_takes_a_generator():
    """Draws that could not be recomputed are refused."""
    with pytest.raises(ValueError, match="explore is given without rng; use rng_of"):
        recommend(BARE, READER, "ann", k=6, task="all", now=NOW, explore=Explore(3, 1.0))
