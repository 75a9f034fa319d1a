"""Recorded trips are what a plain loop over the transactions finds."""

from datetime import timedelta

import pytest
import recorded_shop
from recorded_shop import BEGIN, line

from feature_repo.settings import Settings
from jobs.experiments.trips import NoTripsError, recorded_trips


@pytest.fixture
def settings(tmp_path):
    """Settings over an empty folder."""
    return Settings(state=tmp_path, reports=tmp_path)


def told(trips):
    """Trips as `recorded_shop.baskets` has them."""
    return [((trip.paid_at, trip.user_id, trip.basket_id), dict(trip.items)) for trip in trips]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("days", [0, 7])
def test_trips_are_the_baskets_from_an_instant_on_in_order(settings, seed, days):
    """By time, then user, then basket; lines of an item are summed, returns are no purchases."""
    lines, after = recorded_shop.random_lines(seed), BEGIN + timedelta(days=days)
    recorded_shop.write(settings, lines)
    trips = recorded_trips(settings.table("transactions"), after=after)
    assert told(trips) == recorded_shop.baskets(lines, after)
    assert len(trips) < 60
    assert all(list(trip.items) == sorted(trip.items) for trip in trips)


@pytest.mark.parametrize("most", [1, 7, 10_000])
def test_most_takes_the_first(settings, most):
    """So many of all, from the beginning."""
    lines = recorded_shop.random_lines(1)
    recorded_shop.write(settings, lines)
    trips = recorded_trips(settings.table("transactions"), after=BEGIN, most=most)
    assert told(trips) == recorded_shop.baskets(lines, BEGIN)[:most]


def test_the_instant_itself_counts_and_times_are_exact(settings):
    """What was paid as the release's weeks ended lies after them; microseconds are kept."""
    at = BEGIN + timedelta(days=1, microseconds=1)
    lines = [{**line("u", "b", "i", 0), "event_timestamp": at}, line("u", "a", "i", 1440)]
    recorded_shop.write(settings, lines)
    (trip,) = recorded_trips(settings.table("transactions"), after=at)
    assert (trip.paid_at, trip.basket_id, trip.items) == (at, "b", {"i": 2.5})


@pytest.mark.parametrize("lines", [[line("u", "b", "i", 0)], [line("u", "b", "i", 9999, quantity=-1.0)], []])
def test_no_trips_is_an_error_that_says_what_to_do(settings, lines):
    """Nothing from then on, or nothing but returns."""
    recorded_shop.write(settings, lines)
    says = r"base\.parquet has no trips from 2024-01-02T00:00:00\+00:00 on; choose an earlier release"
    with pytest.raises(NoTripsError, match=says):
        recorded_trips(settings.table("transactions"), after=BEGIN + timedelta(days=1))


def test_no_transactions_is_told(settings):
    """An installation that never ingested any hears what does."""
    with pytest.raises(NoTripsError, match=r"No transactions in .*base\.parquet; run `endcap ingest`"):
        recorded_trips(settings.table("transactions"), after=BEGIN)
