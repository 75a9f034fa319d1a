"""The path of a request, on a release with known answers."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_release import NOW, InMemory, user_row

from bentos.recommend import recommend
from bentos.rule_parameters import checked_rules

READER = InMemory({"ann": user_row()})


def ids(answer):
    """Recommended item ids, best first."""
    return [slot.item_id for slot in answer.slots]


def test_all_ranks_what_the_shopper_buys_most(release):
    """With the purchase count as the ranker, the shopper's own items lead by count."""
    answer = recommend(release, READER, "ann", k=4, task="all", now=NOW)
    assert ids(answer)[:3] == ["i03", "i13", "i07"]
    assert answer.slots[0].reason == "You bought it 5 times, last 2 days ago"
    assert "buy_again" in answer.slots[0].sources
    assert answer.degraded == ()
    assert answer.feature_time == NOW


def test_discover_never_shows_what_was_bought(release):
    """Bought items are left out; the rest comes by popularity, the ranker's column."""
    answer = recommend(release, READER, "ann", k=20, task="discover", now=NOW)
    expected = [f"i{position:02d}" for position in range(20) if position not in (3, 7, 13)]
    assert ids(answer) == expected


def test_an_unknown_user_gets_top_sellers_and_is_told_so(release):
    """The fallback is a valid answer, marked."""
    answer = recommend(release, READER, "nobody", k=3, task="all", now=NOW)
    assert ids(answer) == ["i00", "i01", "i02"]
    assert answer.degraded == ("unknown user: top sellers",)


def test_items_that_left_the_store_are_not_recommended(release):
    """An item without online features is not available."""
    reader = InMemory({"ann": user_row()}, missing=["i03"])
    answer = recommend(release, reader, "ann", k=5, task="all", now=NOW)
    assert "i03" not in ids(answer)
    assert answer.turned_away["available"] == 1


def test_blocked_items_are_blocked_in_the_fallback_too(release):
    """The fallback obeys the same rules."""
    blocked = replace(release, rules=checked_rules({"blocked": {"item_ids": ["i00"]}}))
    answer = recommend(blocked, READER, "nobody", k=2, task="all", now=NOW)
    assert ids(answer) == ["i01", "i02"]


def test_a_history_of_vanished_items_is_still_an_answer(release):
    """Items that the catalogue does not hold are ignored."""
    reader = InMemory({"bob": user_row(items=("gone", "zz"), counts=(3, 1), days_ago=(1, 1))})
    answer = recommend(release, reader, "bob", k=3, task="all", now=NOW)
    assert len(answer.slots) == 3


@pytest.mark.parametrize(("k", "task", "message"), [(0, "all", "k is 0"), (3, "guess", "task is 'guess'")])
def test_a_bad_request_is_named(release, k, task, message):
    """The path checks what its callers should have checked."""
    with pytest.raises(ValueError, match=message):
        recommend(release, READER, "ann", k=k, task=task, now=NOW)


def test_the_same_request_has_the_same_answer(release):
    """No state is kept between requests."""
    first = recommend(release, READER, "ann", k=10, task="all", now=NOW)
    second = recommend(release, READER, "ann", k=10, task="all", now=NOW)
    assert first.slots == second.slots


def test_ranks_count_from_one_and_scores_fall(release):
    """Slots come best first."""
    answer = recommend(release, READER, "ann", k=10, task="discover", now=NOW)
    assert [slot.rank for slot in answer.slots] == list(range(1, 11))
    assert np.all(np.diff([slot.score for slot in answer.slots]) <= 0)
