"""Splits of traffic: whole percents that add up, and labels that remember them."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from jobs.google_cloud.vertex_traffic import DEPLOYING, remembered, remembering, same, told, with_share

pytestmark = pytest.mark.gcp


@some.composite
def splits(draw):
    """Shares of one to five models that add up to 100; some may have none."""
    cuts = sorted(draw(some.lists(some.integers(0, 100), max_size=4)))
    shares = [high - low for low, high in zip([0, *cuts], [*cuts, 100], strict=True)]
    return {str(model): share for model, share in enumerate(shares)}


@given(splits(), some.integers(1, 99))
@settings(max_examples=200)
def test_a_new_share_leaves_the_others_as_they_were_to_each_other(before, percent):
    """The sum is 100, the new model has its percents, and no other is off its own part by one or more."""
    found = with_share(before, "new", percent)
    assert sum(found.values()) == 100
    assert found["new"] == percent
    for model, share in before.items():
        assert abs(found.get(model, 0) - share * (100 - percent) / 100) < 1


def test_who_is_alone_gets_all():
    """Without others that have traffic there is nothing to share."""
    assert with_share({}, "new", 5) == with_share({"old": 0}, "new", 5) == {"new": 100}
    assert with_share({"new": 100}, "new", 5) == {"new": 100}
    assert with_share({"old": 100}, "new", 100) == {"new": 100}


@given(splits())
@settings(max_examples=100)
def test_labels_remember_a_split(before):
    """Exactly, in words that Google takes for labels, beside the labels of others."""
    labels = remembering({"team": "shop", "endcap-before-old": "100"}, before, "12")
    assert remembered(labels) == before
    assert labels["team"] == "shop"
    assert labels[DEPLOYING] == "12"
    assert all(re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", name) for name in labels)
    assert remembering(labels, {}) == {"team": "shop"}


def test_who_has_no_share_need_not_be_named():
    """Google may leave out a model without traffic; that is nobody's change."""
    assert same({"1": 100, "2": 0}, {"1": 100})
    assert same({}, {"2": 0})
    assert not same({"1": 100}, {"2": 100})


def test_splits_are_told_in_words():
    """The largest share first."""
    assert told({"1": 10, "2": 90, "3": 0}) == "90 % to 2, 10 % to 1"
    assert told({}) == "no traffic"
