"""A replay plays every recorded trip once and in order, wherever and however often it is cut off."""

import os
from dataclasses import replace

import numpy as np
import pytest
from fake_service import RELEASED, Stage, events, exposures, installation, played, trips
from recorded_shop import CALENDAR

from bentos.assignment import assigned
from bentos.experiments import load_experiments
from feature_repo.stores.packed.instants import microseconds
from jobs.experiments.replay import Client
from jobs.experiments.replay_state import ReplayError, replay_settings
from jobs.local_server import free_port
from jobs.writer_lock import StateIsBusyError, writer_lock

ARMS = ("old", "new")


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """An installation with a recording and an experiment, whose replays play against fake services."""
    return Stage(installation(tmp_path), monkeypatch)


@pytest.fixture
def own(stage):
    """Settings of its replay."""
    return replay_settings(stage.settings, "engine")


def test_each_trip_has_a_page_its_clicks_and_its_purchases(stage, own):
    """At its own time, in the arm assigned; clicks are the items of the page that were bought."""
    result = stage.play()
    experiments, shown, happened = load_experiments(own.experiments_file), exposures(own), events(own)
    assert (result.rows, len(shown)) == (len(trips()), len(trips()))
    for ((at, user, basket), items), (request, who, us, told) in zip(trips(), shown, strict=True):
        assert (who, us) == (user, microseconds(at))
        assert (told["arms"], told["forced"]) == (assigned(experiments, user, at).arms, False)
        assert (len(told["items"]), told["task"]) == (10, "all")
        on_page = {item: request if item in told["items"] else None for item in items}
        expected = {(f"{basket}/{i}/click", "click", user, i, None, request) for i in items if on_page[i]}
        bought = {(f"{basket}/{i}/purchase", "purchase", user, i, items[i], on_page[i]) for i in items}
        mine = [row for row in happened if row[0].startswith(f"{basket}/")]
        assert {row[:6] for row in mine} == expected | bought
        assert all(0 < row[6] - us < 1000 for row in mine)
    assert any(told["arms"] == {} for *_, told in shown)


def test_the_store_is_brought_up_to_date_as_a_week_ends(stage):
    """Once at the beginning and once at each week's end, before the next trip."""
    weeks = [CALENDAR.week_at(at) for (at, *_), _ in trips()]
    assert sorted(set(weeks)) == [2, 3]
    first = weeks.count(2)
    for most, ends in [(first, []), (first + 2, [CALENDAR.end(2)]), (None, [CALENDAR.end(2)])]:
        stage.play(most=most)
        assert stage.materialized == [RELEASED, *ends]
        assert stage.service.rested == (most == first + 2)


def test_every_arm_is_shown_to_testers_beside(stage, own):
    """A forced page of each arm for each trip, at its time; shoppers' pages and events are as without."""
    stage.play()
    alone = played(own)
    stage.play(restart=True, every_arm=True)
    pages, happened, _ = played(own)
    assert ([page for page in pages if not page[2]], happened) == alone[:2]
    forced = [(user, us, told["arms"]["engine"]) for _, user, us, told in exposures(own) if told["forced"]]
    assert sorted(forced) == sorted((u, microseconds(at), arm) for (at, u, _), _ in trips() for arm in ARMS)


@pytest.mark.parametrize("late", [False, True], ids=["asked", "served"])
@pytest.mark.parametrize("every_arm", [False, True], ids=["own", "every arm"])
def test_a_replay_that_was_cut_off_goes_on(stage, own, late, every_arm):
    """Before or after any request was served: in the end all is as if played in one go, nothing twice."""
    stage.play(every_arm=every_arm)
    whole, lengths = played(own), np.random.default_rng(1).integers(1, 7, 999).tolist()
    assert stage.play(left=0, restart=True, every_arm=every_arm) is None
    cuts = 0
    while not stage.play(left=lengths[cuts], late=late, every_arm=every_arm):
        cuts += 1
    assert cuts > 20
    assert played(own) == whole
    assert stage.play().rows == 0


def test_a_basket_too_large_for_one_request_is_played_to_its_end(stage, own):
    """Also where a replay was cut off between its requests."""
    stage.play()
    whole, before = played(own), [basket for (*_, basket), _ in trips()].index("big")
    stage.play(most=before, restart=True)
    assert stage.play(left=3) is None
    assert stage.service.asked[-2:] == [("POST", "/events")] * 2
    stage.play()
    assert played(own) == whole


def test_what_was_played_is_not_played_again(stage, own):
    """The first so many of all trips, then the others; who calls hears of it."""
    first, second, third = (stage.play(most=most) for most in (5, 9, None))
    assert (first.rows, second.rows, third.rows) == (5, 4, len(trips()) - 9)
    assert stage.said == ["5 of 9 trips were played before", f"9 of {len(trips())} trips were played before"]
    once = played(own)
    stage.play(restart=True)
    assert played(own) == once


def test_restart_plays_all_again(stage, own):
    """From an empty log and a store that is filled anew."""
    stage.play(most=5)
    names = {row[0] for row in exposures(own)}
    assert stage.play(most=5, restart=True).rows == 5
    assert names.isdisjoint(row[0] for row in exposures(own))
    assert len(exposures(own)) == 5
    assert stage.materialized == [RELEASED, RELEASED]


def test_pages_of_another_kind_are_not_mixed_in(stage):
    """Another --k or --task than the pages before had needs a restart."""
    stage.play(most=5, k=7)
    for more in ({}, {"k": 7, "task": "discover"}):
        says = "The replay of engine has shown --k 7 --task all; go on with these, or give --restart to play"
        with pytest.raises(ReplayError, match=says):
            stage.play(**more)
    assert stage.play(most=6, k=7).rows == 1
    assert stage.play(most=6, restart=True, task="discover").rows == 6


def test_two_replays_do_not_play_at_once(stage):
    """The second hears who plays, and changes nothing."""
    stage.play(most=2)
    busy = pytest.raises(StateIsBusyError, match=f"Process {os.getpid()} is writing to .*/replays; wait")
    with writer_lock(replace(stage.settings, state=stage.settings.state / "replays")), busy:
        stage.play(restart=True)
    assert stage.play(most=2).rows == 0


def test_a_server_that_is_gone_is_told():
    """No answer is one line that says to run the command again."""
    client = Client(f"http://127.0.0.1:{free_port()}")
    says = r"No answer to PUT /clock \(.*refused\); run the same command again"
    with pytest.raises(ReplayError, match=says):
        client.ask("PUT", "/clock", {})
