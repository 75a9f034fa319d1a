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
