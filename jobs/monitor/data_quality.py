"""Whether the rows of a local day are like those of the weeks before it.

In: figures by day (`day_figures`). Out: an alert for each rule, ok ones too.

    for alert in data_alerts(figures, date(2017, 12, 4), MonitorRules()): print(alert.line)
"""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from math import exp, log, nan

import numpy as np
from scipy.stats import chi2, poisson

from jobs.monitor.alerts import FAIL, OK, WARN, Alert, level_of
from jobs.monitor.bounds import Bound, bound_of, trailing
from jobs.monitor.day_figures import NULL, DayFigures
from jobs.monitor.rules import MonitorRules
from training.drift import psi_of_counts

SECTION = "data"
VOLUMES = ("rows", "baskets", "users", "items", "revenue", "basket_lines")
PRICE = "line_price"
SHARES = ("return_share", "unknown_item_share", "new_item_share", "largest_user_share")
REPEATED = "repeated_key_share"
FLOORS = {**dict.fromkeys(VOLUMES, 0.05), PRICE: 0.05, **dict.fromkeys(SHARES, 0.005), REPEATED: 0.0005}
BY_CHANCE = 1e-3  # of all stores together, or of the hours: once in three years of days
LONGEST = 4  # days for which a store's silence is told: who is silent for longer is known to be
Figures = Mapping[date, DayFigures]


def data_alerts(figures: Figures, day: date, rules: MonitorRules) -> list[Alert]:
    """Every rule's outcome on a day."""
    quiet = f"{day:%m-%d}" in rules.quiet_days
    today = figures.get(day)
    if today is None:
        level = WARN if quiet else FAIL
        said = "no rows, as on a quiet day" if quiet else "no rows of that day; run `endcap ingest` for it"
        return [Alert(SECTION, "rows", level, said, {"value": 0.0})]
    made = [*volumes(figures, day, rules), price(figures, day, rules), *shares(figures, day, rules)]
    made += [*nulls(figures, day, rules), hours(figures, day, rules), stores(figures, day)]
    return [softened(each) if quiet else each for each in made]


def softened(alert: Alert) -> Alert:
    """On a quiet day volumes and hours are worth a look at most."""
    if alert.level == FAIL and alert.name in (*VOLUMES, "hours", "stores"):
        return Alert(
            alert.section, alert.name, WARN, f"{alert.text} (a quiet day)", alert.figures, alert.about
        )
    return alert


def expected(figures: Figures, day: date, name: str, *, logged: bool = False) -> Bound | None:
    """What is expected of a figure, or of its logarithm, on a day."""
    history = {each: of_day.values.get(name, nan) for each, of_day in figures.items()}
    if logged:
        history = {each: log(value) for each, value in history.items() if value > 0}
    return bound_of(history, day, floor=FLOORS.get(name, 0.0))


def volumes(figures: Figures, day: date, rules: MonitorRules) -> Iterator[Alert]:
    """Counts and sums, by their ratio to what is expected."""
    for name in VOLUMES:
        value, bound = figures[day].values[name], expected(figures, day, name, logged=True)
        if bound is None:
            yield untold(name)
            continue
        ratio = value / exp(bound.middle)
        score = bound.score(log(value)) if value > 0 else -np.inf
        broken = not rules.volume_gone <= ratio <= rules.volume_risen
        level = OK if abs(score) <= rules.odd else FAIL if broken else WARN
        low, high = (exp(end) for end in bound.ends(rules.odd))
        told = f"{value:,.0f}, expected {low:,.0f} to {high:,.0f}"
        yield Alert(SECTION, name, level, told, noted(value, low, high, score))


def price(figures: Figures, day: date, rules: MonitorRules) -> Alert:
    """The mean price of a line."""
    value, bound = figures[day].values[PRICE], expected(figures, day, PRICE, logged=True)
    if bound is None or not value > 0:
        return (
            untold(PRICE)
            if bound is None
            else Alert(SECTION, PRICE, FAIL, "nothing was paid", {"value": value})
        )
    factor = exp(abs(log(value) - bound.middle))
    level = FAIL if factor > rules.price_moved else WARN if abs(bound.score(log(value))) > rules.odd else OK
    low, high = (exp(end) for end in bound.ends(rules.odd))
    told = f"{value:,.2f} a line, expected {low:,.2f} to {high:,.2f}"
    return Alert(SECTION, PRICE, level, told, noted(value, low, high, bound.score(log(value))))


def shares(figures: Figures, day: date, rules: MonitorRules) -> Iterator[Alert]:
    """Shares that should not rise: a fall is no harm."""
    for name in (*SHARES, REPEATED):
        value, bound = figures[day].values[name], expected(figures, day, name)
        if bound is None:
            yield untold(name)
            continue
        moved = rules.repeated_moved if name == REPEATED else rules.share_moved
        rise, score = value - bound.middle, bound.score(value)
        level = FAIL if rise > moved else WARN if score > rules.odd else OK
        high = bound.ends(rules.odd)[1]
        yield Alert(
            SECTION, name, level, f"{value:.2%}, expected up to {high:.2%}", noted(value, 0.0, high, score)
        )


def nulls(figures: Figures, day: date, rules: MonitorRules) -> Iterator[Alert]:
    """Missing values by column."""
    before = trailing(dict.fromkeys(figures, 0.0), day)
    for name, value in figures[day].values.items():
        if name.startswith(NULL):
            usual = float(np.median([figures[each].values[name] for each in before])) if before else 0.0
            level = FAIL if value - usual > rules.null_moved else WARN if value > usual else OK
            told = f"{value:.2%} missing, {usual:.2%} before"
            yield Alert(
                SECTION, "null", level, told, {"value": value, "expected": usual}, name.removeprefix(NULL)
            )


def hours(figures: Figures, day: date, rules: MonitorRules) -> Alert:
    """Baskets by local hour against those of the weeks before, beyond what chance moves so few baskets."""
    before = trailing(dict.fromkeys(figures, 0.0), day)
    if len(before) < 2:
        return untold("hours")
    usual, today = np.sum([figures[each].hours for each in before], axis=0), np.array(figures[day].hours)
    found, chance = psi_of_counts(usual, today), by_chance(usual, today)
    high = rules.hours_psi + chance
    level = level_of(found, high, 2 * rules.hours_psi + chance)
    said = f"PSI of baskets by hour {found:.2f}, in order up to {high:.2f}"
    return Alert(SECTION, "hours", level, said, {"value": found, "high": high})


def by_chance(before: np.ndarray, after: np.ndarray) -> float:
    """PSI that counts by bin, (n_bins,) each, hardly exceed where nothing moved.

    PSI is then about chi-squared of n_bins - 1, times 1 / n + 1 / m: Yurdakul and Naranjo (2020).
    """
    return float(chi2.isf(BY_CHANCE, len(before) - 1) * (1 / before.sum() + 1 / after.sum()))


def stores(figures: Figures, day: date) -> Alert:
    """Stores that chance would hardly leave out: of one day alone broken, of some in a row worth a look."""
    days = [*sorted(trailing(dict.fromkeys(figures, 0.0), day)), day]
    counts = {
        name: np.array([figures[each].stores.get(name, 0) for each in days])
        for name in {name for each in days for name in figures[each].stores}
    }
    usual = {name: float(found[:-1].mean()) for name, found in counts.items() if len(days) > 1}
    gone = {
        name: baskets
        for name, baskets in usual.items()
        if not counts[name][-1] and poisson.pmf(0, baskets) * len(usual) < BY_CHANCE
    }
    weekdays = np.array([each.weekday() for each in days])
    quiet = {
        name: usual[name]
        for name in usual
        if poisson.pmf(0, missed(counts[name], weekdays)) * len(usual) < BY_CHANCE
    }
    silent, level = gone or quiet, FAIL if gone else WARN if quiet else OK
    told = ", ".join(f"{name} ({baskets:,.1f} baskets a day)" for name, baskets in sorted(silent.items())[:5])
    open_now = len(figures[day].stores)
    said = f"nothing was sold{'' if gone else ' lately'} by {told}" if silent else f"{open_now} stores sold"
    return Alert(SECTION, "stores", level, said, {"value": float(open_now), "silent": float(len(silent))})


def missed(counts: np.ndarray, weekdays: np.ndarray) -> float:
    """Baskets that a store lacks in the last days, which have none: the mean of each one's weekday before.

    Both arguments are (n_days,), in order. 0 where it sold on the last day, or was silent for over LONGEST.
    """
    sold = np.flatnonzero(counts)
    begin = int(sold[-1]) + 1 if len(sold) else 0
    if not 0 < len(counts) - begin <= LONGEST:
        return 0.0
    before, same = counts[:begin], weekdays[:begin]
    return float(sum(before[same == each].mean() for each in weekdays[begin:] if (same == each).any()))


def untold(name: str) -> Alert:
    """A rule that needs more days before."""
    return Alert(SECTION, name, OK, "too few days before it to tell", {})


def noted(value: float, low: float, high: float, score: float) -> dict[str, float]:
    """The numbers behind an alert."""
    return {"value": value, "low": low, "high": high, "score": score}


def looked_back(figures: Figures, last: date, days: int, rules: MonitorRules) -> dict[date, list[Alert]]:
    """The alerts of each of some days up to `last`, as they would have been told then."""
    every = (last - timedelta(days=n) for n in range(days - 1, -1, -1))
    return {day: data_alerts(figures, day, rules) for day in every}
