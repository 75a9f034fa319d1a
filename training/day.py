"""Who may know what on one logical date: what is learnt, what it is judged on, what is a fact.

All of the day is a fact. The days before its end are the window that a challenger is judged on: nothing that
was learnt may know of them. Rankers are learnt from whole shop weeks, the last of which ended before it.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from feature_repo.shop_calendar import ShopCalendar
from training.split import Window

WINDOW_DAYS = 7  # the newest complete window: every day of the week once
ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class DaySplit:
    """One logical date: facts until `known`, learning until the window's instant, rankers until a cut."""

    day: date
    known: datetime
    window: Window
    cut: int


def day_split(calendar: ShopCalendar, day: date, *, window_days: int = WINDOW_DAYS) -> DaySplit:
    """The split of a day; ValueError where no shop week is over before its window."""
    first = day - timedelta(days=window_days - 1)
    window = days_window(calendar, first, day)
    cut = calendar.whole_weeks(window.instant)
    if cut < 1:
        raise ValueError(f"No week is over {window_days} days before {day}; choose a later day")
    return DaySplit(day=day, known=calendar.day_end(day), window=window, cut=cut)


def days_window(calendar: ShopCalendar, first: date, last: date) -> Window:
    """The window of some local days; its weeks are those that hold them."""
    begin, end = calendar.day_start(first), calendar.day_end(last)
    return Window(
        first=calendar.week_at(begin),
        last=calendar.week_at(calendar.day_start(last)),
        instant=begin,
        end=end,
    )


def days_until(calendar: ShopCalendar, begin: datetime, end: datetime) -> list[Window]:
    """One window for each local day between two local midnights; ValueError for other instants."""
    first, stop = calendar.day_at(begin), calendar.day_at(end)
    if calendar.day_start(first) != begin or calendar.day_start(stop) != end:
        raise ValueError(f"{begin} or {end} is no local midnight; give the ends of days")
    days = (first + timedelta(days=n) for n in range((stop - first).days))
    return [days_window(calendar, day, day) for day in days]
