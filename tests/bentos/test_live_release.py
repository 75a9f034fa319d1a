"""The current release while the pointer moves, and while what it points to cannot be used."""

import logging
from dataclasses import replace

import pytest
from prometheus_client import REGISTRY
from shop_of_arms import Shop
from tiny_release import NOW

from bentos.arms import Arms
from bentos.current_release import set_current
from bentos.ladder import FeaturesUnavailableError


class Reader:
    """Features of a store that may be out of order."""

    def __init__(self):
        self.error = None

    def check(self):
        """Nothing, or what is wrong."""
        if self.error:
            raise self.error


@pytest.fixture
def shop(release, tmp_path):
    """A shop that serves `first`; its stub opens other-… releases over a reader of the test's."""
    shop = Shop(replace(release, tag="first"), tmp_path)
    shop.reader = Reader()
    opened = shop.open
    shop.open = lambda tag: replace(opened(tag), features=shop.reader)
    set_current(shop.settings, "first")
    return shop


def refused():
    """What the gauge says."""
    return REGISTRY.get_sample_value("endcap_release_refused")


def test_the_pointer_is_followed(shop):
    """A look takes the release that is current then, whole; the same one is not opened again."""
    live = shop.live()
    before = live.engine
    set_current(shop.settings, "other-1")
    assert live.engine is before
    live.look(0)
    assert (live.engine.release.tag, live.engine.features) == ("other-1", shop.reader)
    assert before.release.tag == "first"
    set_current(shop.settings, "other-1")
    live.look(0)
    assert [tag for tag, _ in shop.opened] == ["other-1"]
    assert REGISTRY.get_sample_value("endcap_release_info", {"release": "other-1"}) == 1
    assert REGISTRY.get_sample_value("endcap_release_info", {"release": "first"}) == 0


@pytest.mark.parametrize(
    ("tag", "says"), [("endcap-release:gone", "not in the model store"), ("shaky", "a disk has gone")]
)
def test_a_release_that_cannot_be_used_changes_nothing(shop, tag, says, caplog):
    """The old one stays, and log and gauge say why; the next one is taken."""
    live = shop.live()
    before = live.engine
    set_current(shop.settings, tag)
    with caplog.at_level(logging.WARNING):
        live.look(0)
    assert live.engine is before
    assert says in caplog.text
    assert refused() == 1
    set_current(shop.settings, "other-2")
    live.look(0)
    assert (live.engine.release.tag, refused()) == ("other-2", 0)


def test_going_back_from_a_refused_release_ends_the_alarm(shop, caplog):
    """The pointer is at what is served again: the gauge is 0, and the same one refused anew is told anew."""
    live = shop.live()
    with caplog.at_level(logging.WARNING):
        for tag, says in (("shaky", 1), ("first", 0), ("shaky", 1)):
            set_current(shop.settings, tag)
            live.look(0)
            assert refused() == says
    assert live.engine.release.tag == "first"
    assert caplog.text.count("a disk has gone") == 2


def test_a_pointer_that_moved_while_the_first_release_was_loaded_is_followed(shop):
    """A worker reads the tag, loads for seconds, and only then follows: what came between is not missed."""
    set_current(shop.settings, "other-6")
    live = shop.live()
    assert live.engine.release.tag == "first"
    live.look(0)
    assert live.engine.release.tag == "other-6"


def test_a_release_waits_for_a_store_that_does_not_answer(shop, caplog):
    """It is tried again at each look, and told once; one that lacks its features is not asked again."""
    live = shop.live()
    shop.reader.error = FeaturesUnavailableError("the store is away")
    set_current(shop.settings, "other-3")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            live.look(0)
    assert caplog.text.count("the store is away") == 1
    assert live.engine.release.tag == "first"
    shop.reader.error = None
    live.look(0)
    assert live.engine.release.tag == "other-3"
    shop.reader.error = ValueError("the release needs more")
    set_current(shop.settings, "other-4")
    opened = len(shop.opened)
    for _ in range(3):
        live.look(0)
    assert len(shop.opened) == opened + 1


def test_arms_keep_the_release_that_they_name(shop):
    """An arm of the release that was current keeps it when another one is; others get the new one."""
    shop.run("{old: {share: 0.5, release: first}, new: {share: 0.5}}")
    live = shop.live()
    arms = Arms(shop.settings, live, shop.open)
    live.switched = arms.switched
    first = live.engine
    set_current(shop.settings, "other-5")
    live.look(0)
    tags = {
        arms.of(f"u{n}", NOW).assigned.arms["engine"]: arms.of(f"u{n}", NOW).release.tag for n in range(50)
    }
    assert tags == {"old": "first", "new": "other-5"}
    assert not first.rules._stopped.is_set()
    shop.run("{old: {share: 0.5, legacy: segment}, new: {share: 0.5}}")
    arms.look(0)
    assert first.rules._stopped.is_set()
    assert not live.engine.rules._stopped.is_set()
