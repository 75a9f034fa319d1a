"""Off-policy estimates against worlds whose every log can be written down; policies against SciPy."""

import doctest
from dataclasses import replace

import drawn_worlds
import numpy as np
import pytest
from drawn_worlds import PATHS, World
from scipy.special import softmax

from jobs.experiments import off_policy as module
from jobs.experiments.off_policy import (
    Draws,
    OffPolicyError,
    Predicted,
    clipped,
    direct,
    doubly_robust,
    estimates,
    ips,
    require_support,
    snips,
    softmax_policy,
    target_chances,
)


@pytest.fixture(params=[0, 1, 3])
def world(request):
    """A shopper's pool."""
    return World(request.param)


def test_examples_in_docstrings_hold():
    """Doctests of the module run."""
    assert doctest.testmod(module).failed == 0


def test_ips_is_right_on_average_over_all_logs(world):
    """Its expectation is the target's value; with propensities that were not those of the draws it is not."""
    truth = world.value(world.target)
    assert abs(world.value(world.logging) - truth) > 0.01
    assert world.expected(ips) == pytest.approx(truth, abs=1e-12)
    assert abs(world.expected(ips, told=world.strange) - truth) > 0.01


def test_doubly_robust_is_right_if_either_part_is(world):
    """By any guesses with true propensities, by true guesses with any propensities; not with neither."""
    truth, right = world.value(world.target), world.to_go(world.target)
    assert world.expected(doubly_robust, guesses=world.guesses) == pytest.approx(truth, abs=1e-12)
    assert world.expected(doubly_robust, world.strange, right) == pytest.approx(truth, abs=1e-12)
    assert abs(world.expected(doubly_robust, world.strange, world.guesses) - truth) > 0.01


def test_direct_is_as_right_as_its_model(world):
    """By true guesses the value itself, whatever was logged; by others not."""
    truth, right = world.value(world.target), world.to_go(world.target)
    assert world.expected(direct, world.strange, right) == pytest.approx(truth, abs=1e-12)
    assert abs(world.expected(direct, guesses=world.guesses) - truth) > 0.01


def test_clipping_loses_what_the_largest_weights_tell(world):
    """Its expectation is that of the lesser weights, step by step, and below the truth."""
    expected, most = 0.0, 1.2
    for path in [*{path[:1] for path in PATHS}, *PATHS]:
        steps = [path[: n + 1] for n in range(len(path))]
        likely, wanted = (np.prod([each[step] for step in steps]) for each in (world.logging, world.target))
        expected += min(wanted, most * likely) * world.clicks[path]
    assert world.expected(lambda draws: clipped(draws, most)) == pytest.approx(expected, abs=1e-12)
    assert expected < world.value(world.target) - 0.01


def test_a_table_by_hand():
    """Two answers of two draws each, reckoned on paper."""
    draws = Draws(
        rewards=np.array([[1.0, 1.0], [0.0, 1.0]]),
        logged=np.array([[0.5, 0.25], [0.5, 0.5]]),
        target=np.array([[1.0, 0.5], [0.25, 0.5]]),
        users=np.array([0, 1]),
    )
    # Weights are 2 and 4, 1/2 and 1/2: slot by slot (2 + 0) / 2 and (4 + 1/2) / 2, over means 5/4 and 9/4.
    assert ips(draws).value == pytest.approx(1 + 2.25)
    assert snips(draws).value == pytest.approx(1 / 1.25 + 2.25 / 2.25)
    assert clipped(draws, most=3).value == pytest.approx(1 + 1.75)
    assert ips(draws).ess == pytest.approx(4.5**2 / (16 + 0.25))
    predicted = Predicted(np.array([[1, 0.5], [0.5, 0]]), np.array([[0.5, 0.25], [1, 0.5]]))
    # 1/2 + 2 (1 + 1/4 - 1) + 4 (1 - 1/2) = 3, and 1 + 1/2 (0 + 1/2 - 1/2) + 1/2 (1 - 0) = 3/2.
    assert doubly_robust(draws, predicted).value == pytest.approx(2.25)
    assert direct(draws, predicted).value == pytest.approx(0.75)


def test_the_policy_that_was_logged_has_the_plain_mean():
    """Where target and log agree all weights are 1: the mean, by all five, with every answer effective."""
    rng = np.random.default_rng(0)
    rewards, chance = (rng.random((50, 3)) < 0.3).astype(float), rng.uniform(0.1, 1, (50, 3))
    draws = Draws(rewards, chance, chance, rng.integers(0, 20, 50))
    same = np.tile(rewards.mean() * np.array([3, 2, 1]), (50, 1))  # whatever stands there
    for found in estimates(draws, Predicted(same, same)):
        assert found.value == pytest.approx(rewards.sum(axis=1).mean())
        assert found.ess == pytest.approx(found.n) == 50
        assert not found.thin


def test_draws_that_an_answer_lacks_change_nothing():
    """Filled up with certain draws that earn nothing, short answers count as they are."""
    rng = np.random.default_rng(1)
    rewards, logged, target = rng.random((3, 40, 1))
    draws = Draws(rewards, logged, target, np.arange(40))
    filled = Draws(
        *(np.hstack([each, np.full((40, 2), by)]) for each, by in ((rewards, 0.0), (logged, 1), (target, 1))),
        users=draws.users,
    )
    for estimator in (ips, snips, clipped):
        assert vars(estimator(filled)) == pytest.approx(vars(estimator(draws)))


def test_few_effective_answers_are_told():
    """One answer with nearly all the weight: an effective sample of little more than one, and a warning."""
    target = np.full((40, 1), 1e-6)
    target[0] = 1.0
    draws = Draws(np.ones((40, 1)), np.full((40, 1), 0.1), target, np.arange(40))
    assert ips(draws).ess == pytest.approx(1, rel=1e-3)
    assert ips(draws).thin


def test_a_target_that_drew_no_logged_path_has_no_ratio():
    """With weights of 0 alone IPS is 0, SNIPS undefined, and no answer effective."""
    draws = Draws(np.ones((5, 2)), np.full((5, 2), 0.5), np.zeros((5, 2)), np.arange(5))
    assert (ips(draws).value, ips(draws).ess, ips(draws).thin) == (0, 0, True)
    assert np.isnan(snips(draws).value)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_a_softmax_policy_is_scipys_among_the_eligible(temperature):
    """Each logged item has the softmax of its score; so has the whole pool, and others none."""
    rng = np.random.default_rng(2)
    scores, eligible = rng.normal(size=(6, 5)), rng.random((6, 3, 5)) < 0.5
    eligible[:, :, 4] = True
    chosen = np.array([[rng.choice(np.flatnonzero(draw)) for draw in answer] for answer in eligible])
    found = softmax_policy(scores, eligible, chosen, temperature)
    for row, draw in np.ndindex(6, 3):
        places = np.flatnonzero(eligible[row, draw])
        expected = softmax(scores[row, places] / temperature)[places == chosen[row, draw]]
        assert found[row, draw] == pytest.approx(expected[0], rel=1e-12)
    whole = target_chances(scores, eligible, temperature)
    assert whole.sum(axis=-1) == pytest.approx(1)
    assert not whole[~eligible].any()


def test_at_temperature_0_the_best_is_certain():
    """The first of the best who are eligible; one without a score only where nobody has one."""
    scores = np.array([[1.0, 3.0, 3.0, np.nan]])
    eligible = np.array([[[1, 1, 1, 1], [1, 0, 1, 1], [1, 0, 0, 1], [0, 0, 0, 1]]], dtype=bool)
    found = target_chances(scores, eligible, 0)
    assert found.tolist() == [[[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]]
    assert target_chances(np.array([[1.0, 3.0, 2.0, np.nan]]), eligible, 1e-9) == pytest.approx(found)


GOOD = Draws(np.zeros((2, 2)), np.full((2, 2), 0.5), np.full((2, 2), 0.5), np.arange(2))


def with_(number):
    """Halves, one of which is another number."""
    return np.array([[0.5, 0.5], [number, 0.5]])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            {"logged": with_(0.0)},
            r"The logged propensity in answer 1, slot 0 is 0.0; use one above 0, up to 1",
        ),
        ({"logged": with_(np.nan)}, "The logged propensity in answer 1, slot 0 is nan"),
        ({"logged": with_(1.5)}, "The logged propensity in answer 1, slot 0 is 1.5"),
        ({"target": with_(-0.1)}, r"target's probability in answer 1, slot 0 is -0.1; use one from 0 to 1"),
        ({"target": with_(np.nan)}, "target's probability in answer 1, slot 0 is nan"),
        ({"target": with_(1.1)}, "target's probability in answer 1, slot 0 is 1.1"),
        ({"rewards": with_(np.inf)}, "The reward in answer 1, slot 0 is inf; use a finite number"),
        ({"rewards": np.zeros((2, 3))}, r"received shapes \[\(2, 3\), \(2, 2\)"),
        ({"users": np.arange(3)}, r"received shapes .*\(3,\)"),
        ({name: np.zeros((0, 2)) for name in ("rewards", "logged", "target")}, "received shapes"),
    ],
)
def test_a_log_that_cannot_be_is_refused(bad, message):
    """The answer, the slot and the value are named."""
    with pytest.raises(OffPolicyError, match=message):
        replace(GOOD, **bad)


def test_what_else_cannot_be_is_refused():
    """A clip of nothing, predictions of another shape or without numbers, and policies without a choice."""
    scores, eligible = np.zeros((1, 3)), np.array([[[True, False, True]]])
    for wrong, message in [
        (lambda: clipped(GOOD, 0), "most is 0; use a weight above 0"),
        (lambda: clipped(GOOD, np.nan), "most is nan"),
        (
            lambda: direct(GOOD, Predicted(np.zeros((2, 2)), np.zeros((2, 3)))),
            r"\(target\) are of shape \(2, 3\)",
        ),
        (lambda: doubly_robust(GOOD, Predicted(with_(np.nan), with_(0))), r"\(logged\) .* not finite"),
        (lambda: target_chances(scores, eligible, -1), "temperature is -1; use a finite number from 0"),
        (lambda: target_chances(scores, eligible, np.nan), "temperature is nan"),
        (lambda: target_chances(scores, ~eligible & eligible, 1), "Nobody is eligible in answer 0, slot 0"),
        (
            lambda: softmax_policy(scores, eligible, np.array([[1]]), 1),
            "Answer 0 shows in slot 0 one that was not",
        ),
    ]:
        with pytest.raises(OffPolicyError, match=message):
            wrong()


def test_a_target_beyond_the_log_is_refused():
    """Mass where the log has none cannot be weighed: answer, slot, place and how much of it are named."""
    logged = np.array([[[0.5, 0.5, 0.0]], [[1.0, 0.0, 0.0]]])
    require_support(logged, logged)
    require_support(np.array([[[1.0, 0, 0]], [[1.0, 0, 0]]]), logged)
    with pytest.raises(OffPolicyError, match=r"In answer 1, slot 0 .* place 1 .* up to 70.0% of a slot"):
        require_support(np.array([[[0.5, 0.5, 0]], [[0.3, 0.4, 0.3]]]), logged)


def test_the_world_of_these_tests_is_one():
    """Its policies are distributions over paths, and its logs together certain."""
    for world in (World(0), World(1)):
        for chances in (world.logging, world.target):
            assert sum(chances[path[:1]] * chances[path] for path in PATHS) == pytest.approx(1)
        assert sum(chance for *_, chance in world.logs()) == pytest.approx(1)
    assert drawn_worlds.able((0,)) == [2, 3]
