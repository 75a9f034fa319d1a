"""The pointer to the current release and its history."""

import json
import random

import pytest

from bentos.current_release import current_tag, fallbacks, history, set_current
from bentos.release import ReleaseError
from feature_repo.settings import Settings


@pytest.fixture
def settings(tmp_path):
    """An installation without a release."""
    return Settings(state=tmp_path, reports=tmp_path)


def publish(settings, *tags):
    """Make releases current, one after the other."""
    for tag in tags:
        set_current(settings, tag)


def test_a_fallback_is_what_was_current_before_the_publication(settings):
    """Nearest first; a release that is published again counts as of its last time."""
    with pytest.raises(ReleaseError, match="run `endcap publish`"):
        fallbacks(settings)
    publish(settings, "a", "b", "c")
    assert fallbacks(settings) == ["b", "a"]
    publish(settings, "a")
    assert fallbacks(settings) == ["c", "b"]


def test_rolling_back_twice_goes_further_back(settings):
    """And a release that is published after that stands over the one that was rolled back to."""
    publish(settings, "a", "b", "c")
    set_current(settings, "b", why="empty pages", rolled_back=True)
    assert fallbacks(settings) == ["a"]
    set_current(settings, "a", rolled_back=True)
    assert fallbacks(settings) == []
    publish(settings, "d")
    assert fallbacks(settings) == ["a"]
    assert [(move.tag, move.before) for move in history(settings)] == [
        ("a", None),
        ("b", "a"),
        ("c", "b"),
        ("b", "c"),
        ("a", "b"),
        ("d", "a"),
    ]
    assert history(settings)[3].why == "empty pages"


def test_random_moves_are_a_stack(settings):
    """Against a list that publications push to and roll-backs pop from."""
    draw, stack = random.Random(5), ["t0"]
    publish(settings, "t0")
    for n in range(1, 200):
        if len(stack) > 1 and draw.random() < 0.45:
            stack.pop()
            set_current(settings, fallbacks(settings)[0], rolled_back=True)
        else:
            stack.append(f"t{n}")
            publish(settings, f"t{n}")
        assert (current_tag(settings), fallbacks(settings)) == (stack[-1], stack[-2::-1])


def test_a_move_that_a_crash_cut_off_is_none(settings, monkeypatch):
    """Noted but not made, or noted by half: the release that is current stays the one to go back from."""
    publish(settings, "a", "b")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        set_current(settings, "c")
    monkeypatch.undo()
    assert (current_tag(settings), fallbacks(settings)) == ("b", ["a"])
    with settings.release_history.open("ab") as file:
        file.write(b'{"at": "2017')
    assert fallbacks(settings) == ["a"]
    publish(settings, "d")
    assert fallbacks(settings) == ["b", "a"]
    lines = settings.release_history.read_text().splitlines()
    assert [json.loads(line)["tag"] for line in lines] == ["a", "b", "c", "d"]


def test_a_pointer_from_before_there_was_a_history_has_no_fallback(settings):
    """It becomes one when the next is published."""
    settings.current_release.write_text("old\n")
    assert fallbacks(settings) == []
    publish(settings, "new")
    assert history(settings)[0].before == "old"
    assert fallbacks(settings) == ["old"]
