"""Between what a day's figure is expected to lie, by the same weekdays before it.

In: a figure by day. Out: what is expected of a day, and how many robust standard deviations away it is.

The level is the median of the same weekday in the trailing weeks; the spread is the median absolute deviation
(MAD) of all trailing days from their own weekday's median, which eight values of one weekday alone would give
too roughly. A median is not moved by a day that was itself broken. MAD / 0.6745 is the standard deviation of
normal values: Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993), who call values beyond 3.5 of
these outliers. Medians by season as in the decomposition of Hochenbaum, Vallis and Kejariwal (2017).

    bound = bound_of({day: log(rows), ...}, date(2017, 12, 4))
    bound.score(log(rows_of_the_day))
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from math import pi, sqrt

import numpy as np

WEEKS = 8  # that trail a day
LEAST_SAME = 4  # of the same weekday; fewer, and all days are one season
LEAST_DAYS = 14  # fewer tell nothing
NORMAL = 0.6745  # MAD of a standard normal


@dataclass(frozen=True)
class Bound:
    """What is expected of a figure: its middle, its robust standard deviation, and of how many days."""

    middle: float
    spread: float
    days: int

    def score(self, value: float) -> float:
        """Robust z: how many spreads a value lies above (below: negative) what is expected."""
        return (value - self.middle) / self.spread

    def ends(self, width: float) -> tuple[float, float]:
        """From where to where a value lies within `width` spreads."""
        return self.middle - width * self.spread, self.middle + width * self.spread


def trailing(history: Mapping[date, float], day: date) -> dict[date, float]:
    """What is known of the WEEKS weeks before a day; without days that have no value."""
    since = day - timedelta(weeks=WEEKS)
    return {each: value for each, value in history.items() if since <= each < day and value == value}


def bound_of(history: Mapping[date, float], day: date, *, floor: float = 0.0) -> Bound | None:
    """What a day's figure should be by the days before it; None where they are too few.

    `floor` is the least spread, in the figure's own unit: differences below it are of no interest. A middle
    that is the median of n values is itself unsure by sqrt(pi / 2n) spreads, which is added to the spread.
    """
    before = trailing(history, day)
    if len(before) < LEAST_DAYS:
        return None
    same = [value for each, value in before.items() if each.weekday() == day.weekday()]
    if len(same) < LEAST_SAME:
        values = np.array(list(before.values()))
        return _bound(float(np.median(values)), values - np.median(values), len(values), floor)
    middles = {n: _median([v for each, v in before.items() if each.weekday() == n]) for n in range(7)}
    residuals = np.array([value - middles[each.weekday()] for each, value in before.items()])
    return _bound(middles[day.weekday()], residuals, len(same), floor)


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else float("nan")


def _bound(middle: float, residuals: np.ndarray, n: int, floor: float) -> Bound:
    deviation = float(np.median(np.abs(residuals))) / NORMAL
    return Bound(middle, max(deviation * sqrt(1 + pi / (2 * n)), floor, 1e-12), len(residuals))
