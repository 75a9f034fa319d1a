"""A session moves what the sources hear of a shopper, and nothing that they are said to have bought."""

from dataclasses import replace

import numpy as np
from tiny_release import NOW, user_row

from bentos.candidates import draw, opinions
from bentos.recommend import recommend
from bentos.rule_file import load_rules
from bentos.session import CLICKED, IN_BASKET, Session, interested, session_of
from bentos.shopper import shopper


def test_a_session_is_made_of_events_and_of_the_request():
    """What was bought after it was put into the basket is there no more; each item counts once."""
    events = [
        ("click", "c"),
        ("purchase", "a"),
        ("add_to_cart", "b"),
        ("add_to_cart", "a"),
        ("click", "c"),
        ("impression", "z"),
    ]
    assert session_of(events, ["d", "b"], ["e"]) == Session(("d", "b"), ("e", "c"))
    assert session_of([("add_to_cart", "a"), ("purchase", "a")]) == Session(("a",))
    assert not session_of([])


def test_interest_is_the_past_and_the_session(release):
    """Items of the basket weigh as a purchase now, clicks half; the past itself stays as it was."""
    who = shopper(user_row(), release, NOW)
    moved = interested(who, release, Session(("i03", "i08"), ("i08", "i02", "unheard of")))
    past = dict(zip(who.past.items.tolist(), who.past.decayed.tolist(), strict=True))
    expected = past | {3: past[3] + IN_BASKET, 8: IN_BASKET + CLICKED, 2: CLICKED}
    found = dict(zip(moved.interest.items.tolist(), moved.interest.decayed.tolist(), strict=True))
    np.testing.assert_allclose(
        [found[item] for item in sorted(expected)], [expected[item] for item in sorted(expected)]
    )
    assert found.keys() == expected.keys()
    assert moved.past is who.past
    counts = dict(zip(moved.interest.items.tolist(), moved.interest.counts.tolist(), strict=True))
    assert (counts[8], counts[3]) == (0, 5)


def test_an_unknown_item_changes_nothing(release):
    """Without an item of the catalogue the shopper stays the same object."""
    who = shopper(user_row(), release, NOW)
    assert interested(who, release, Session(("nope",))) is who


def test_sources_hear_the_session(release):
    """The clicked item's groups rise in the lifts; buy again and what counts as bought stay."""
    who = shopper(user_row(), release, NOW)
    moved = interested(who, release, Session((), ("i04", "i04")))
    before, after = opinions(release, who), opinions(release, moved)
    assert after.lifts["lines"][14] > before.lifts["lines"][14]
    np.testing.assert_array_equal(before.scores["buy_again"], after.scores["buy_again"])
    assert 4 in draw(release, moved, "discover").items


class Rows:
    """A store that knows one shopper."""

    def read_user(self, user_id):
        """Their row, or none."""
        return user_row() if user_id == "known" else None

    def read_items(self, ids):
        """The same numbers for everything."""
        return np.ones((len(ids), 2), np.float32)

    def late(self):
        """Never."""


def test_the_basket_is_not_recommended(release):
    """Neither by the ranker nor among the top sellers that stand in for it."""
    release = replace(release, rules=load_rules())
    for user, degraded in (("known", ()), ("nobody", ())):
        answer = recommend(
            release, Rows(), user, k=10, task="all", now=NOW, session=Session(("i00", "i03"), ("i01",))
        )
        assert answer.degraded == degraded
        assert not {"i00", "i03"} & {slot.item_id for slot in answer.slots}
        assert len(answer.slots) == 10


def test_an_unknown_shopper_who_does_something_is_somebody(release):
    """A click is enough to go by; without any they get top sellers, and the answer says so."""
    nothing = recommend(release, Rows(), "nobody", k=5, task="all", now=NOW)
    clicked = recommend(release, Rows(), "nobody", k=5, task="all", now=NOW, session=Session((), ("i04",)))
    assert nothing.degraded == ("unknown user: top sellers",)
    assert clicked.degraded == ()
