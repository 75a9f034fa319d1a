"""Replays of some trips of the real slice against real servers, cut off where a test wants it."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from feature_repo.shop_calendar import ShopCalendar
from jobs.experiments.replay_state import played_from, prepare, replay_settings
from jobs.experiments.trips import recorded_trips

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = """
layers: {page: {holdout: 0.1}}
experiments:
  engine:
    {layer: page, control: segment, primary: ctr, start: 2017-12-04T05:00:00Z,
     arms: {segment: {share: 0.3, legacy: segment}, engine: {share: 0.3},
            drawn: {share: 0.4, explore: {slots: 2, temperature: 1.0}}}}
"""
RETURN, NEW = 10, 14  # shoppers who come again in the first week, trips of the second
COPIED = ("current", "registry.db", "online_store.db")


def linked(installation, folder):
    """Settings of a state folder over the installation's tables, features and release, with an experiment."""
    folder.mkdir()
    for name in ("tables", "features"):
        (folder / name).symlink_to(installation.state / name)
    for name in COPIED:
        shutil.copy2(installation.state / name, folder / name)
    (folder / "experiments.yaml").write_text(EXPERIMENTS)
    return replace(installation, state=folder, reports=folder.parent / "reports")


def chosen(settings):
    """All trips in the first week of ten shoppers who came more than once in it, some of the second week."""
    calendar = ShopCalendar.load(settings.shop_calendar)
    trips = recorded_trips(settings.table("transactions"), after=played_from(settings))
    week = calendar.week_at(trips[0].paid_at)
    first = [trip for trip in trips if calendar.week_at(trip.paid_at) == week]
    users = [trip.user_id for trip in first]
    again = [user for user in dict.fromkeys(users) if users.count(user) > 1][:RETURN]
    second = [trip for trip in trips if calendar.week_at(trip.paid_at) == week + 1][:NEW]
    return [trip for trip in first if trip.user_id in again] + second


def begun(settings, template):
    """Let a replay stand where another one stood when it had begun."""
    own = replay_settings(settings, "engine")
    own.state.parent.mkdir()
    shutil.copytree(template, own.state, symlinks=True)


def template_of(settings, folder):
    """Begin a replay, and keep what it begins with."""
    shutil.copytree(prepare(settings, "engine", restart=False).state, folder, symlinks=True)
    return folder


def kill_servers(own):
    """SIGKILL for every process that serves a replay's state, known by the environment it was given."""
    ours = f"ENDCAP_STATE={own.state}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if ours in entry.read_bytes().split(b"\0"):
                os.kill(int(entry.parent.name), signal.SIGKILL)


DRIVER = """
import os, signal, sys
from pathlib import Path
from feature_repo.settings import Settings
from jobs.experiments import replay
state, reports, path, nth, *baskets = sys.argv[1:]
every, ask, left = replay.recorded_trips, replay.Client.ask, iter(range(int(nth), -1, -1))
def killing(*request):
    if request[2] == path and next(left) == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return ask(*request)
replay.Client.ask = killing
replay.recorded_trips = lambda *a, **k: [trip for trip in every(*a, **k) if trip.basket_id in baskets]
replay.run(Settings(state=Path(state), reports=Path(reports)), "engine", every_arm=True, say=print)
"""


def play_and_die(settings, trips, path, nth):
    """Play trips in a process that is killed before its nth request to a path, counted from 0."""
    told = (settings.state, settings.reports, path, nth, *(trip.basket_id for trip in trips))
    command = [sys.executable, "-c", DRIVER, *map(str, told)]
    done = subprocess.run(command, cwd=ROOT, check=False, stderr=subprocess.PIPE)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
