"""Other policies are judged from what was drawn: the truth of a known world is found again."""

import numpy as np
import pytest
from explored_shop import EXPERIMENTS, EXPLORE, TEMPERATURE, log

from bentos.experiments import load_experiments
from jobs.experiments.figures import Log
from jobs.experiments.off_policy import OffPolicyError, target_chances
from jobs.experiments.other_policies import drawn, policy, policy_records, run
from jobs.experiments.reward_model import reward_to_go


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Settings over 1,500 answers of 200 users, and these."""
    return log(tmp_path_factory.mktemp("explored"), 1500)


def read(settings):
    """The log and the experiment."""
    experiment = load_experiments(settings.experiments_file).named("tries")
    return Log.of(settings, experiment), experiment


def test_draws_are_those_that_were_logged(world):
    """Item by item, in the order of answers: what an answer lacks is a certain draw that earns nothing."""
    settings, answers = world
    found = drawn(*read(settings), "drawn")
    assert (found.temperature, found.rewards.shape, found.scores.shape) == (
        TEMPERATURE,
        (len(answers), 2),
        (len(answers), 5),
    )
    for row, answer in enumerate(answers):
        size, n = len(answer.pool.items), answer.pool.draws
        assert found.users[row] == answer.user_id
        assert found.scores[row, :size].tolist() == list(answer.pool.scores)
        assert (found.scores[row, size:] == -np.inf).all()
        assert tuple(found.chosen[row, :n]) == answer.drawn
        assert tuple(found.logged[row, :n]) == answer.propensities
        assert tuple(found.rewards[row, :n]) == answer.clicked
        for draw in range(n):
            able = set(np.flatnonzero(found.eligible[row, draw]).tolist())
            assert able == set(range(size)) - set(answer.drawn[:draw])
        if n < 2:
            assert (found.rewards[row, 1], found.logged[row, 1]) == (0, 1)
            assert found.eligible[row, 1].sum() == found.eligible[row, 1, found.chosen[row, 1]] == 1
    assert {len(answer.pool.items) for answer in answers} == {3, 4, 5}
    assert {answer.pool.draws for answer in answers} == {1, 2}


def test_the_policy_that_was_served_earned_what_it_earned(world):
    """By IPS and its like exactly the mean of clicks in drawn slots: every weight is one."""
    settings, answers = world
    mean = np.mean([sum(answer.clicked) for answer in answers])
    found = {each.name: each for each in policy(drawn(*read(settings), "drawn"), TEMPERATURE)}
    for name in ("ips", "snips", "clipped_ips"):
        assert found[name].value == pytest.approx(mean, abs=1e-12)
        assert found[name].ess == pytest.approx(len(answers))


@pytest.mark.parametrize("temperature", [0.0, 0.3, 2.0])
def test_estimates_cover_the_truth(world, temperature):
    """Greedy, colder and warmer: what all pages add up to is in each interval but that of the model alone."""
    settings, answers = world
    found = drawn(*read(settings), "drawn")
    truth = np.mean([answer.pool.value(temperature) for answer in answers])
    served = np.mean([answer.pool.value(TEMPERATURE) for answer in answers])
    ips, snips, clipped, direct, robust = policy(found, temperature)
    for each in (ips, snips, clipped, robust):
        assert each.low <= truth <= each.high
        assert each.high - each.low < 0.4
    assert temperature or served < min(each.low for each in (ips, snips, clipped, robust))
    assert robust.high - robust.low < ips.high - ips.low
    whole = target_chances(found.scores, found.eligible, temperature)
    told = reward_to_go(found.rewards, found.scores, whole, found.chosen, found.users)
    assert direct.value == pytest.approx(told.target[:, 0].mean())


def test_records_tell_policy_and_estimator(world):
    """The policy served and greedy, each by five estimators, as policy() has them."""
    settings, answers = world
    shown, experiment = read(settings)
    records = list(policy_records(shown, experiment))
    found = drawn(shown, experiment, "drawn")
    estimates = [*policy(found, TEMPERATURE), *policy(found, 0.0)]
    assert [each["policy"] for each in records] == ["drawn, as served"] * 5 + ["drawn, greedy"] * 5
    assert [each["method"] for each in records] == ["ips", "snips", "clipped", "dm", "dr"] * 2
    for record, each in zip(records, estimates, strict=True):
        assert (record["value"], record["low"], record["high"], record["ess"]) == (
            each.value,
            each.low,
            each.high,
            each.ess,
        )
        assert record["users"] == len({answer.user_id for answer in answers})


def test_the_table_has_a_line_for_each(world):
    """Those served, greedy, and each temperature asked for once."""
    settings, answers = world
    lines = run(settings, "tries", [0.5, 0.0, TEMPERATURE, 0.5]).splitlines()
    names = [line[:40].strip() for line in lines[1:-1]]
    assert names == [
        f"drawn, {name}" for name in ("as served", "greedy", "temperature 0.5") for _ in range(5)
    ]
    mean = np.mean([sum(answer.clicked) for answer in answers])
    assert lines[1].split()[3:5] == ["ips", f"{mean:.4f}"]


def test_mixed_temperatures_are_refused(tmp_path):
    """A changed arm is another experiment; the report goes on without these figures."""
    log(tmp_path, 30)
    settings, _ = log(tmp_path, 30, seed=2, temperature=2.0)
    says = r"drawn has drawn at temperatures \[0\.7, 2\.0\]; a changed arm is another experiment"
    with pytest.raises(OffPolicyError, match=says):
        run(settings, "tries", [])
    assert list(policy_records(*read(settings))) == []


@pytest.mark.parametrize(
    ("n", "n_users", "text", "says"),
    [
        (0, 9, EXPERIMENTS, "drawn of tries has drawn nothing yet: give it `explore` and traffic"),
        (30, 4, EXPERIMENTS, "drawn of tries has drawn for 4 users; an estimate takes 5 or more"),
        (30, 9, EXPERIMENTS.replace("drawn", "more"), "more of tries has drawn nothing yet"),
        (30, 9, EXPERIMENTS.replace(EXPLORE, "legacy: segment"),
         "No arm of tries explores; give one `explore: {slots: 2, temperature: 1.0}`"),
    ],
    ids=["no answers", "few users", "another arm", "no exploring arm"],
)  # fmt: skip
def test_a_log_that_tells_nothing_is_told_so(tmp_path, n, n_users, text, says):
    """In one line; the report goes on without these figures."""
    settings, _ = log(tmp_path, n, n_users=n_users)
    settings.experiments_file.write_text(text)
    with pytest.raises(OffPolicyError) as error:
        run(settings, "tries", [])
    assert str(error.value).startswith(says)
    assert list(policy_records(*read(settings))) == []


def test_nothing_shown_is_told(tmp_path):
    """Before the first answer of all."""
    settings, _ = log(tmp_path, 0)
    settings.exposure_log.unlink()
    with pytest.raises(OffPolicyError, match=r"Nothing was shown yet, as .*exposures\.db says; serve tries"):
        run(settings, "tries", [])
