"""The exact index."""

import numpy as np
import pytest

from bentos.index import SAMPLED, at_least, best, highest


@pytest.mark.parametrize("n", [0, 1, 7, 200])
def test_best_equals_a_full_sort(n):
    """The n best are those of a full sort, ties by position."""
    scores = np.random.default_rng(n).integers(0, 12, 100).astype(np.float32)
    expected = sorted(range(100), key=lambda place: (-scores[place], place))[:n]
    assert best(scores, n).tolist() == expected


def test_infinite_missing_and_excluded_scores_never_count():
    """-inf, NaN and items outside `among` are left out even when fewer than n remain."""
    scores = np.array([1, -np.inf, np.nan, 4, 3], dtype=np.float32)
    among = np.array([True, True, True, False, True])
    assert best(scores, 5, among=among).tolist() == [4, 0]


@pytest.mark.parametrize("n", [0, 1, 7, 60, 200])
def test_the_highest_are_the_best_in_order_of_position(n):
    """Just so many, ties with the last by position, and never NaN or -inf."""
    scores = np.random.default_rng(n).integers(0, 12, 100).astype(np.float32)
    scores[::9], scores[1::9] = -np.inf, np.nan
    assert highest(scores, n).tolist() == sorted(best(scores, n).tolist())
    assert len(highest(scores, n)) == min(n, 77)


@pytest.mark.parametrize("n", [1, 7, 99, 100, 200])
def test_at_least_keeps_who_ties_with_the_last(n):
    """Everything no lower than the n-th of a full sort, in order of position; -inf never."""
    scores = np.random.default_rng(n).integers(0, 12, 100).astype(np.float32)
    scores[::9] = -np.inf
    least = sorted(scores, reverse=True)[min(n, 100) - 1]
    expected = [place for place, score in enumerate(scores) if score >= least and score > -np.inf]
    assert at_least(scores, n).tolist() == expected


@pytest.mark.parametrize("n", [1, 60, 500, 2_500, 4_999])
@pytest.mark.parametrize("kind", ["spread", "few values", "rising", "mostly nothing", "none of the sample"])
def test_at_least_of_many_scores_equals_a_full_sort(n, kind):
    """However far off the guess is that a sample makes."""
    rng = np.random.default_rng(n)
    scores = {
        "spread": rng.normal(size=5_000),
        "few values": rng.integers(0, 3, 5_000),
        "rising": np.arange(5_000),
        "mostly nothing": np.where(rng.random(5_000) < 0.02, rng.normal(size=5_000), -np.inf),
        "none of the sample": np.where(np.arange(5_000) % SAMPLED == 0, -1.0, rng.random(5_000)),
    }[kind].astype(np.float32)
    least = np.sort(scores)[-n]
    expected = [place for place, score in enumerate(scores.tolist()) if score >= least and score > -np.inf]
    assert at_least(scores, n).tolist() == expected
