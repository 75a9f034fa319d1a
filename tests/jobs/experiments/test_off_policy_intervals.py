"""Intervals of off-policy estimates: at their nominal rate, over users, and on logs that exploration drew."""

from dataclasses import replace

import numpy as np
import pytest
from drawn_worlds import Shop
from tiny_release import N_ITEMS, tiny_release

from bentos.exploration import Explore, explored
from bentos.placement import placed
from jobs.experiments.off_policy import (
    Draws,
    Predicted,
    doubly_robust,
    ips,
    require_support,
    snips,
    softmax_policy,
    target_chances,
)

LOGS = 400


@pytest.fixture(scope="module")
def simulated():
    """IPS, SNIPS and doubly robust of 400 logs of one shop, and the truth."""
    shop, rng, found = Shop(3.0, 1.5), np.random.default_rng(11), []
    for _ in range(LOGS):
        draws, predicted = shop.log(rng)
        found.append([ips(draws), snips(draws), doubly_robust(draws, predicted)])
    return found, shop.truth


@pytest.mark.parametrize("place", [0, 1, 2])
def test_intervals_hold_the_truth_95_times_in_100(simulated, place):
    """Of 400 logs with 400 users 92 to 98 in 100 do, though users differ; the mean error is but noise."""
    found, truth = simulated
    held = np.mean([each[place].low <= truth <= each[place].high for each in found])
    assert 0.92 <= held <= 0.98
    values = np.array([each[place].value for each in found])
    assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(LOGS)


def test_doubly_robust_is_the_surest_of_the_three(simulated):
    """With a nearly right model its intervals are narrower than those of IPS, and its errors smaller."""
    found, _ = simulated
    width = np.mean([[each.high - each.low for each in log] for log in found], axis=0)
    spread = np.std([[each.value for each in log] for log in found], axis=0)
    assert width[2] < 0.9 * width[0]
    assert spread[2] < 0.9 * spread[0]


def test_answers_of_one_user_are_drawn_together():
    """Each answer four times over says nothing new to who knows whose it is, and halves the interval else."""
    draws, predicted = Shop().log(np.random.default_rng(5))
    four = np.repeat(np.arange(len(draws.users)), 4)
    users = draws.users[four]
    rows = Draws(draws.rewards[four], draws.logged[four], draws.target[four], users)
    more = Predicted(predicted.logged[four], predicted.target[four])
    for estimator, args, repeated in ((ips, (), ()), (snips, (), ()), (doubly_robust, (predicted,), (more,))):
        once, known = estimator(draws, *args), estimator(rows, *repeated)
        unknown = estimator(replace(rows, users=np.arange(len(four))), *repeated)
        assert (known.low, known.high) == pytest.approx((once.low, once.high))
        assert unknown.high - unknown.low < 0.6 * (once.high - once.low)


def test_a_log_far_from_the_target_is_said_to_be_thin():
    """A tenth of the answers is effective where two sharp policies disagree, half where they are even."""
    far, near = (Shop(*temperatures).log(np.random.default_rng(7))[0] for temperatures in ((), (3.0, 1.5)))
    assert ips(far).thin
    assert not ips(near).thin
    assert ips(near).ess > 0.5 * ips(near).n


def test_the_interval_of_snips_is_that_of_its_ratio():
    """Of 2,000 users the linear terms' interval is that of resampled ratios, within a tenth of its width."""
    draws, _ = Shop().log(np.random.default_rng(7), n_users=2_000)
    rng, values = np.random.default_rng(0), []
    for _ in range(1_000):
        times = np.bincount(rng.integers(0, 2_000, 2_000), minlength=2_000)[draws.users][:, None]
        tops, bottoms = ((times * draws.weights * each).sum(axis=0) for each in (draws.rewards, 1))
        values.append((tops / bottoms).sum())
    found, expected = snips(draws), np.quantile(values, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.1 * (found.high - found.low))


def test_what_exploration_logs_tells_what_another_temperature_earns():
    """Under a cap and departments: estimates from pages drawn at 1 hold what pages drawn at 0.4 do earn."""
    rules = {"category_cap": {"share": 0.4}, "diversity": {"departments": 2}}
    items, shop = np.arange(N_ITEMS, dtype=np.int32), replace(tiny_release(), rules=rules)
    n, k, explore = 1_500, 5, Explore(slots=3, temperature=1.0, pool=6)
    scores = np.random.default_rng(0).normal(size=(n, N_ITEMS)).astype(np.float32)
    orders = [placed(shop, items, own, None, k=k).order for own in scores]

    def pages(explore, seed):
        """All pages of one policy, and the clicks in their drawn slots."""
        rng = np.random.default_rng(seed)
        found = [
            explored(order, own, items, shop.catalogue, k, rules, explore, rng)
            for order, own in zip(orders, scores, strict=True)
        ]
        drawn = np.array([each.order[each.kept : k] for each in found])
        likely = 1 / (1 + np.exp(1 - 3 * np.take_along_axis(scores, drawn, axis=1)))
        return found, drawn, (rng.random(likely.shape) < likely).astype(float)

    found, drawn, clicks = pages(explore, seed=1)
    pool, own = np.array([each.pool for each in found]), np.array([each.scores for each in found])
    eligible = np.array([each.eligible for each in found])
    chosen = np.argmax(pool[:, None] == drawn[..., None], axis=-1)
    logged = np.array([each.propensities[each.kept :] for each in found])
    assert softmax_policy(own, eligible, chosen, 1.0) == pytest.approx(logged, rel=1e-12)
    require_support(target_chances(own, eligible, 0.4), target_chances(own, eligible, 1.0))
    draws = Draws(clicks, logged, softmax_policy(own, eligible, chosen, 0.4), np.arange(n))
    truth = np.mean(
        [pages(replace(explore, temperature=0.4), seed)[2].sum(axis=1).mean() for seed in range(2, 6)]
    )
    assert clicks.sum(axis=1).mean() < truth - 0.1
    for estimate in (ips(draws), snips(draws)):
        assert estimate.low < truth < estimate.high
        assert abs(estimate.value - truth) < 0.1
