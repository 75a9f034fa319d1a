"""Rows of a day: each thing that breaks them is told by its name, and ordinary days are let be."""

from dataclasses import replace
from datetime import date, timedelta

import monitored_shop
import numpy as np
import pandas as pd
import pytest
from monitored_shop import CALENDAR, DAY, DAYS, of_day

from feature_repo.settings import Settings
from jobs.monitor.alerts import FAIL, OK, WARN, Alert, exit_code, level_of, pager, worst
from jobs.monitor.bounds import NORMAL, bound_of
from jobs.monitor.data_quality import LONGEST, by_chance, data_alerts, looked_back, missed, stores
from jobs.monitor.day_figures import DayFigures, day_figures
from jobs.monitor.rules import MonitorRules, MonitorRulesError, load_monitor_rules
from training.drift import psi_of_counts

RULES = MonitorRules()


@pytest.fixture(scope="module")
def lines():
    """The lines of the shop."""
    return monitored_shop.lines()


def figures(lines, folder):
    """Figures of all days of some lines."""
    settings = Settings(state=folder / "state", reports=folder, threads=2)
    monitored_shop.write(settings, lines)
    return day_figures(settings, CALENDAR.first_day, DAY)


def broken(lines, folder, day=DAY, rules=RULES):
    """Names of what fails on a day, with what they are about."""
    found = data_alerts(figures(lines, folder), day, rules)
    return {f"{each.name} {each.about}".strip() for each in found if each.level == FAIL}


def changed(lines, **columns):
    """Lines with other values on the day; each column by a function of the day's lines."""
    found, mine = lines.copy(), of_day(lines)
    for name, values in columns.items():
        found[name] = found[name].astype(object) if name.endswith("_id") else found[name]
        found.loc[mine, name] = values(lines[mine])
    return found


def test_figures_are_those_of_a_plain_count(lines, tmp_path):
    """Of every day: rows, baskets, shoppers, revenue, hours, stores as pandas counts them by local time."""
    found = figures(lines, tmp_path)
    assert len(found) == DAYS
    for day, rows in lines.groupby(lines["paid_at"].dt.date):
        values, bought = found[day].values, rows[rows["quantity"] > 0]
        assert values["rows"] == len(rows)
        assert values["basket_lines"] == pytest.approx(rows.groupby("basket_id").size().mean())
        assert values["baskets"] == rows["basket_id"].nunique()
        assert values["users"] == rows["user_id"].nunique()
        assert values["revenue"] == pytest.approx(bought["price_paid"].sum())
        assert values["line_price"] == pytest.approx(bought["price_paid"].mean())
        assert values["return_share"] == pytest.approx((rows["quantity"] <= 0).mean())
        assert values["largest_user_share"] == pytest.approx(
            rows["user_id"].value_counts().iloc[0] / len(rows)
        )
        once = rows.drop_duplicates("basket_id")
        assert list(found[day].hours) == np.bincount(once["paid_at"].dt.hour, minlength=24).tolist()
        assert dict(found[day].stores) == once["store_id"].value_counts().to_dict()
    first = lines.groupby("item_id")["paid_at"].min().dt.date
    for day in (CALENDAR.first_day, CALENDAR.first_day + timedelta(days=1)):
        rows = lines[of_day(lines, day)]
        assert found[day].values["new_item_share"] == pytest.approx(
            (rows["item_id"].map(first) == day).mean()
        )


def test_ordinary_days_are_let_be(lines, tmp_path):
    """None of the last three weeks fails, though none is like the one before."""
    found = looked_back(figures(lines, tmp_path), DAY, 21, RULES)
    assert list(found) == [DAY - timedelta(days=n) for n in range(20, -1, -1)]
    assert {worst(alerts) for alerts in found.values()} <= {OK, WARN}
    assert sum(worst(alerts) == WARN for alerts in found.values()) <= 2


FAULTS = {
    "no rows": (lambda all_: all_[~of_day(all_)], {"rows"}),
    "half of the day is missing": (
        lambda all_: all_[~(of_day(all_) & (all_["paid_at"].dt.hour >= 13))],
        {"rows", "baskets", "users", "revenue", "hours"},
    ),
    "half of the lines are missing": (
        lambda all_: all_[~(of_day(all_) & (np.arange(len(all_)) % 4 > 1))],
        {"rows", "revenue", "basket_lines"},
    ),
    "half of the lines, drawn": (
        lambda all_: all_[~(of_day(all_) & (np.random.default_rng(8).random(len(all_)) < 0.5))],
        {"rows", "revenue", "basket_lines"},
    ),
    "prices in cents": (
        lambda all_: changed(all_, price_paid=lambda day: day["price_paid"] * 100),
        {"revenue", "line_price"},
    ),
    "quantities negated": (
        lambda all_: changed(all_, quantity=lambda day: -day["quantity"]),
        {"revenue", "line_price", "return_share"},
    ),
    "a store is missing": (lambda all_: all_[~(of_day(all_) & (all_["store_id"] == "s2"))], {"stores"}),
    "one shopper": (lambda all_: changed(all_, user_id=lambda _: "u1"), {"users", "largest_user_share"}),
    "a column is empty": (lambda all_: changed(all_, discount=lambda _: np.nan), {"null discount"}),
    "five hours late": (
        lambda all_: changed(all_, paid_at=lambda day: day["paid_at"].where(
            day["paid_at"].dt.hour >= 19, day["paid_at"] + pd.Timedelta(hours=5))),
        {"hours"},
    ),
    "rows came twice": (lambda all_: pd.concat([all_, all_[of_day(all_)]]), {"repeated_key_share"}),
    "unknown items": (
        lambda all_: changed(all_, item_id=lambda day: "new" + day["item_id"]),
        {"unknown_item_share", "new_item_share"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_by_its_name(lines, tmp_path, fault):
    """These rules fail, and no other."""
    broken_by, expected = FAULTS[fault]
    found = broken(broken_by(lines), tmp_path)
    extra = {"items"} if "rows" in expected or "new_item_share" in expected else set()
    assert expected <= found <= expected | extra


def small_stores(silent, stores=300):
    """Figures of ten weeks of a shop of small stores; s0 is the busiest, and silent on so many last days."""
    rng = np.random.default_rng(9)
    days = [DAY - timedelta(days=n) for n in range(69, -1, -1)]
    made = {}
    for place, day in enumerate(days):
        counts = {f"s{n}": int(rng.poisson(7 if n == 0 else 1)) for n in range(stores)}
        counts["s0"] = 0 if place >= len(days) - silent else max(counts["s0"], 1)
        sold = {name: count for name, count in counts.items() if count}
        made[day] = DayFigures({}, (1,) * 24, sold)
    return made


@pytest.mark.parametrize(("silent", "told"), [(0, False), (1, False), (2, True), (LONGEST, True)])
def test_a_small_store_is_missed_after_some_days(silent, told):
    """e^-7 among 300 stores is nothing rare in a year of days; e^-14 is."""
    alert = stores(small_stores(silent), DAY)
    assert alert.level == (WARN if told else OK)
    assert ("lately by s0 (" in alert.text) == told


def test_a_store_that_has_closed_is_not_told_for_ever():
    """Nor one that never sold."""
    assert stores(small_stores(LONGEST + 1), DAY).level == OK
    assert missed(np.zeros(9), np.arange(9) % 7) == 0.0


def test_baskets_missed_are_those_of_the_same_weekdays():
    """A store that is shut on Sundays lacks nothing on a Sunday, the last day here; by a loop over days."""
    weekdays = np.array([(5 + n) % 7 for n in range(58)])
    counts = np.where(weekdays == 6, 0, 5 + weekdays)
    counts[-3:] = 0
    begin = next(n for n in range(58) if not counts[n:].any())
    expected = 0.0
    for n in range(begin, 58):
        before = [counts[m] for m in range(begin) if weekdays[m] == weekdays[n]]
        expected += sum(before) / len(before)
    assert missed(counts, weekdays) == pytest.approx(expected)
    assert expected == (5 + 4) + (5 + 5)  # a Friday's and a Saturday's


def test_what_chance_moves_hours_by_is_seldom_exceeded():
    """Of draws from the same hours about one in a thousand lies above; most lie not far below."""
    rng, shares = np.random.default_rng(4), np.full(24, 1 / 24)
    before = rng.multinomial(20_000, shares)
    found = [psi_of_counts(before, after) for after in rng.multinomial(400, shares, 4_000)]
    limit = by_chance(before, np.full(24, 400 / 24))
    assert 0 < np.mean(np.array(found) > limit) < 0.004
    assert np.quantile(found, 0.99) > 0.8 * limit


def test_a_quiet_day_is_worth_a_look_at_most(lines, tmp_path):
    """No rows on a day on which the shop is closed; elsewhere that fails."""
    gone = lines[~of_day(lines)]
    assert broken(gone, tmp_path, rules=MonitorRules(quiet_days=("03-06",))) == set()
    (only,) = data_alerts(figures(gone, tmp_path), DAY, MonitorRules(quiet_days=("03-06",)))
    assert (only.level, only.name) == (WARN, "rows")


def test_too_few_days_tell_nothing(lines, tmp_path):
    """In the first two weeks no figure is compared."""
    found = figures(lines, tmp_path)
    early = data_alerts(found, CALENDAR.first_day + timedelta(days=9), RULES)
    assert {each.text for each in early if each.name == "rows"} == {"too few days before it to tell"}
    assert worst(early) != FAIL


def test_bounds_are_medians_of_weekdays():
    """The middle is the same weekday's median of eight weeks, the spread that of all days' residuals."""
    rng = np.random.default_rng(5)
    days = [DAY - timedelta(days=n) for n in range(1, 80)]
    history = {day: 10 * day.weekday() + rng.normal() for day in days}
    found = bound_of(history, DAY)
    before = {day: value for day, value in history.items() if day >= DAY - timedelta(days=56)}
    middles = {n: np.median([v for d, v in before.items() if d.weekday() == n]) for n in range(7)}
    residuals = [abs(value - middles[day.weekday()]) for day, value in before.items()]
    spread = np.median(residuals) / NORMAL * np.sqrt(1 + np.pi / 16)
    assert found.middle == middles[DAY.weekday()]
    assert found.spread == pytest.approx(spread)
    assert found.score(found.middle + 3 * found.spread) == pytest.approx(3)
    history[DAY - timedelta(days=7)] = 1e9  # one broken day moves nothing much
    assert abs(bound_of(history, DAY).middle - found.middle) < 2


def test_levels_and_what_a_pager_reads():
    """The gravest decides; only a failure has an exit code; ok ones are counted, not sent."""
    alerts = [Alert("data", name, level, name) for name, level in (("a", OK), ("b", FAIL), ("c", WARN))]
    assert (worst(alerts), worst([]), exit_code(alerts), exit_code(alerts[::2])) == (FAIL, OK, 4, 0)
    told = pager(DAY, alerts)
    assert [each["name"] for each in told["alerts"]] == ["b", "c"]
    assert (told["day"], told["level"], told["counts"]) == ("2024-03-06", FAIL, {OK: 1, WARN: 1, FAIL: 1})
    assert [level_of(size, 1, 2) for size in (1, 1.5, 3, np.nan)] == [OK, WARN, FAIL, OK]
    with pytest.raises(ValueError, match="level is 'bad'"):
        replace(alerts[0], level="bad")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("odd: -1", "odd"),
        ("quiet_days: ['24-12']", "'24-12' is no day of the year; use month-day"),
        ("oddd: 3", "oddd"),
    ],
)
def test_rules_that_cannot_be_used_are_named(tmp_path, text, says):
    """The key and the value; without a file the defaults hold."""
    path = tmp_path / "monitor.yaml"
    assert load_monitor_rules(path) == RULES
    path.write_text(text)
    with pytest.raises(MonitorRulesError, match=says):
        load_monitor_rules(path)
    path.write_text("odd: 4\nquiet_days: ['11-23']\n")
    assert load_monitor_rules(path) == MonitorRules(odd=4, quiet_days=("11-23",))


def test_quiet_days_are_days_of_the_year():
    """Those that hold without a file, too."""
    assert all(date.fromisoformat(f"2024-{day}") for day in RULES.quiet_days)
