"""The temporal split."""

from datetime import date, timedelta

import pytest

from feature_repo.shop_calendar import ShopCalendar
from training.split import temporal_split

CALENDAR = ShopCalendar("America/New_York", date(2016, 12, 26))


def test_windows_follow_each_other_without_overlap():
    """Retrieval weeks, ranker windows and the test window tile the time up to the test's end."""
    split = temporal_split(CALENDAR, 49)
    assert split.retrieval_weeks == tuple(range(26, 50))
    assert split.stages == (16, 18, 20, 22, 24)
    assert [(window.first, window.last) for window in split.ranker] == [
        (week, week + 1) for week in (42, 44, 46, 48)
    ]
    assert (split.test.first, split.test.last) == (50, 51)
    ends = [window.end for window in split.ranker]
    assert ends == [*(window.instant for window in split.ranker[1:]), split.test.instant]


def test_the_cut_is_midnight_in_the_shops_own_time_zone():
    """Week 49 ends on Monday 4 December 2017 at 05:00 UTC, midnight in New York."""
    assert temporal_split(CALENDAR, 49).test.instant.isoformat() == "2017-12-04T05:00:00+00:00"


def test_no_label_is_older_than_its_features():
    """Each window's features are as of the instant at which its labels begin."""
    for cut in (13, 30, 51):
        split = temporal_split(CALENDAR, cut)
        for window in (*split.ranker, split.test):
            assert window.instant == CALENDAR.start(window.first)
            assert timedelta(days=13, hours=22) < window.end - window.instant < timedelta(days=14, hours=2)


def test_a_cut_without_history_is_refused():
    """The error says from which cut on there is enough."""
    with pytest.raises(ValueError, match="cut 12 leaves no weeks to learn from; use a cut of at least 13"):
        temporal_split(CALENDAR, 12)
    assert temporal_split(CALENDAR, 13).retrieval_weeks[0] < temporal_split(CALENDAR, 13).ranker[0].first
