"""Which items are looked at: all of a small catalogue, a bounded union of a large one."""

import logging
import sys
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from large_release import large_release, shopper_of
from tiny_release import NOW

from bentos import shortlist
from bentos.candidates import REPURCHASES, SOURCES, draw, opinions
from bentos.shopper import shopper
from bentos.shortlist import Bounded, Whole, bounded, view

TASKS, SIZE, SHOPPERS = ("all", "discover"), 100, 12
SOURCES_GIVE = {"NEAREST": 600, "NEWLY_BOUGHT": 200, "SHOPS_BEST": 300}
with_faiss = pytest.mark.skipif(find_spec("faiss") is None, reason="needs faiss: pip install 'endcap[large]'")


@pytest.fixture(scope="module")
def planted():
    """20,000 items, below the size from which a request looks at some only."""
    return large_release(20_000)


@pytest.fixture
def small(monkeypatch):
    """Sizes for which 20,000 items are many."""
    for name, size in SOURCES_GIVE.items():
        monkeypatch.setattr(f"bentos.shortlist.{name}", size)
    monkeypatch.setattr("bentos.nearest.LIST", 200)
    monkeypatch.setattr("bentos.nearest.PROBES", 10)


@pytest.fixture
def large(planted, small, monkeypatch):  # noqa: ARG001 - sizes are set
    """The same release, where it counts as large."""
    monkeypatch.setattr("bentos.shortlist.EXACT_BELOW", 20_000)
    return replace(planted)  # nothing made yet


def looked_at(release, who):
    """The items that one shopper's request looks at."""
    return opinions(release, who).seen[0]


def brute_force(release, who, task, size):
    """Own purchases by decayed count, then the pool's best of those that the cheap part likes best."""
    thought, past = opinions(release, who), who.past
    own = []
    if task == "all":
        order = sorted(range(len(past.items)), key=lambda place: (-past.decayed[place], place))
        own = [int(past.items[place]) for place in order[: round(REPURCHASES * size)]]
    new = np.setdiff1d(np.arange(len(thought.cheap)), past.items)
    by_cheap = sorted(new.tolist(), key=lambda item: (-thought.cheap[item], item))
    least = thought.cheap[by_cheap[max(500, 6 * (size - len(own))) - 1]]
    pool = thought.scores["pool"]
    kept = [item for item in by_cheap if thought.cheap[item] >= least]
    return sorted(own + sorted(kept, key=lambda item: (-pool[item], item))[: size - len(own)])


@pytest.mark.parametrize("task", TASKS)
def test_below_the_size_draws_are_those_of_the_whole_catalogue(planted, task):
    """As brute force over all items has them."""
    assert isinstance(view(planted), Whole)
    for seed in range(3):
        who = shopper_of(planted, seed)
        assert draw(planted, who, task, size=SIZE).items.tolist() == brute_force(planted, who, task, SIZE)
        assert looked_at(planted, who) is None


@with_faiss
def test_the_size_of_the_catalogue_chooses(large, monkeypatch):
    """From EXACT_BELOW items on the view is bounded."""
    assert isinstance(view(large), Bounded)
    monkeypatch.setattr("bentos.shortlist.EXACT_BELOW", 20_001)
    assert isinstance(view(replace(large)), Whole)


@with_faiss
@pytest.mark.parametrize(("task", "least"), [("all", 0.94), ("discover", 0.92)])
def test_a_bounded_draw_holds_nearly_all_of_the_exact_one(planted, large, task, least):
    """Of its new items; found were .958 and .938, and .75 and .71 without the index."""
    held = []
    for seed in range(SHOPPERS):
        who = shopper_of(planted, seed)
        exact, found = (draw(release, who, task, size=SIZE).items for release in (planted, large))
        held.append(np.isin(np.setdiff1d(exact, who.past.items), found).mean())
        assert len(found) == SIZE
    assert np.mean(held) >= least


@with_faiss
@pytest.mark.parametrize("task", TASKS)
def test_what_was_bought_is_drawn_by_all_and_never_by_discover(planted, large, task):
    """Exactly the repurchases of the exact draw."""
    for seed in range(SHOPPERS):
        who = shopper_of(planted, seed)
        found = draw(large, who, task, size=SIZE)
        own = np.intersect1d(found.items, who.past.items)
        assert len(own) == (len(who.past.items) if task == "all" else 0)
        assert (~np.isnan(found.scores[:, SOURCES.index("buy_again")])).sum() == len(own)


@with_faiss
def test_scores_of_what_is_drawn_are_those_of_the_whole_catalogue(large):
    """The cheap part bit for bit; what takes an inner product up to the order of its sum."""
    who = shopper_of(large, 3)
    thought, found = opinions(large, who), draw(large, who, "all", size=SIZE)
    items, cheap = thought.seen
    np.testing.assert_array_equal(cheap, thought.cheap[items])
    for column, name in enumerate(SOURCES):
        expected = thought.scores[name][found.items]
        expected[expected == -np.inf] = np.nan
        np.testing.assert_allclose(found.scores[:, column], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.lifts[:, -1], thought.lifts["variants"][found.items])


@with_faiss
def test_the_same_is_drawn_each_time(large):
    """By the same view and by one that is made anew."""
    for seed in range(3):
        who = shopper_of(large, seed)
        first, *others = (
            draw(release, who, "discover", size=SIZE) for release in (large, large, replace(large))
        )
        for other in others:
            np.testing.assert_array_equal(other.items, first.items)
            np.testing.assert_array_equal(other.scores, first.scores)


@with_faiss
def test_ties_are_cut_by_position(large):
    """Where items of a type are alike, a stranger's draw is the lowest positions of the best type."""
    n_items, types = 20_000, np.arange(20_000, dtype=np.int32) % 4
    flat = {
        name: np.zeros_like(large.arrays[name]) for name in ("factor_items", "item_bodies", "item_log_sales")
    }
    appeal = np.zeros_like(large.arrays["appeal_inputs"])
    appeal[:, types == 2] = 1.0
    alike = replace(large, arrays={**large.arrays, **flat, "appeal_inputs": appeal})
    items = draw(alike, shopper(None, alike, NOW), "all", size=SIZE).items
    assert items.tolist() == np.arange(n_items)[types == 2][:SIZE].tolist()


@with_faiss
def test_as_many_items_are_looked_at_in_a_catalogue_three_times_as_large(large, monkeypatch):
    """Each source gives so many, and the shopper what they bought; each item once, in order."""
    larger = large_release(60_000)
    for release in (large, larger):
        for seed in range(4):
            who = shopper_of(release, seed)
            found = looked_at(release, who)
            assert np.all(found[1:] > found[:-1])
            assert np.isin(who.past.items, found).all()
            assert len(found) <= sum(SOURCES_GIVE.values()) + len(who.past.items)
    before = len(looked_at(large, shopper_of(large, 0)))
    monkeypatch.setattr("bentos.shortlist.SHOPS_BEST", 0)
    assert len(looked_at(replace(large), shopper_of(large, 0))) < before


@with_faiss
@pytest.mark.parametrize("task", TASKS)
def test_a_stranger_gets_a_full_draw(planted, large, task):
    """The shop's best, as of the whole catalogue: nothing else is known of them."""
    exact, found = (
        draw(release, shopper(None, release, NOW), task, size=SIZE) for release in (planted, large)
    )
    assert found.items.tolist() == exact.items.tolist()
    assert len(found.items) == SIZE


@pytest.mark.usefixtures("small")
def test_without_faiss_everything_is_looked_at_and_the_log_says_so(planted, monkeypatch, caplog):
    """Answers stay exact, and the operator reads what to install."""
    monkeypatch.setattr(shortlist, "EXACT_BELOW", 1)
    monkeypatch.setitem(sys.modules, "faiss", None)
    without, who = replace(planted), shopper_of(planted, 5)
    with caplog.at_level(logging.WARNING, "bentoml.endcap"):
        found = draw(without, who, "discover", size=SIZE).items
        draw(without, who, "all", size=SIZE)
    assert found.tolist() == draw(planted, who, "discover", size=SIZE).items.tolist()
    (said,) = (record.getMessage() for record in caplog.records)
    assert "all 20,000 items" in said
    assert "pip install 'endcap[large]'" in said
    with pytest.raises(ImportError):
        bounded(without)
