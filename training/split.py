"""Who may know what: the temporal split of one cut.

A cut w knows everything up to the end of week w and is tested on weeks w+1 and w+2. The ranker learns
on windows of two weeks that end at the cut. The retrieval model learns in the order of time and stands
still at the start of each window, so that its scores are as new to the ranker as they are to the test.
"""

from dataclasses import dataclass
from datetime import datetime

from bentos.neighbours import PANEL_WEEKS
from feature_repo.shop_calendar import ShopCalendar

WINDOW_WEEKS = 2  # labels of one example: what is bought within two weeks (DESIGN, evaluation protocol)
CATALOGUE_WEEKS = 26  # an item is in the catalogue while it was sold within half a year


@dataclass(frozen=True)
class Window:
    """Labels bought in weeks `first` to `last`: after `instant`, up to `end`; features as of `instant`."""

    first: int
    last: int
    instant: datetime
    end: datetime


@dataclass(frozen=True)
class Split:
    """One cut's windows."""

    cut: int
    test: Window
    ranker: tuple[Window, ...]
    retrieval_weeks: tuple[int, ...]  # what retrieval learns from, up to the cut

    @property
    def instants(self) -> tuple[datetime, ...]:
        """Instants at which a release is assembled: each ranker window's, then the cut."""
        return (*(window.instant for window in self.ranker), self.test.instant)

    @property
    def stages(self) -> tuple[int, ...]:
        """How many of the retrieval weeks are over at each of the instants."""
        return tuple(window.first - self.retrieval_weeks[0] for window in (*self.ranker, self.test))


def window(calendar: ShopCalendar, first: int) -> Window:
    """The window of WINDOW_WEEKS weeks that begins with week `first`."""
    last = first + WINDOW_WEEKS - 1
    return Window(first=first, last=last, instant=calendar.start(first), end=calendar.end(last))


def temporal_split(
    calendar: ShopCalendar, cut: int, *, ranker_windows: int = 4, retrieval_weeks: int = 16
) -> Split:
    """Split at the end of week `cut`.

    Raises ValueError when the weeks before the cut cannot hold the windows.
    """
    first_ranker = cut + 1 - ranker_windows * WINDOW_WEEKS
    first_retrieval = max(2, first_ranker - retrieval_weeks)
    # The first window's panel is of PANEL_WEEKS before it, and somebody must have bought something by then.
    if first_ranker - PANEL_WEEKS < first_retrieval:
        needed = ranker_windows * WINDOW_WEEKS + PANEL_WEEKS + 1
        raise ValueError(f"cut {cut} leaves no weeks to learn from; use a cut of at least {needed}")
    return Split(
        cut=cut,
        test=window(calendar, cut + 1),
        ranker=tuple(window(calendar, first) for first in range(first_ranker, cut, WINDOW_WEEKS)),
        retrieval_weeks=tuple(range(first_retrieval, cut + 1)),
    )
