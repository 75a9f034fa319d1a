"""Rules in force while a rule file comes, changes, breaks and goes."""

import logging
import os
import time
from contextlib import contextmanager

import pytest
from prometheus_client import REGISTRY
from tiny_release import NOW, InMemory, user_row

from bentos.followed_files import EVERY_S, SETTLES_S
from bentos.live_rules import LiveRules
from bentos.recommend import recommend
from bentos.rule_file import hash_of
from bentos.rule_parameters import RulesError, checked_rules

BLOCKED = "blocked: {item_ids: [i00]}\n"
READER = InMemory({"ann": user_row()})


@pytest.fixture
def path(tmp_path):
    """Where the operator's file lies, or would."""
    return tmp_path / "rules.yaml"


def write(path, text):
    """Write aside and rename, as operators should."""
    aside = path.with_suffix(".aside")
    aside.write_text(text)
    aside.replace(path)


def refused():
    """What the gauge says."""
    return REGISTRY.get_sample_value("endcap_rules_refused")


def reloads(outcome):
    """What the counter says."""
    return REGISTRY.get_sample_value("endcap_rules_reloads_total", {"outcome": outcome}) or 0.0


def first(live):
    """The best seller under the rules in force, and whose rules the answer says they are."""
    answer = recommend(live.release, READER, "nobody", k=1, task="all", now=NOW)
    return answer.slots[0].item_id, answer.rules


def test_a_file_that_comes_changes_and_goes_is_followed(release, path):
    """Each look takes what is there: the release's rules, the file's over them, the release's again."""
    live = LiveRules(release, path)
    assert first(live) == ("i00", "release")
    before = {outcome: reloads(outcome) for outcome in ("taken", "removed")}
    write(path, BLOCKED)
    assert first(live) == ("i00", "release")
    live.look(0)
    rules = {**release.rules, **checked_rules({"blocked": {"item_ids": ["i00"]}})}
    assert first(live) == ("i01", hash_of(rules))
    assert live.release.rules == rules
    write(path, "blocked: {item_ids: [i00, i01]}\n")
    live.look(0)
    assert first(live)[0] == "i02"
    path.unlink()
    live.look(0)
    assert first(live) == ("i00", "release")
    assert live.release is release
    assert [reloads(each) - before[each] for each in ("taken", "removed")] == [2, 1]


def test_a_file_at_the_start_is_in_force_at_once(release, path):
    """No look is needed."""
    write(path, BLOCKED)
    assert first(LiveRules(release, path))[0] == "i01"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("category_cap: {share: 3}\n", "category_cap.share is 3; use a number above 0, up to 1"),
        ("blocked: {departments: [sooth]}\n", "blocked.departments has 'sooth'; use one like 'south'"),
        ("", "rules must be a mapping"),
    ],
)
def test_a_bad_file_is_refused_at_the_start_and_changes_nothing_later(release, path, text, says, caplog):
    """At the start it is an error; later the last valid rules stay, told once and by the gauge."""
    write(path, text)
    with pytest.raises(RulesError) as error:
        LiveRules(release, path)
    assert says in str(error.value)
    write(path, BLOCKED)
    live = LiveRules(release, path)
    in_force = live.release
    write(path, text)
    with caplog.at_level(logging.WARNING, "bentoml.endcap"):
        for _ in range(3):
            live.look(0)
    assert live.release is in_force
    assert refused() == 1
    assert [record.getMessage().count(says) for record in caplog.records] == [1]
    write(path, BLOCKED)
    live.look(0)
    assert refused() == 0


def test_a_refused_file_that_goes_leaves_the_releases_rules(release, path):
    """Nothing is refused any more."""
    live = LiveRules(release, path)
    write(path, "nonsense: {}\n")
    live.look(0)
    assert refused() == 1
    path.unlink()
    live.look(0)
    assert (refused(), live.release) == (0, release)


def test_a_file_that_cannot_be_read_is_not_a_file_that_is_gone(release, path):
    """A folder in its place is refused; the blocked item stays blocked."""
    write(path, BLOCKED)
    live = LiveRules(release, path)
    path.unlink()
    path.mkdir()
    live.look(0)
    assert (first(live)[0], refused()) == ("i01", 1)


def test_a_file_that_still_changes_waits(release, path, monkeypatch):
    """Half a file would be valid here; it is not taken before it stays the same."""
    live = LiveRules(release, path)
    write(path, "blocked: {item_ids: [i00]}\n")

    def more(_seconds):
        with path.open("a") as file:
            file.write("in_basket: {enabled: true}\n")
        return False

    monkeypatch.setattr(live._stopped, "wait", more)
    live.look()
    assert live.release is release
    monkeypatch.undo()
    live.look(0)
    assert live.release.rules["in_basket"] == {"enabled": True}


def test_the_same_size_and_time_in_another_file_is_seen(release, path):
    """A renamed file is another by its inode, even with the times and the size of the one before."""
    write(path, "blocked: {item_ids: [i00]}\n")
    live = LiveRules(release, path)
    stamp = path.stat()
    aside = path.with_suffix(".aside")
    aside.write_text("blocked: {item_ids: [i01]}\n")
    os.utime(aside, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    aside.replace(path)
    live.look(0)
    assert live.release.rules["blocked"]["item_ids"] == ["i01"]


def test_what_is_made_once_is_shared_and_marks_are_not(release, path):
    """New rules cost no new arrays of the catalogue but their own marks."""
    made = []
    release.once("something", lambda _: made.append(1))
    write(path, BLOCKED)
    live = LiveRules(release, path)
    live.release.once("something", lambda _: made.append(2))
    assert made == [1]
    marks = [each.once_under_rules("marks", lambda _: None) for each in (release, live.release)]
    assert marks[0] is None
    assert marks[1].wanted.tolist() == [False] + [True] * 19


@contextmanager
def watching(live):
    """A thread that follows the file while the block lasts."""
    live.watch()
    try:
        yield
    finally:
        live.stop()


def test_the_thread_follows_within_two_seconds_and_survives(release, path, monkeypatch):
    """Even after an error that nobody thought of."""
    live = LiveRules(release, path)
    look, failed = live.look, []

    def once_broken():
        if not failed:
            failed.append(True)
            raise MemoryError
        look()

    monkeypatch.setattr(live, "look", once_broken)
    with watching(live):
        while not failed:
            time.sleep(0.01)
        write(path, BLOCKED)
        deadline = time.monotonic() + 2
        while first(live)[0] != "i01":
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert EVERY_S + SETTLES_S < 2
