"""A replay of real trips against real servers: what is logged, what moves, and what a kill may cost."""

import hashlib
import math
from collections import Counter

import numpy as np
import pytest
from fake_service import events, exposures
from replayed_shop import (
    begun,
    chosen,
    kill_servers,
    linked,
    play_and_die,
    template_of,
)

from bentos.assignment import assigned
from bentos.current_release import open_current
from bentos.experiments import load_experiments
from bentos.exploration import rng_of
from bentos.online_features import OnlineFeatures
from feature_repo.shop_calendar import ShopCalendar
from feature_repo.stores.packed.instants import microseconds
from jobs.experiments import other_policies, replay, report
from jobs.experiments.replay_state import ReplayError, played_from, replay_settings

ARMS = ("segment", "engine", "drawn")


class Replay:
    """Two replays of the same trips: one in one go, one cut off three times with testers of every arm."""

    def __init__(self, installation, folder):
        self.shop, self.cut = (linked(installation, folder / name) for name in ("whole", "cut"))
        self.trips = chosen(self.shop)
        self.own, self.again = (replay_settings(each, "engine") for each in (self.shop, self.cut))
        self.template = template_of(self.shop, folder / "template")
        self.before = self.hashes()
        self.rows = []  # the shopper's history after each trip

    def hashes(self):
        """Hashes of what is the installation's own."""
        every = [path for path in self.shop.state.iterdir() if path.is_file()]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in every}

    def run(self, settings, **more):
        """Play the trips in this process."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replay, "recorded_trips", lambda *_, **__: self.trips)
            for name, value in more.pop("patched", {}).items():
                patch.setattr(*name, value)
            return replay.run(settings, "engine", say=print, **more)


@pytest.fixture(scope="module")
def played(installation, tmp_path_factory):
    """The replay in one go, with each shopper's row as it was after each trip."""
    found = Replay(installation, tmp_path_factory.mktemp("replayed"))
    release, play = open_current(installation), replay.Player.play

    def noting(player, trip, *shown):
        play(player, trip, *shown)
        reader = OnlineFeatures(found.own, release, lambda: trip.paid_at)
        found.rows.append(reader.read_user(trip.user_id))

    found.run(found.shop, patched={(replay.Player, "play"): noting})
    return found


def check_trips(own, trips):
    """Each trip has one page, in the arm assigned; clicks are page and basket, purchases the basket."""
    experiments, happened = load_experiments(own.experiments_file), events(own)
    shown = [row for row in exposures(own) if not row[3]["forced"]]
    assert len(shown) == len(trips) > 30
    for trip, (request, user, us, told) in zip(trips, shown, strict=True):
        assert (user, us) == (trip.user_id, microseconds(trip.paid_at))
        assert told["arms"] == assigned(experiments, user, trip.paid_at).arms
        assert len(told["items"]) == 10
        on_page = {item: request if item in told["items"] else None for item in trip.items}
        mine = [row for row in happened if row[0].startswith(f"{trip.basket_id}/")]
        clicked = [(row[3], row[5]) for row in mine if row[1] == "click"]
        assert sorted(clicked) == sorted((item, request) for item in trip.items if on_page[item])
        bought = [(row[3], row[4], row[5]) for row in mine if row[1] == "purchase"]
        assert sorted(bought) == sorted((item, paid, on_page[item]) for item, paid in trip.items.items())
        assert all(us < row[6] < us + 1000 for row in mine)
    assert {arm for *_, told in shown for arm in told["arms"].values()} == set(ARMS)


def test_each_trip_is_shown_and_played(played):
    """At its own time, in the arm assigned; clicks are page and basket, purchases the basket with amounts."""
    check_trips(played.own, played.trips)


def test_a_shoppers_row_moves_with_each_trip(played):
    """When the next page is asked for, the history has the basket: the second trip sees the first."""
    seen = Counter()
    for trip, row in zip(played.trips, played.rows, strict=True):
        last = dict(zip(row["history_items"], row["history_last_times"], strict=True))
        assert {last[item] for item in trip.items} == {int(trip.paid_at.timestamp())}
        seen[trip.user_id] += 1
    assert max(seen.values()) > 1
    calendar = ShopCalendar.load(played.own.shop_calendar)
    week, bought = calendar.week_at(played.trips[0].paid_at), {}
    for trip, (*_, told) in zip(played.trips, exposures(played.own), strict=True):
        if calendar.week_at(trip.paid_at) == week:
            flags = dict(zip(told["items"], told["bought_before"], strict=True))
            assert all(flags[item] for item in bought.get(trip.user_id, set()) & flags.keys())
            bought.setdefault(trip.user_id, set()).update(trip.items)


def test_the_store_is_brought_up_to_date_at_the_weeks_end(played):
    """Who was not played has in the end what they bought in the first week, and nothing of the second."""
    calendar = ShopCalendar.load(played.own.shop_calendar)
    start = played_from(played.shop)
    end = calendar.end(calendar.week_at(start))
    every = replay.recorded_trips(played.shop.table("transactions"), after=start)
    silent = {trip.user_id for trip in every if trip.paid_at < end} - {trip.user_id for trip in played.trips}
    release = open_current(played.shop)
    reader = OnlineFeatures(played.own, release, lambda: end)
    for user in silent:
        last = max(trip.paid_at for trip in every if trip.user_id == user and trip.paid_at < end)
        assert max(reader.read_user(user)["history_last_times"]) == int(last.timestamp())
    assert len(silent) > 30


def test_the_installations_own_is_untouched(played):
    """Its store to the byte, and it has neither events nor exposures; its clock stands where it stood."""
    assert played.hashes() == played.before
    assert "online_store.db" in played.before
    assert not played.shop.event_log.exists()
    assert not played.shop.exposure_log.exists()


def redrawn(request, told):
    """What an answer's slots were drawn, and how likely, by plain arithmetic from the record of its draws."""
    draws, rng, found = told["exploration"], rng_of(request), []
    for able in draws["eligible"]:
        weights = [
            math.exp(s / told["temperature"]) * may for s, may in zip(draws["scores"], able, strict=True)
        ]
        luck, reached = rng.random() * sum(weights), 0.0
        for item, weight in zip(draws["pool"], weights, strict=True):
            reached += weight
            if luck < reached:
                found.append((item, weight / sum(weights)))
                break
    return found


def test_draws_are_those_of_the_request(played):
    """The last slots of the arm that explores follow from the request's id, with the propensities logged."""
    count = 0
    for request, _, _, told in exposures(played.own):
        explores = told["arms"].get("engine") == "drawn" and not told["degraded"]
        assert told["explored"] == [False] * (8 if explores else 10) + [True] * (2 if explores else 0)
        if explores:
            items, chances = zip(*redrawn(request, told), strict=True)
            assert told["items"][8:] == list(items)
            assert told["propensities"][8:] == pytest.approx(chances, rel=1e-9)
            assert (told["propensities"][:8], told["temperature"]) == ([1.0] * 8, 1.0)
            count += 1
    assert count > 5


def test_other_policies_are_judged_from_it(played):
    """As served, the drawn slots earned what they were clicked."""
    lines = other_policies.run(played.shop, "engine", [], replay=True).splitlines()
    clicked = {(row[5], row[3]) for row in events(played.own) if row[1] == "click"}
    drawn = [
        sum((request, item) in clicked for item in told["items"][8:])
        for request, *_, told in exposures(played.own)
        if told["exploration"]
    ]
    assert lines[1].split()[:5] == ["drawn,", "as", "served", "ips", f"{np.mean(drawn):.4f}"]


class Killed(BaseException):
    """What nothing catches."""


@pytest.fixture(scope="module")
def cut(played):
    """The other replay: its driver is killed between two testers' pages, its server before it has events."""
    begun(played.cut, played.template)
    play_and_die(played.cut, played.trips, "/online/recommend", 4 * 4 + 2)
    ask, left = replay.Client.ask, iter(range(9, -1, -1))

    def killing(client, method, path, body):
        if path == "/events" and next(left) == 0:
            kill_servers(played.again)
        return ask(client, method, path, body)

    with pytest.raises(ReplayError, match=r"No answer to POST /events \(.*\); run the same command again"):
        played.run(played.cut, every_arm=True, patched={(replay.Client, "ask"): killing})
    played.run(played.cut, every_arm=True)
    return played


def pages(own):
    """Pages by shopper, time, tester and arm: their slots but those drawn by chance, None for poorer ones."""
    found = {}
    for _, user, us, told in exposures(own):
        key = user, us, told["forced"], told["arms"].get("engine")
        found.setdefault(key, []).append(None if told["degraded"] else told["items"][:8])
    return found


def test_a_replay_that_was_killed_ends_as_one_that_was_not(cut):
    """Each trip once, on the same pages as in one go, with the same purchases: nothing lost or twice."""
    check_trips(cut.again, cut.trips)
    bought = [[row[:5] for row in events(own) if row[1] == "purchase"] for own in (cut.own, cut.again)]
    assert bought[0] == bought[1]
    whole, other = pages(cut.own), pages(cut.again)
    assert whole.keys() == {key for key in other if not key[2]}
    same = [other[key] == found for key, found in whole.items() if None not in found + other[key]]
    assert all(same)
    assert len(same) > len(cut.trips) / 2


def test_every_arm_is_shown_to_a_tester_once(cut):
    """On each trip, beside the shopper's own page, though a replay was cut off between them."""
    forced = [
        (user, us, arm)
        for (user, us, tester, arm), found in pages(cut.again).items()
        if tester
        for _ in found
    ]
    assert sorted(forced) == sorted(
        (trip.user_id, microseconds(trip.paid_at), arm) for trip in cut.trips for arm in ARMS
    )


def test_arms_stand_side_by_side_in_the_report(cut):
    """The report of the replay says that it is one, and has each arm's clicks on all trips."""
    found = report.run(cut.cut, "engine", replay=True)
    assert "A replay. These are recorded purchases played again, not a live test" in found.text
    assert found.page == cut.cut.reports / "replay_engine.html"
    baskets = {(trip.user_id, microseconds(trip.paid_at)): trip.items for trip in cut.trips}
    for arm in ARMS:
        (level,) = [
            each["value"]
            for each in found.records
            if (each.get("method"), each["metric"], each.get("arm")) == ("side by side", "ctr", arm)
            and "versus" not in each
        ]
        shown = [row for row in exposures(cut.again) if row[3]["forced"] and row[3]["arms"]["engine"] == arm]
        clicks = sum(item in baskets[user, us] for _, user, us, told in shown for item in told["items"])
        assert level == pytest.approx(clicks / (10 * len(cut.trips)))
