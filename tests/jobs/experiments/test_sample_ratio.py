"""Users in other shares than planned are found at whatever look, and rarely where there are none."""

import numpy as np
import pytest
from scipy.stats import dirichlet_multinomial, multinomial

from jobs.experiments.sequential import CONCENTRATION, SequentialError, sample_ratio_p


@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.05, 0.05)], ids=["halves", "three"])
def test_looking_200_times_errs_in_at_most_alpha(alpha, shares):
    """Users come as planned, ever more at a look: at most alpha of 2,000 experiments ever say otherwise."""
    rng = np.random.default_rng(3)
    sizes = np.unique(np.geomspace(5, 40_000, 220).astype(int))[-200:]
    came = rng.multinomial(np.diff(sizes, prepend=0), shares, size=(2_000, len(sizes))).cumsum(axis=1)
    worst = came[np.arange(len(came)), p_values(came, shares).argmin(axis=1)]  # look of each
    wrong = np.mean([sample_ratio_p(users, shares) <= alpha for users in worst])
    assert 0 < wrong <= alpha, f"{wrong:.2%} of 2,000 at alpha {alpha:.0%}, in 200 looks"


def p_values(came, shares):
    """P of many experiments' looks at once, by the reference's likelihoods."""
    n, prior = came.sum(axis=-1), CONCENTRATION * np.asarray(shares)
    ratio = multinomial.logpmf(came, n, shares) - dirichlet_multinomial.logpmf(came, prior, n)
    return np.exp(np.minimum(ratio, 0))


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.2, 0.8), (0.9, 0.05, 0.05)])
def test_p_is_the_likelihood_ratio(shares):
    """The reciprocal of Dirichlet-multinomial over multinomial, by SciPy; 1 where that would be more."""
    rng = np.random.default_rng(5)
    for n in (0, 1, 7, 400, 90_000):
        for probabilities in (shares, rng.dirichlet(np.ones(len(shares)))):
            came = rng.multinomial(n, probabilities)
            assert sample_ratio_p(came, shares) == pytest.approx(p_values(came, shares), rel=1e-6, abs=1e-290)


def test_p_is_a_product_over_users():
    """Each user who comes multiplies the ratio by what the arms so far foretold, over their planned share."""
    rng, shares = np.random.default_rng(6), np.array([0.3, 0.7])
    came, ratio = np.zeros(2), 1.0
    for arm in rng.choice(2, 300, p=[0.45, 0.55]):
        foretold = (CONCENTRATION * shares + came) / (CONCENTRATION + came.sum())
        ratio *= foretold[arm] / shares[arm]
        came[arm] += 1
        assert sample_ratio_p(came, shares) == pytest.approx(min(1, 1 / ratio))
    assert ratio > 20


def test_a_slight_deviation_of_many_users_is_found():
    """51 to 49 of 100,000, and an arm that loses all of 60 users, are past any alarm; 50.2 to 49.8 is not."""
    assert sample_ratio_p([51_000, 49_000], [0.5, 0.5]) < 1e-6
    assert sample_ratio_p([60, 0], [0.5, 0.5]) < 1e-3
    assert sample_ratio_p([50_200, 49_800], [0.5, 0.5]) > 0.05
    assert sample_ratio_p([3, 0], [0.5, 0.5]) > 0.05


@pytest.mark.parametrize(
    ("users", "shares"),
    [
        ([1, 2], [1.0]),
        ([1, 2], [0.5, 0.6]),
        ([1, 2], [0.0, 1.0]),
        ([-1, 2], [0.5, 0.5]),
        ([np.nan, 2], [0.5, 0.5]),
    ],
)
def test_counts_that_do_not_fit_are_refused(users, shares):
    """The error has both."""
    with pytest.raises(SequentialError, match=r"Users \[.*\] do not fit shares \["):
        sample_ratio_p(users, shares)
