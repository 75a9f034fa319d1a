"""Why an item is not shown: the stage that lost it, by the path of the answer; and likenesses of items."""

from dataclasses import replace

import numpy as np
import pytest
import served_shop
from served_shop import ITEMS, NOW, SOLD_OUT
from tiny_release import N_ITEMS

from bentos.candidates import draw
from bentos.ladder import FeaturesUnavailableError
from bentos.online_features import OnlineFeatures
from bentos.recommend import recommend
from bentos.release import load
from bentos.rule_parameters import REASONS, checked_rules
from bentos.session import Session
from bentos.similar import similar
from bentos.why_not import NOT_DRAWN, OUTRANKED, RECOMMENDED, RULE, UNKNOWN, why_not

shop = pytest.fixture(scope="session")(served_shop.installed)


@pytest.fixture(scope="module")
def served(shop):
    """(release, reader) of the shop."""
    release = load(shop.release, shop.tag)
    return release, OnlineFeatures(shop.settings, release, lambda: NOW)


def ask(served, item, k=5, task="all", session=None):
    """What became of an item in u1's answer."""
    return why_not(*served, "u1", item, k=k, task=task, now=NOW, session=session)


def shown(served, k=5, task="all", session=None):
    """Items of u1's answer."""
    return [slot.item_id for slot in recommend(*served, "u1", k=k, task=task, now=NOW, session=session).slots]


@pytest.mark.parametrize("task", ["all", "discover"])
def test_every_item_is_accounted_for(served, task):
    """Those that are shown are told to be, at their places; of all others the first stage that lost them."""
    answer = shown(served, task=task)
    for item in ITEMS:
        found = ask(served, item, task=task)
        assert (found.verdict == RECOMMENDED) == (item in answer)
        if item in answer:
            assert found.rank == answer.index(item) + 1
        elif item == SOLD_OUT and found.verdict != NOT_DRAWN:
            assert (found.verdict, found.reason) == (
                RULE,
                f"The rule available turns it away: {REASONS['available']}",
            )
        elif found.verdict == OUTRANKED:
            assert found.rank > 5
            assert found.score < found.least_score
        else:
            assert found.verdict in {RULE, NOT_DRAWN}


def test_the_rank_is_that_of_a_longer_answer(served):
    """An item that is outranked stands at its place in the answer for everything."""
    everything = shown(served, k=N_ITEMS)
    for place, item in enumerate(everything, start=1):
        found = ask(served, item, k=1)
        if found.verdict == OUTRANKED:
            assert found.rank == place


def test_what_was_bought_is_not_new(served):
    """For discover an item of the shopper's past is not drawn, and the reason says why."""
    _, reader = served
    bought = reader.read_user("u1")["history_items"][0]
    found = ask(served, bought, task="discover")
    assert (found.verdict, found.reason) == (
        NOT_DRAWN,
        "The shopper has bought it, and asked for what is new to them",
    )


def test_an_item_that_is_not_drawn_has_places(served, monkeypatch):
    """With room for three candidates most are not drawn: the pool's place is told."""
    monkeypatch.setattr("bentos.recommend.draw", lambda *a: draw(*a, size=3))
    found = ask(served, ITEMS[0], task="discover")
    assert found.verdict == NOT_DRAWN
    assert f"the pool has it at place {found.sources['pool']}" in found.reason
    assert set(found.sources) >= {"pool", "two_tower", "top_sellers"}


def test_rules_are_named(served):
    """Blocked, and in the basket: by the session of the request."""
    release, reader = served
    first = shown(served)[0]
    assert "in_basket" in ask(served, first, session=Session((first,))).reason
    blocked = replace(release, rules=checked_rules({"blocked": {"item_ids": [first]}}))
    assert "blocked" in ask((blocked, reader), first).reason
    capped = replace(release, rules=checked_rules({"category_cap": {"share": 0.01}}))
    second = next(item for item in shown(served) if item not in shown((capped, reader)))
    assert "category_cap" in ask((capped, reader), second).reason


def test_an_unheard_of_item_is_unknown(served):
    """To the catalogue, whoever asks."""
    assert ask(served, "moon").verdict == UNKNOWN


def test_contributions_are_the_largest_on_request(served):
    """Five features an item, the largest first; none unless asked for, and the same items."""
    plain, told = (
        recommend(*served, "u1", k=3, task="all", now=NOW, explain=explain) for explain in (False, True)
    )
    assert [slot.item_id for slot in told.slots] == [slot.item_id for slot in plain.slots]
    assert all(not slot.contributions for slot in plain.slots)
    for slot in told.slots:
        effects = [abs(each.effect) for each in slot.contributions]
        assert len(effects) == 5
        assert effects == sorted(effects, reverse=True)


def test_contributions_add_up_to_the_score(served, monkeypatch):
    """All of an item's, and the one bias that all items share, are its score."""
    monkeypatch.setattr("bentos.ranking.CONTRIBUTIONS", 10_000)
    slots = recommend(*served, "u1", k=5, task="all", now=NOW, explain=True).slots
    rest = [slot.score - sum(each.effect for each in slot.contributions) for slot in slots]
    np.testing.assert_allclose(rest, rest[0], atol=1e-5)
    assert len({slot.score for slot in slots}) > 1


@pytest.mark.parametrize(("by", "array"), [("text", "text_steps"), ("behaviour", "factor_items")])
def test_similar_items_are_those_of_the_greatest_cosine(served, by, array):
    """By a loop over the catalogue, the item itself left out."""
    release, _ = served
    vectors = release.arrays[array].astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1)
    found = similar(release, "i03", by=by, k=4)
    cosines = {
        item: float(vectors[3] @ vectors[place] / (lengths[3] * lengths[place]))
        for place, item in enumerate(ITEMS)
        if place != 3 and lengths[place] > 0
    }
    best = sorted(cosines.values(), reverse=True)[: len(found)]
    np.testing.assert_allclose([cosine for _, cosine in found], best, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose([cosines[item] for item, _ in found], best, rtol=1e-5, atol=1e-6)


def test_likeness_is_one_of_two(served):
    """An unknown item and an unknown likeness are told apart."""
    with pytest.raises(KeyError, match="no item 'moon'"):
        similar(served[0], "moon", by="text", k=3)
    with pytest.raises(ValueError, match="by is 'smell'; use text or behaviour"):
        similar(served[0], "i03", by="smell", k=3)


EXCHANGES = {
    "promotion_boost": {"boost": 1, "share": 0.5, "departments": ["south"]},
    "diversity": {"departments": 2},
    "minimum_margin": {"least": 0.2, "departments": {"south": 0.1}, "item_ids": {"i01": 0.3}},
}


@pytest.mark.parametrize("rule", EXCHANGES)
def test_a_rule_is_named_where_it_moves_an_item_and_nowhere_else(served, rule):
    """By answers with and without it: who is shown thanks to it, and who would be but for it."""
    bare, reader = served
    release = replace(bare, rules=checked_rules({**bare.rules, rule: EXCHANGES[rule]}))
    moved = 0
    for user in ("u0", "u1", "u2", "u3", "u4"):
        for k in (2, 5):
            pages = [
                {slot.item_id: slot for slot in recommend(each, reader, user, k=k, task="all", now=NOW).slots}
                for each in (release, bare)
            ]
            for item in ITEMS:
                found = why_not(release, reader, user, item, k=k, task="all", now=NOW)
                came, went = item in pages[0].keys() - pages[1], item in pages[1].keys() - pages[0]
                assert (found.verdict == RECOMMENDED) == (item in pages[0])
                told = f"rule {rule}" in found.reason and REASONS[rule] in found.reason
                if rule == "minimum_margin":
                    assert told == (int(item[1:]) % 2 == 1 and item not in ("i01", SOLD_OUT))
                else:
                    assert told == (came or went), found
                    assert (item in pages[0] and pages[0][item].placed_by == rule) == came
                    moved += came
                if found.verdict == OUTRANKED:
                    assert found.score < found.least_score
    assert moved or rule == "minimum_margin"


def test_the_shops_own_reason_is_told(served):
    """A rule's reason in the file goes before ours."""
    release, reader = served
    first = shown(served)[0]
    rules = {"blocked": {"item_ids": [first], "reason": "it was called back"}}
    blocked = replace(release, rules=checked_rules(rules))
    assert ask((blocked, reader), first).reason == "The rule blocked turns it away: it was called back"


class Dying:
    """The shop's reader whose store goes between the user's row and the items'."""

    def __init__(self, reader, remembers):
        self.reader, self.remembers = reader, remembers
        self.read_user, self.late = reader.read_user, reader.late

    def read_items(self, items):
        """No answer."""
        del items
        raise FeaturesUnavailableError("online store does not answer")

    def last_items(self, items):
        """What was read before, if it is remembered."""
        return self.reader.read_items(items) if self.remembers else None


@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize("rankers", ["kept", "gone"])
def test_the_verdict_follows_the_ladder(served, remembers, rankers):
    """Whatever the answer does without, it is about that answer, and says what was lost."""
    release, reader = served
    lame = release if rankers == "kept" else replace(release, rankers={})
    dying = Dying(reader, remembers)
    answer = recommend(lame, dying, "u1", k=5, task="all", now=NOW)
    shown_now = [slot.item_id for slot in answer.slots]
    for item in ITEMS[::3]:
        found = why_not(lame, dying, "u1", item, k=5, task="all", now=NOW)
        assert (found.verdict == RECOMMENDED) == (item in shown_now)
        if found.verdict != NOT_DRAWN:
            assert all(reason in found.reason for reason in answer.degraded)
