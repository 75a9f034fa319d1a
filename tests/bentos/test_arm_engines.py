"""What an arm answers with: its release and its rules, over what is in force without it, as one whole."""

import sys
import threading

import pytest
from shop_of_arms import OTHER_READER, READER, USERS, arm, refused, shop_of_arms
from tiny_release import NOW

from bentos.recommend import recommend
from bentos.rule_file import hash_of
from bentos.rule_parameters import checked_rules


@pytest.fixture
def shop(release, tmp_path):
    """An installation without experiments."""
    with shop_of_arms(release, tmp_path) as shop:
        yield shop


RULES = "{old: {share: 0.5}, new: {share: 0.5, rules: arms/block.yaml}}"


def rules_of(shop, **more):
    """The release's rules with others over them."""
    return {**shop.release.rules, **checked_rules(more)}


def test_an_arms_rules_stand_over_the_operators_and_those_over_the_releases(shop):
    """Each rule is that of the last file that names it, as that is now, and made once for all users."""
    (shop.settings.state / "arms").mkdir()
    shop.write("arms/block.yaml", "blocked: {item_ids: [i00]}\n")
    shop.write("rules.yaml", "blocked: {item_ids: [i01]}\nin_basket: {enabled: true}\n")
    shop.rules.look(0)
    shop.run(RULES)
    arms = shop.arms()
    new, old = ([user for user in USERS if arm(arms, user) == each] for each in ("new", "old"))

    def blocked(users):
        (found,) = {
            id(release): release for release in (arms.of(user, NOW).release for user in users)
        }.values()
        assert found.rules_from == hash_of(found.rules)
        return found.rules

    basket = {"enabled": True}
    assert blocked(old) == rules_of(shop, blocked={"item_ids": ["i01"]}, in_basket=basket)
    assert blocked(new) == rules_of(shop, blocked={"item_ids": ["i00"]}, in_basket=basket)
    shop.write("rules.yaml", "diversity: {departments: 2}\n")
    shop.rules.look(0)
    assert blocked(old) == rules_of(shop, diversity={"departments": 2})
    assert blocked(new) == rules_of(shop, blocked={"item_ids": ["i00"]}, diversity={"departments": 2})
    shop.write("arms/block.yaml", "blocked: {item_ids: [i07]}\n")
    arms.look(0)
    assert blocked(new) == rules_of(shop, blocked={"item_ids": ["i07"]}, diversity={"departments": 2})


def test_a_rule_file_that_was_missing_is_taken_when_it_comes(shop):
    """In whichever order the two files are written."""
    shop.run()
    arms = shop.arms()
    shop.run("{old: {share: 0}, new: {share: 1, rules: block.yaml}}")
    arms.look(0)
    assert refused() == 1
    arms.look(0)
    shop.write("block.yaml", "blocked: {item_ids: [i00]}\n")
    arms.look(0)
    assert refused() == 0
    found = arms.of("ann", NOW)
    answer = recommend(found.release, found.features, "nobody", k=1, task="all", now=NOW)
    assert answer.slots[0].item_id == "i01"


def test_an_arms_release_is_opened_once_and_followed_while_it_is_named(shop):
    """With features of its own; the current release is not opened again, and one that is gone rests."""
    own = shop.release.tag
    shop.run(f"{{old: {{share: 0.5, release: '{own}'}}, new: {{share: 0.5, release: other-1}}}}")
    arms = shop.arms()
    found = {arm(arms, user): arms.of(user, NOW) for user in USERS}
    assert found["old"].release is shop.release
    assert found["old"].features is READER
    assert found["new"].release.tag == "other-1"
    assert found["new"].features is OTHER_READER
    shop.run("{old: {share: 0, release: other-2}, new: {share: 1, release: other-1}}")
    arms.look(0)
    assert [tag for tag, _ in shop.opened] == ["other-1", "other-2"]
    assert shop.watched() == ["other-1", "other-2"]
    shop.write("rules.yaml", "blocked: {item_ids: [i00]}\n")
    shop.opened[0][1].look(0)
    assert arms.of("ann", NOW).release.rules["blocked"]["item_ids"] == ["i00"]
    shop.run("{old: {share: 0, release: other-2}, new: {share: 1}}")
    arms.look(0)
    assert shop.watched() == ["other-2"]


def test_an_arms_engine_replaces_the_settled_one(shop):
    """A release is not answered by the legacy rule that was settled for before it."""
    text = """
layers: {page: {}, other: {}}
experiments:
  before: {layer: page, control: old, primary: ctr, start: 2023-01-01T00:00:00Z, end: 2024-01-01T00:00:00Z,
           settled: old, arms: {old: {share: 1, FIRST}, new: {share: 0}}}
  engine: {layer: other, control: old, primary: ctr, start: 2024-01-01T00:00:00Z,
           arms: {old: {share: 0}, new: {share: 1, SECOND}}}
"""
    legacy, other = "legacy: segment", "release: other-1"
    for first, second, expected in [
        (legacy, other, ("other-1", None)),
        (other, legacy, ("other-1", "segment")),
        (legacy, "rules: null", (shop.release.tag, "segment")),
        (legacy, "legacy: buy_again", (shop.release.tag, "buy_again")),
    ]:
        shop.write("experiments.yaml", text.replace("FIRST", first).replace("SECOND", second))
        found = shop.arms().of("ann", NOW)
        assert (found.release.tag, found.legacy) == expected
        assert (found.assigned.arms, found.assigned.settled) == ({"engine": "new"}, {"before": "old"})


def test_requests_during_a_change_see_one_state(shop):
    """Two files in turn, each with an experiment, release and rules: never one's arm, the other's rules."""
    shop.write("a.yaml", "blocked: {item_ids: [i00]}\n")
    shop.write("b.yaml", "blocked: {item_ids: [i01]}\n")
    states = {"a": ("other-a", ["i00"]), "b": ("other-b", ["i01"])}
    shop.run("{old: {share: 0}, new: {share: 1, release: other-a, rules: a.yaml}}", name="a")
    arms, wrong, counts, stop = shop.arms(), [], {"a": 0, "b": 0}, threading.Event()

    def ask():
        while not stop.is_set():
            found = arms.of("ann", NOW)
            (name,) = found.assigned.arms
            counts[name] += 1
            if (found.release.tag, found.release.rules["blocked"]["item_ids"]) != states[name]:
                wrong.append(found)

    threads, interval = [threading.Thread(target=ask) for _ in range(3)], sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    for thread in threads:
        thread.start()
    for turn in range(60):
        name = "ba"[turn % 2]
        shop.run(
            f"{{old: {{share: 0}}, new: {{share: 1, release: other-{name}, rules: {name}.yaml}}}}", name=name
        )
        arms.look(0)
    stop.set()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert not wrong
    assert min(counts.values()) > 20
