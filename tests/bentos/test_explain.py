"""Reasons: each is true of the numbers that ranked the item."""

import numpy as np
import pytest
from tiny_release import NOW, user_row

from bentos.candidates import SOURCES, Candidates, draw
from bentos.explain import OFTEN, bought_before, places_of, readable, reasons
from bentos.shopper import shopper
from feature_repo.pair_features import GROUPS


def candidate(item, *sources):
    """One candidate, brought by some sources."""
    scores = np.array([[0.0 if name in sources else np.nan for name in SOURCES]], np.float32)
    return Candidates(np.array([item], np.int32), scores, np.zeros((1, len(GROUPS)), np.float32))


def reason(release, who, candidates, row):
    """Why one candidate is recommended."""
    items = candidates.items[[row]]
    (said,) = reasons(release, who, items, places_of(who.past, items), candidates.sources_of([row]))
    return said


@pytest.mark.parametrize(
    ("times", "days", "text"),
    [
        (1, 0.0, "You bought it once, last today"),
        (1, 0.99, "You bought it once, last today"),
        (2, 1.0, "You bought it 2 times, last yesterday"),
        (12, 1.99, "You bought it 12 times, last yesterday"),
        (3, 2.0, "You bought it 3 times, last 2 days ago"),
        (3, 99.9, "You bought it 3 times, last 99 days ago"),
    ],
)
def test_bought_before_says_how_often_and_when(times, days, text):
    """Times and whole days since are told as one would."""
    assert bought_before(times, days) == text


@pytest.mark.parametrize(("name", "said"), [("SOFT DRINKS", "soft drinks"), ("Käse", "Käse"), ("7UP", "7up")])
def test_names_in_capitals_are_lowered(name, said):
    """Only names that are all capitals change."""
    assert readable(name) == said


def test_own_purchase_comes_before_any_other_reason(release):
    """What was bought before is said to be, whatever source brought it."""
    who = shopper(user_row(), release, NOW)
    said = [reason(release, who, candidate(item, *SOURCES), 0) for item in (3, 7, 13)]
    assert said == [
        "You bought it 5 times, last 2 days ago",
        "You bought it once, last 100 days ago",
        "You bought it 2 times, last 10 days ago",
    ]


@pytest.mark.parametrize(
    ("item", "sources", "text"),
    [
        (8, ["two_tower"], "New to you, from category 3, which you buy often"),  # where all but 1 in 100 is
        (12, ["two_tower"], "Bought by shoppers with a taste like yours"),
        (12, ["co_purchase"], "Bought by shoppers with a taste like yours"),
        (12, ["neighbours", "top_sellers"], "Bought by shoppers with a taste like yours"),
        (12, ["affinity", "top_sellers"], "New to you, from category 2, which you buy"),  # 1 in 100, i07
        (12, ["affinity", "two_tower"], "Bought by shoppers with a taste like yours"),
        (12, ["top_sellers"], "A top seller of the last four weeks"),
        (11, ["affinity", "top_sellers"], "A top seller of the last four weeks"),  # nothing of category 1
        (12, ["pool"], "Goes with what you buy"),
    ],
)
def test_new_item_is_explained_by_category_or_source(release, item, sources, text):
    """An often bought category comes first, then the taste, then the category's popularity, then sales."""
    who = shopper(user_row(("i03", "i07"), counts=(99, 1), days_ago=(0, 0)), release, NOW)
    assert reason(release, who, candidate(item, *sources), 0) == text


@pytest.mark.parametrize("source", [*SOURCES])
def test_nobody_is_told_of_a_taste(release, source):
    """A shopper without purchases has no taste and no category; all that is said is that the item sells."""
    who = shopper(None, release, NOW)
    said = reason(release, who, candidate(4, source), 0)
    top = source == "top_sellers"
    assert said == ("A top seller of the last four weeks" if top else "Sells well now")


def test_every_reason_is_true(release):
    """For each candidate, the claims in its sentence hold in counts made by a loop."""
    who = shopper(user_row(), release, NOW)
    candidates = draw(release, who, "all")
    past = dict(zip(who.past.items.tolist(), who.past.decayed.tolist(), strict=True))
    for row, item in enumerate(candidates.items.tolist()):
        said = reason(release, who, candidates, row)
        same = sum(weight for bought, weight in past.items() if bought % 5 == item % 5) / sum(past.values())
        assert said.startswith("You bought it") == (item in past)
        assert ("which you buy often" in said) == (item not in past and same >= OFTEN)
