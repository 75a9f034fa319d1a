"""The trail of a rollout outlives what may happen to who writes it: it is whole, and ahead of the file."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import jobs.experiments.trail as module
from bentos.rollouts import Rollout, load_rollouts, save_rollouts
from feature_repo.settings import Settings
from jobs.experiments.trail import Look, RolloutError, alone, keep, last_look, lock_file, publish, trail_file

ROOT = Path(__file__).resolve().parents[3]
KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from bentos.rollouts import load_rollouts
from feature_repo.settings import Settings
from jobs.experiments.trail import Look, keep, last_look, publish, trail_file

settings, kills = Settings(state=Path(sys.argv[1]), reports=Path(sys.argv[1])), int(sys.argv[2])
chance, begun, cut, behind = random.Random(7), 1, 0, 0
started = time.perf_counter()
keep(settings, "engine", Look("0", "start", "", 0.5, 0.0, None, None))
took = time.perf_counter() - started
for kill in range(kills):
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        publish(settings, "engine", last_look(settings, "engine"))
        for n in range(begun, 10**6):
            look = Look(str(n), "advance", "x" * 9_000, 0.5, n / 10**6, None, None, {"a": n})
            keep(settings, "engine", look)
            os.write(tell, b".")
    os.close(tell)
    time.sleep(chance.uniform(0.0, 8 * took))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    kept = begun
    while told_of := len(os.read(told, 65_536)):
        kept += told_of
    os.close(told)
    last, content = last_look(settings, "engine"), trail_file(settings, "engine").read_bytes()
    begun = int(last.looked_at) + 1
    assert kept <= begun <= kept + 1, (kept, begun)         # what was kept is there, and at most one more
    followed = load_rollouts(settings.rollouts_file)        # whole, whenever it was
    place = round(followed["engine"].ramp * 10**6)
    assert place in (begun - 1, begun - 2), (place, begun)  # the file is never ahead of the trail
    cut, behind = cut + (content[-1:] != b"\\n"), behind + (place == begun - 2)
print(begun, cut, behind)
"""


@pytest.fixture
def settings(tmp_path):
    """Settings of an empty state folder."""
    return Settings(state=tmp_path, reports=tmp_path)


def look(n=1, **changes):
    """The n-th look."""
    plain = {
        "looked_at": f"2018-01-0{n}T00:00:00+00:00",
        "action": "advance",
        "reason": "no harm",
        "share": 0.05 * n,
    }
    since = "2017-12-05T05:00:00+00:00"
    return Look(
        **{**plain, "ramp": 0.1 * n, "settled": None, "since": since, "users": {"a": n, "b": 2}, **changes}
    )


def test_a_line_holds_what_an_audit_needs(settings):
    """When, what, why, who gets what since when, and users by arm; read back it is the look."""
    keep(settings, "engine", look(1))
    keep(settings, "engine", look(2, action="stop", settled="a"))
    first, second = (json.loads(line) for line in trail_file(settings, "engine").read_text().splitlines())
    assert first == {
        "looked_at": "2018-01-01T00:00:00+00:00",
        "action": "advance",
        "reason": "no harm",
        "share": 0.05,
        "ramp": 0.1,
        "settled": None,
        "since": "2017-12-05T05:00:00+00:00",
        "users": {"a": 1, "b": 2},
    }
    assert (second["action"], second["settled"]) == ("stop", "a")
    assert last_look(settings, "engine") == look(2, action="stop", settled="a")
    assert load_rollouts(settings.rollouts_file) == {"engine": Rollout(ramp=0.2, settled="a")}


def test_the_trail_is_on_the_disk_before_the_file(settings, monkeypatch):
    """As the file is about to be written, the line can be read and was synced."""
    synced = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), sync(descriptor)))

    def save(path, rollouts):
        assert len(synced) == 1
        assert last_look(settings, "engine") == look()
        save_rollouts(path, rollouts)

    monkeypatch.setattr(module, "save_rollouts", save)
    keep(settings, "engine", look())
    assert len(synced) == 2


@pytest.mark.parametrize(
    "half", [b"{", b'{"looked_at": "2018', json.dumps(vars(look(3))).encode(), b"\x00" * 30]
)
def test_a_line_that_was_cut_off_is_none(settings, half):
    """It is not read, and the next look stands in its place."""
    keep(settings, "engine", look(1))
    with trail_file(settings, "engine").open("ab") as file:
        file.write(half)
    assert last_look(settings, "engine") == look(1)
    keep(settings, "engine", look(2))
    lines = trail_file(settings, "engine").read_text().splitlines()
    assert [json.loads(line)["share"] for line in lines] == [0.05, 0.1]


def test_only_a_line_that_was_cut_off_is_no_look(settings):
    """A trail whose first look was never finished has not begun."""
    assert last_look(settings, "engine") is None
    trail_file(settings, "engine").parent.mkdir()
    trail_file(settings, "engine").write_bytes(b'{"looked_at"')
    assert last_look(settings, "engine") is None
    keep(settings, "engine", look(1))
    assert last_look(settings, "engine") == look(1)


@pytest.mark.parametrize("line", ["[]", "{}", "null", "oops", '{"looked_at": "then", "speed": 2}'])
def test_a_line_that_is_no_look_is_refused(settings, line):
    """Rather than an older one taken for what holds; which file and line, and what to do."""
    keep(settings, "engine", look(1))
    path = trail_file(settings, "engine")
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(RolloutError) as refused:
        last_look(settings, "engine")
    said = str(refused.value)
    assert said.startswith(f"{path}: line 2 is no look (")
    assert said.endswith("; mend it, or take it out, and the one before holds")
    assert len(said.splitlines()) == 1


def test_killed_at_any_moment_both_files_can_be_read(tmp_path):
    """Of a process that keeps looks, killed 40 times: all that it had kept is there, the file is whole."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path, "40"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    looks, cut, behind = map(int, done.stdout.split())
    assert looks > 10, f"{looks} looks kept, {cut} lines cut off, {behind} times no file yet of the last"


def test_the_file_keeps_other_rollouts(settings):
    """Those that it has, and those that it lacks and that have a trail: moved away, it is made again."""
    save_rollouts(settings.rollouts_file, {"boost": Rollout(ramp=0.3), "older": Rollout(ramp=1, settled="b")})
    keep(settings, "engine", look(1))
    keep(settings, "prices", look(2, settled="b"))
    every = load_rollouts(settings.rollouts_file)
    assert every == {
        "boost": Rollout(ramp=0.3),
        "older": Rollout(ramp=1, settled="b"),
        "engine": Rollout(ramp=0.1),
        "prices": Rollout(ramp=0.2, settled="b"),
    }
    settings.rollouts_file.unlink()
    publish(settings, "engine", look(4))
    assert load_rollouts(settings.rollouts_file) == {
        "engine": Rollout(ramp=0.4),
        "prices": every["prices"],
    }


def test_a_file_that_says_it_already_is_not_written_again(settings):
    """A service that follows it would read all files anew for nothing."""
    keep(settings, "engine", look(1))
    before = settings.rollouts_file.stat()
    keep(settings, "engine", look(1, action="wait"))
    after = settings.rollouts_file.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_rollouts_that_are_kept_at_one_time_lose_nothing(settings):
    """Four experiments, 25 looks each, from threads: the file ends with the last of each."""

    def go_on(name):
        for n in range(25):
            keep(settings, name, look(1, ramp=(n + 1) / 25))

    names = ("engine", "prices", "boost", "older")
    threads = [threading.Thread(target=go_on, args=(name,)) for name in names]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert load_rollouts(settings.rollouts_file) == {name: Rollout(ramp=1) for name in names}


def test_a_second_look_at_one_rollout_is_refused(settings):
    """In one line; another rollout may be looked at, and when the first is done all is as before."""
    path = lock_file(settings, "engine")
    with alone(path, wait=False):
        with (
            pytest.raises(
                RolloutError, match="Another `endcap rollout engine` is at work; wait until it is done"
            ),
            alone(path, wait=False),
        ):
            pass
        with alone(lock_file(settings, "prices"), wait=False):
            pass
    with alone(path, wait=False):
        pass


def test_who_waits_comes_next(settings):
    """A person's stop is not turned away by a look that takes its time."""
    path, order = lock_file(settings, "engine"), []

    def wait():
        with alone(path, wait=True):
            order.append("second")

    with alone(path, wait=False):
        other = threading.Thread(target=wait)
        other.start()
        time.sleep(0.1)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
