"""A/A tests err as often as they may, count by count as plain formulas say, and the same in each run."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import recorded_shop
from scipy.stats import binom, norm

from bentos.assignment import place
from feature_repo.settings import Settings
from jobs.experiments import aa
from jobs.experiments.history import History
from jobs.experiments.sequential import confidence_sequence

SINCE = datetime(2024, 1, 1, tzinfo=UTC)
DAYS = 12


@pytest.fixture(scope="module")
def shop():
    """Two hundred users who come back, some often, over twelve days."""
    rng = np.random.default_rng(5)
    rows = []
    for user, rate in enumerate(rng.gamma(2, 0.1, 200).tolist()):
        for day in range(DAYS):
            if baskets := rng.poisson(rate):
                items = int(baskets + rng.poisson(4 * baskets))
                rows.append((f"u{user}", day, float(rng.gamma(items, 2)), items, int(baskets)))
    per_day = pd.DataFrame(rows, columns=["user_id", "day", "revenue", "items", "baskets"])
    return History(SINCE, SINCE + timedelta(days=DAYS), None, per_day.sample(frac=1, random_state=1))


@pytest.mark.parametrize("metric", ["revenue_per_basket", "items_per_basket"])
def test_errors_are_within_what_chance_allows(shop, metric):
    """The sequential test in alpha at most, a z test at the end in alpha, one at every look in far more."""
    n, found = 400, aa.aa(shop, metric, 400)
    low, high = binom.ppf([0.001, 0.999], n, 0.05)
    assert (found.metric, found.experiments, found.n_looks) == (metric, n, DAYS)
    assert found.sequential <= high
    assert low <= found.once <= high
    assert found.naive > binom.ppf(0.999, n, 0.1)


def looks(shop, salt):
    """Log lifts of revenue per basket and their variances by the end of each day, by plain sums."""
    rows, found = shop.per_day, []
    treated = {user: place(salt, user) < 0.5 for user in rows.user_id.unique()}
    for day in range(DAYS):
        sums = rows[rows.day <= day].groupby("user_id")[["revenue", "baskets"]].sum()
        logs, variance = [], 0.0
        for arm in (True, False):
            mine = sums[[treated[user] is arm for user in sums.index]]
            ratio = mine.revenue.sum() / mine.baskets.sum()
            errors = (mine.revenue - ratio * mine.baskets) / mine.baskets.mean() / ratio
            variance += errors.var(ddof=1) / len(mine)
            logs.append(np.log(ratio))
        found.append((logs[0] - logs[1], variance))
    return np.array(found).T


def test_each_experiment_counts_as_the_plain_formulas_say(shop):
    """Who is treated is the salted hash of the experiment's number; looks are the days."""
    n, users = 70, shop.per_day.groupby("user_id")[["revenue", "baskets"]].sum()
    lifts, variances = np.moveaxis([looks(shop, f"A/A {number}") for number in range(n)], 1, 0)
    z, critical = np.abs(lifts) / np.sqrt(variances), norm.isf(0.025)
    errors = (
        users.revenue - users.revenue.sum() / users.baskets.sum() * users.baskets
    ) / users.revenue.mean()
    plan = errors.var(ddof=1) * 4 / len(users)  # of all users, by halves
    sure = confidence_sequence(lifts, variances, planned_variance=plan)
    found = aa.aa(shop, "revenue_per_basket", n)
    assert found.once == (z[:, -1] > critical).sum()
    assert found.naive == (z > critical).any(axis=1).sum() > found.once
    assert found.sequential == (sure.p[:, -1] <= 0.05).sum() > 0


def test_each_run_says_the_same(shop):
    """Nothing is left to chance, whatever the order of the rows."""
    again = History(shop.since, shop.until, None, shop.per_day.sample(frac=1, random_state=2))
    assert aa.aa(shop, "items_per_basket", 40) == aa.aa(again, "items_per_basket", 40)


def test_counts_are_told_with_their_intervals():
    """Clopper and Pearson's of 50 in 1,000, as published tables have it."""
    found = aa.Errors("ctr", 1000, 19, 50, 140, 48)
    assert found.told(50) == "5.0% [3.7%, 6.5%]"
    head, *lines = aa.table([found]).splitlines()
    assert head == "ctr: 1,000 A/A experiments, 19 looks each, alpha 5%:"
    assert [line.split()[0] for line in lines] == ["sequential", "z", "z"]


def test_the_last_days_before_the_newest_purchase_are_taken(tmp_path, monkeypatch):
    """Of both metrics that transactions tell; without transactions the error says what makes them."""
    settings, asked = Settings(state=tmp_path, reports=tmp_path), []
    with pytest.raises(FileNotFoundError, match=r"No transactions in .*; run `endcap ingest`"):
        aa.run(settings, experiments=20, days=5)
    lines = recorded_shop.random_lines(1, n_users=30)
    recorded_shop.write(settings, lines)
    original = aa.aa
    monkeypatch.setattr(aa, "aa", lambda *told: asked.append(told) or original(*told))
    text = aa.run(settings, experiments=20, days=5)
    newest = max(each["event_timestamp"] for each in lines)
    assert [metric for _, metric, _ in asked] == ["revenue_per_basket", "items_per_basket"]
    assert {(found.since, found.until, n) for found, _, n in asked} == {
        (newest - timedelta(days=5), newest, 20)
    }
    assert text.count("20 A/A experiments, 5 looks each") == 2
