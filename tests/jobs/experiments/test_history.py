"""The ground of a plan is what loops over the transactions find, and nothing of the experiment's own time."""

from collections import defaultdict
from datetime import timedelta

import pytest
import recorded_shop
from recorded_shop import BEGIN, line

from feature_repo.settings import Settings
from jobs.experiments.history import history
from jobs.experiments.power import PlanError

DAY = 1440  # minutes
UNTIL = BEGIN + timedelta(days=150)


@pytest.fixture
def settings(tmp_path):
    """Settings over an empty folder."""
    return Settings(state=tmp_path, reports=tmp_path)


def recording(settings, lines):
    """The file of a recording."""
    recorded_shop.write(settings, lines)
    return settings.table("transactions")


def sums(lines, since, until):
    """(revenue, lines, baskets) by user, of purchases in a span."""
    found = defaultdict(lambda: [0.0, 0, set()])
    for each in lines:
        if each["quantity"] > 0 and since <= each["event_timestamp"] < until:
            mine = found[each["user_id"]]
            mine[0] += each["price_paid"]
            mine[1] += 1
            mine[2].add(each["basket_id"])
    return {user: (paid, n, len(baskets)) for user, (paid, n, baskets) in found.items()}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("days", [1, 7, 28])
def test_sums_are_what_loops_find(settings, seed, days):
    """By user with the thirteen weeks before, by user and day, and how many users had come by each day."""
    lines = recorded_shop.random_lines(seed, n_baskets=400, n_users=25, days=160)
    found = history(recording(settings, lines), until=UNTIL, days=days)
    since = UNTIL - timedelta(days=days)
    inside, before = sums(lines, since, UNTIL), sums(lines, since - timedelta(weeks=13), since)
    per_user = found.per_user.set_index("user_id")
    assert (found.since, found.until) == (since, UNTIL)
    assert set(per_user.index) == set(inside)
    for user, row in per_user.iterrows():
        assert (row.revenue, row["items"], row.baskets) == inside[user]
        assert (row.pre_revenue, row.pre_items, row.pre_baskets) == before.get(user, (0, 0, 0))
    came, per_day = set(), found.per_day.set_index(["day", "user_id"])
    for day in range(days):
        of_day = sums(lines, since + timedelta(days=day), since + timedelta(days=day + 1))
        came |= set(of_day)
        rows = per_day[per_day.index.get_level_values("day") == day].droplevel("day")
        assert {user: tuple(row) for user, row in rows.iterrows()} == of_day
        assert found.users_by_day[day] == len(came)
    assert len(found.users_by_day) == days


def test_the_start_itself_is_not_looked_at(settings):
    """What was bought as the experiment began, and after it, is none of the history; the first instant is."""
    lines = [line("a", "b1", "i", 0), line("b", "b2", "i", 7 * DAY), line("c", "b3", "i", 7 * DAY - 1)]
    path = recording(settings, [*lines, line("a", "b4", "i", 7 * DAY), line("c", "b5", "i", 99 * DAY)])
    found = history(path, until=BEGIN + timedelta(days=7), days=7)
    assert found.per_user.user_id.tolist() == ["a", "c"]
    assert found.per_user.baskets.tolist() == [1, 1]
    assert found.per_day.day.tolist() == [0, 6]


@pytest.mark.parametrize(
    "more", [[], [line("a", "b", "i", 0, quantity=-1.0)], [line("a", "b", "i", 99 * DAY)]]
)
def test_without_purchases_nothing_can_be_planned(settings, more):
    """The error says of which days, and what to do."""
    says = r"has no purchases from 2024-01-01 to 2024-01-08; .*ingest that, or give it a later start"
    with pytest.raises(PlanError, match=says):
        history(recording(settings, more), until=BEGIN + timedelta(days=7), days=7)


def test_no_transactions_is_told(settings):
    """An installation that never ingested any hears what does."""
    with pytest.raises(PlanError, match=r"No transactions in .*base\.parquet; run `endcap ingest`"):
        history(settings.table("transactions"), until=UNTIL, days=7)
