"""Which arms answer: by files that come, change, break and go while requests are answered."""

import logging

import pytest
from shop_of_arms import READER, USERS, arm, refused, shop_of_arms
from tiny_release import NOW

from bentos.experiments import ExperimentError


@pytest.fixture
def shop(release, tmp_path):
    """An installation without experiments."""
    with shop_of_arms(release, tmp_path) as shop:
        yield shop


def in_arms(arms):
    """The arms of users who are in one."""
    return {user: found for user in USERS if (found := arm(arms, user))}


def test_experiments_come_change_break_and_go(shop, caplog):
    """Each look takes what is there; a broken file is told once, and what was valid last stays in force."""
    arms = shop.arms()
    assert {arm(arms, user) for user in USERS} == {None}
    shop.run()
    assert {arm(arms, user) for user in USERS} == {None}
    arms.look(0)
    before = {user: arm(arms, user) for user in USERS}
    assert set(before.values()) == {"old", "new"}
    assert {arms.of(user, NOW).legacy for user in USERS if before[user] == "old"} == {"segment"}
    assert {arms.of(user, NOW).legacy for user in USERS if before[user] == "new"} == {None}
    shop.run(ramp=0.3)
    arms.look(0)
    after = in_arms(arms)
    assert 30 < len(after) < 90
    assert after.items() <= before.items()
    shop.run(ramp=3)
    with caplog.at_level(logging.WARNING, "bentoml.endcap"):
        for _ in range(3):
            arms.look(0)
    assert in_arms(arms) == after
    assert refused() == 1
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith("experiments refused, the last valid ones stay in force: ")
    assert told.endswith("experiments.engine.ramp is 3: Input should be less than or equal to 1")
    shop.settings.experiments_file.unlink()
    arms.look(0)
    assert (refused(), {arm(arms, user) for user in USERS}) == (0, {None})
    assert arms.of("ann", NOW).release is shop.release


def test_without_experiments_the_own_release_answers(shop):
    """Under the rules in force, with no arm, no legacy rule and nothing to explore."""
    found = shop.arms().of("ann", NOW)
    assert (found.release, found.features, found.legacy, found.explore) == (shop.release, READER, None, None)
    assert (found.assigned.arms, found.assigned.forced) == ({}, False)


REFUSED = [
    ("{old: {share: 1}, new: {share: 0, release: 'endcap-release:gone'}}", "release 'endcap-release:gone': "),
    ("{old: {share: 1}, new: {share: 0, release: '../up'}}", "release '../up': "),
    ("{old: {share: 1}, new: {share: 0, rules: gone.yaml}}", "rules 'gone.yaml': "),
    (
        "{old: {share: 1}, new: {share: 0, rules: cap.yaml}}",
        "rules 'cap.yaml': category_cap.share is 3; use a",
    ),
    (
        "{old: {share: 1}, new: {share: 0, rules: north.yaml}}",
        "'north.yaml': blocked.departments has 'nroth'; ",
    ),
    ("{old: {share: 1}, new: {share: 1}}", ": experiments.engine: the arms' shares add up to 2; make that 1"),
]


@pytest.mark.parametrize(("text", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_what_cannot_be_used_is_an_error_at_the_start_and_changes_nothing_later(shop, text, says, caplog):
    """One line that names the experiment file, and what is wrong in it or in what it names."""
    shop.write("cap.yaml", "category_cap: {share: 3}\n")
    shop.write("north.yaml", "blocked: {departments: [nroth]}\n")
    shop.run(text)
    with pytest.raises(ExperimentError) as error:
        shop.arms()
    assert str(error.value).startswith(f"{shop.settings.experiments_file}: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    shop.run()
    arms = shop.arms()
    in_force = arms.in_force
    shop.run(text)
    with caplog.at_level(logging.WARNING, "bentoml.endcap"):
        arms.look(0)
    assert arms.in_force is in_force
    assert refused() == 1
    assert [says in record.getMessage() for record in caplog.records] == [True]


def test_any_failure_to_open_a_release_is_told(shop, caplog):
    """Also one that nobody thought of; of the releases opened before it none is followed."""
    arms = shop.arms()
    shop.run("{old: {share: 0, release: other-1}, new: {share: 1, release: shaky}}")
    with caplog.at_level(logging.WARNING, "bentoml.endcap"):
        arms.look(0)
    assert refused() == 1
    assert "a disk has gone" in caplog.text
    assert ([tag for tag, _ in shop.opened], shop.watched()) == (["other-1"], [])


def test_a_rollout_stands_over_the_file_and_is_followed(shop, caplog):
    """It ramps and settles; broken, it changes nothing; gone, the file's own ramp is back."""
    shop.run(ramp=1)
    shop.write("rollouts.json", '{"engine": {"ramp": 0}}')
    arms = shop.arms()
    assert {arm(arms, user) for user in USERS} == {None}
    shop.write("rollouts.json", '{"engine": {"ramp": 0.5}}')
    arms.look(0)
    assert 60 < sum(arm(arms, user) is not None for user in USERS) < 140
    shop.write("rollouts.json", '{"engine": {"ramp": 0.5, "settled": "old"}}')
    arms.look(0)
    assert {arm(arms, user) for user in USERS} == {None}
    assert {arms.of(user, NOW).legacy for user in USERS} == {"segment"}
    with caplog.at_level(logging.WARNING, "bentoml.endcap"):
        for broken in ('{"engine": {"ramp": 2}}', "{", '{"engine": {"ramp": 1, "settled": "older"}}'):
            shop.write("rollouts.json", broken)
            arms.look(0)
            assert refused() == 1
            assert {arms.of(user, NOW).legacy for user in USERS} == {"segment"}
    assert len(caplog.records) == 3
    shop.settings.rollouts_file.unlink()
    arms.look(0)
    assert {arm(arms, user) for user in USERS} == {"old", "new"}


def test_a_tester_is_given_what_they_force_or_told_what_there_is(shop):
    """Also before any experiment is there."""
    with pytest.raises(ExperimentError, match="There is no experiment 'engine'; use none is defined"):
        shop.arms().of("ann", NOW, {"engine": "old"})
    shop.run()
    arms = shop.arms()
    assert [arms.of(user, NOW, {"engine": "old"}).legacy for user in USERS[:9]] == ["segment"] * 9
    assert arms.of("ann", NOW, {"engine": "new"}).assigned.forced
