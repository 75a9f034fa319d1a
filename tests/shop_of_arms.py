"""A folder of experiments, and arms that follow it over the tiny release, without any store."""

import threading
from contextlib import contextmanager
from dataclasses import replace

from prometheus_client import REGISTRY
from tiny_release import NOW, InMemory, user_row

from bentos.arms import Arms
from bentos.live_release import Engine, LiveRelease
from bentos.live_rules import LiveRules
from bentos.release import stored_model
from feature_repo.settings import Settings

USERS = [f"u{number}" for number in range(200)]
READER, OTHER_READER = InMemory({"ann": user_row()}), InMemory({})
HALVES = "{old: {share: 0.5, legacy: segment}, new: {share: 0.5}}"


class Shop:
    """An installation's files, and arms that follow them over the tiny release."""

    def __init__(self, release, state):
        self.release, self.settings, self.opened = release, Settings(state=state, reports=state), []
        self.rules = LiveRules(release, self.settings.rules_file)

    def open(self, tag):
        """A stub of `Endcap.engine_of`: the same release under another tag."""
        if tag == "shaky":
            raise OSError("a disk has gone")
        if not tag.startswith("other"):
            stored_model(tag)
        engine = Engine(LiveRules(replace(self.release, tag=tag), self.settings.rules_file), OTHER_READER)
        self.opened.append((tag, engine.rules))
        return engine

    def live(self):
        """The current release, followed."""
        return LiveRelease(self.settings, Engine(self.rules, READER), self.open)

    def arms(self):
        """Arms as a worker makes them."""
        return Arms(self.settings, self.live(), self.open)

    def write(self, name, text):
        """Write a file of the state folder aside and rename it."""
        aside = self.settings.state / "aside"
        aside.write_text(text)
        aside.replace(self.settings.state / name)

    def run(self, arms=HALVES, *, name="engine", **more):
        """Write an experiment on all users."""
        lines = "".join(f", {key}: {value}" for key, value in more.items())
        self.write(
            "experiments.yaml",
            f"layers: {{page: {{}}}}\nexperiments:\n  {name}: {{layer: page, control: old, primary: ctr,"
            f" start: 2024-01-01T00:00:00Z, arms: {arms}{lines}}}\n",
        )

    def watched(self):
        """Tags of the releases, beside the current one, whose rules a thread follows."""
        alive = [thread for thread in threading.enumerate() if thread.name == self.settings.rules_file.name]
        watching = {thread._target.__self__ for thread in alive}
        return sorted(tag for tag, rules in self.opened if rules in watching and not rules._stopped.is_set())


@contextmanager
def shop_of_arms(release, state):
    """An installation without experiments; no thread stays."""
    shop = Shop(release, state)
    yield shop
    for _, rules in shop.opened:
        rules.stop()


def arm(arms, user, name="engine"):
    """The arm that a user is in."""
    return arms.of(user, NOW).assigned.arms.get(name)


def refused():
    """What the gauge says."""
    return REGISTRY.get_sample_value("endcap_experiments_refused")
