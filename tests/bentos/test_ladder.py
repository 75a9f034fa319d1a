"""The ladder: whatever fails, the answer is valid, as good as what is left allows, and says what was lost."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from tiny_release import NOW, InMemory, user_row

from bentos import ladder
from bentos.candidates import SOURCES, draw
from bentos.ladder import BUDGET_MS, FeaturesUnavailableError
from bentos.recommend import recommend
from bentos.session import Session
from bentos.shopper import shopper

DEAD = "online store does not answer"


class Failing(InMemory):
    """A reader of which some reads fail; `remembered` tells whether items were read before."""

    def __init__(self, *fails, remembered=False):
        super().__init__({"ann": user_row()})
        self.fails, self.remembered = fails, remembered

    def read_user(self, user_id):
        """The user, or no answer."""
        if "user" in self.fails:
            raise FeaturesUnavailableError(DEAD)
        return super().read_user(user_id)

    def read_items(self, items):
        """The items, or no answer."""
        if "items" in self.fails:
            raise FeaturesUnavailableError(DEAD)
        return super().read_items(items)

    def last_items(self, items):
        """What was read before, if anything was."""
        return super().read_items(items) if self.remembered else None


def ask(release, reader, user="ann", **more):
    """(item ids, what was degraded, stages) of an answer of five."""
    answer = recommend(release, reader, user, **{"k": 5, "task": "all", "now": NOW, **more})
    ids = [slot.item_id for slot in answer.slots]
    assert len(set(ids)) == len(ids) == 5
    return ids, answer.degraded


def by_pool(release, task="all"):
    """The candidates in the pool's order, by a plain sort."""
    found = draw(release, shopper(user_row(), release, NOW), task)
    scores = found.scores[:, SOURCES.index("pool")].tolist()
    best = sorted(zip(scores, found.items.tolist(), strict=True), key=lambda each: (-each[0], each[1]))
    return [f"i{item:02d}" for _, item in best]


def test_items_that_were_read_before_stand_in_for_a_dead_store(release):
    """The ranker goes on with them, and the answer is the same but for what it says."""
    whole, nothing = ask(release, Failing())
    assert nothing == ()
    assert ask(release, Failing("items", remembered=True)) == (
        whole,
        (f"{DEAD}: item features as of the last read",),
    )


@pytest.mark.parametrize("task", ["all", "discover"])
def test_without_item_features_the_pool_ranks(release, task):
    """Still personal: the best of the pool, in its order, where the ranker would have had another one."""
    ids, degraded = ask(release, Failing("items"), task=task)
    assert ids == by_pool(release, task)[:5]
    assert degraded == (f"{DEAD}: no item features", "no item features: ordered by the pool")


def test_without_a_ranker_the_pool_ranks(release):
    """A release that lacks the ranker of a task answers it all the same."""
    ids, degraded = ask(replace(release, rankers={}), Failing())
    assert ids == by_pool(release)[:5]
    assert degraded == ("the release has no ranker for all: ordered by the pool",)


def test_an_explanation_is_left_out_with_the_ranker(release):
    """Nothing explains a score that is not the ranker's."""
    answer = recommend(release, Failing("items"), "ann", k=5, task="all", now=NOW, explain=True)
    assert [slot.contributions for slot in answer.slots] == [()] * 5


def test_a_dead_store_and_no_visit_is_top_sellers(release):
    """Nothing is known of the shopper: what sells, and why."""
    assert ask(release, Failing("user")) == (
        ["i00", "i01", "i02", "i03", "i04"],
        (f"{DEAD}: top sellers",),
    )


def test_a_dead_store_leaves_the_visit(release):
    """Who clicked on something is served by that, as a stranger would be who clicked on it."""
    session = Session(clicked=("i07",))
    stranger, nothing = ask(release, Failing(), user="nobody", session=session)
    assert nothing == ()
    reader = Failing("user", "items", remembered=True)
    ids, degraded = ask(release, reader, session=session)
    assert ids == stranger
    assert degraded == (f"{DEAD}: by this visit alone", f"{DEAD}: item features as of the last read")


def late_at(stage, monkeypatch):
    """Let the clock jump by 90 ms before a stage: 0 is the first time that anybody looks, and so on."""
    looked = itertools.count()
    monkeypatch.setattr(ladder, "perf_counter", lambda: 0.09 if next(looked) > stage else 0.0)


def test_who_is_late_leaves_out_what_may_take_too_long(release, monkeypatch):
    """Late before items: they are not read; late before the ranker: it is not asked."""
    said = set()
    for stage in range(1, 8):
        with monkeypatch.context() as patched:
            late_at(stage, patched)
            ids, degraded = ask(release, Failing(remembered=True), budget_ms=BUDGET_MS)
        said.add(degraded)
        if any("ordered by the pool" in each for each in degraded):
            assert ids == by_pool(release)[:5]
    items, ranker = "out of time: item features as of the last read", "out of time: ordered by the pool"
    assert said == {(items, ranker), (ranker,), ()}


def test_what_is_late_is_said_of_every_answer(release):
    """Old features serve, and the answer does not hide it."""
    reader = Failing()
    reader.late = lambda: NOW
    whole, _ = ask(release, Failing())
    assert ask(release, reader) == (
        whole,
        ("features are out of date (run `endcap materialize`): as of the newest",),
    )


def test_no_rung_has_numbers_in_its_words(release):
    """Metrics count answers by what they lost: few different reasons, however many answers."""
    readers = [Failing("user"), Failing("items"), Failing("items", remembered=True)]
    for reader in readers:
        for reason in ask(release, reader)[1]:
            assert not any(letter.isdigit() for letter in reason)


def test_features_that_are_not_numbers_do_not_stop_an_answer(release):
    """Rows of nothing but NaN are items that are not sold: top sellers, as before."""

    class Blank(InMemory):
        def read_items(self, items):
            """Nothing of anything."""
            return np.full((len(items), 2), np.nan, np.float32)

    _, degraded = ask(release, Blank({"ann": user_row()}))
    assert degraded == ("no item passed the rules: top sellers",)


def test_a_visit_of_unknown_items_is_no_visit(release):
    """Nothing can be learnt of it: top sellers, as for any unknown user, and said so."""
    _, degraded = ask(release, Failing(), user="nobody", session=Session(clicked=("no such item",)))
    assert degraded == ("unknown user: top sellers",)


def test_nobody_is_told_of_old_features_that_were_not_used(release):
    """An unknown user has none."""
    reader = Failing()
    reader.late = lambda: NOW
    assert ask(release, reader, user="nobody")[1] == ("unknown user: top sellers",)


def test_top_sellers_are_those_that_the_rules_allow(release):
    """However many of the best are kept out, the page is full: of what may be shown, the best."""
    margins = {f"i{item:02d}": 0.0 for item in range(12)}
    under = release.under({**release.rules, "minimum_margin": {"least": 0.1, "item_ids": margins}}, "ours")
    answer = recommend(under, Failing(), "nobody", k=2, task="all", now=NOW)
    assert [slot.item_id for slot in answer.slots] == ["i12", "i13"]
