"""The shop's weeks."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from feature_repo.shop_calendar import ShopCalendar

CALENDAR = ShopCalendar("America/New_York", date(2016, 12, 26))


def test_every_hour_of_a_year_is_in_the_week_of_its_local_date():
    """Weeks are Mondays to Sundays of local dates, daylight saving included."""
    hour = datetime(2017, 1, 1, tzinfo=UTC)
    while hour < datetime(2018, 1, 1, tzinfo=UTC):
        week = CALENDAR.week_at(hour)
        local = hour.astimezone(ZoneInfo("America/New_York")).date()
        assert local.isocalendar().week % 52 == (week - 1) % 52
        assert CALENDAR.start(week) <= hour < CALENDAR.end(week)
        hour += timedelta(hours=7)


def test_summer_weeks_begin_an_hour_earlier_in_utc():
    """05:00 UTC in winter, 04:00 in summer."""
    assert CALENDAR.start(2).hour == 5
    assert CALENDAR.start(30).hour == 4


def test_every_hour_of_a_year_is_in_its_local_day():
    """A day has 23 hours in March and 25 in November; the hours of all days are those of the year."""
    hours = {}
    hour = datetime(2017, 1, 1, 5, tzinfo=UTC)
    while hour < datetime(2018, 1, 1, 5, tzinfo=UTC):
        day = CALENDAR.day_at(hour)
        assert CALENDAR.day_start(day) <= hour < CALENDAR.day_end(day)
        hours[day] = hours.get(day, 0) + 1
        hour += timedelta(hours=1)
    assert {day: n for day, n in hours.items() if n != 24} == {date(2017, 3, 12): 23, date(2017, 11, 5): 25}


def test_weeks_may_be_counted_back_from_any_day():
    """The last of 27 weeks ends as the day does, and each week has the seven days before the next one."""
    day = date(2017, 11, 8)
    calendar = CALENDAR.ending_with(day, 27)
    assert calendar.end(27) == CALENDAR.day_end(day)
    assert calendar.start(27) == CALENDAR.day_start(date(2017, 11, 2))
    assert calendar.start(1) == CALENDAR.day_start(day - timedelta(days=27 * 7 - 1))


def test_a_week_is_whole_as_its_last_day_is_over():
    """Not a microsecond sooner."""
    end = CALENDAR.end(48)
    assert CALENDAR.whole_weeks(end) == 48
    assert CALENDAR.whole_weeks(end - timedelta(microseconds=1)) == 47


def test_a_saved_calendar_loads_as_it_was(tmp_path):
    """Saving and loading changes nothing."""
    CALENDAR.save(tmp_path / "calendar.json")
    assert ShopCalendar.load(tmp_path / "calendar.json") == CALENDAR


def test_a_missing_calendar_names_the_command(tmp_path):
    """The error says what to run."""
    with pytest.raises(FileNotFoundError, match="run `endcap ingest`"):
        ShopCalendar.load(tmp_path / "calendar.json")


def test_an_instant_without_a_time_zone_is_refused():
    """A naive time would silently be taken for local time."""
    with pytest.raises(ValueError, match="no time zone"):
        CALENDAR.week_at(datetime(2017, 1, 1))
