"""Material of variants: thinned pairs, shorter memories, pools without an input."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from bentos.pool import INPUTS
from training.ablations.pairs import lately, thinned, weights_without
from training.pool import INVERSE_PENALTY, PoolRows
from training.ranking import PairSet

NOW = datetime(2017, 12, 4, 5, tzinfo=UTC)


def test_thinning_keeps_purchases_and_groups():
    """Each group keeps what was bought and at most so many others, rows with their labels."""
    rng = np.random.default_rng(3)
    sizes = np.array([5, 40, 1, 30])
    labels = (rng.random(76) < 0.2).astype(np.float32)
    number = np.arange(76, dtype=np.float32)
    found = thinned(PairSet(np.stack([number, labels], axis=1), labels, sizes), 6, seed=1)
    group = np.repeat(np.arange(4), sizes)[found.rows[:, 0].astype(int)]
    np.testing.assert_array_equal(found.rows[:, 1], found.labels)
    np.testing.assert_array_equal(group, np.repeat(np.arange(4), found.groups))
    for place, size in enumerate(sizes):
        bought = labels[np.repeat(np.arange(4), sizes) == place].sum()
        mine = found.labels[group == place]
        assert mine.sum() == bought
        assert (mine == 0).sum() == min(6, size - bought)
    assert len(np.unique(found.rows[:, 0])) == len(found.rows)


def test_forgotten_slots_leave_the_others_alone(user_rows_of):
    """A shopper keeps the slots of the last weeks, with their counts, and nobody gets another's."""
    past = {"a": {1: (3, 2.0, 5), 4: (1, 0.5, 80)}, "b": {}, "c": {2: (7, 1.5, 120), 3: (2, 1.0, 10)}}
    users = lately(user_rows_of(past, NOW), (NOW - timedelta(days=30)).timestamp())
    slots = [slice(*users.offsets[row : row + 2]) for row in range(3)]
    days = [(NOW.timestamp() - users.last_times[each]) / 86_400 for each in slots]
    assert [each.tolist() for each in days] == [[5], [], [10]]
    assert [(users.last_times[each] - users.first_times[each]).tolist() for each in slots] == [
        [60 * 86_400], [], [60 * 86_400],
    ]  # fmt: skip
    assert [users.last_baskets[each].tolist() for each in slots] == [[1], [], [4]]
    assert [users.positions[each].tolist() for each in slots] == [[1], [], [3]]
    assert [users.counts[each].tolist() for each in slots] == [[3], [], [2]]
    assert [users.decayed[each].tolist() for each in slots] == [[2.0], [], [1.0]]


def test_a_pool_without_an_input_is_fitted_on_the_others():
    """The weights are those of a regression that never saw the column, and 0 in its place."""
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(400, len(INPUTS))).astype(np.float32)
    bought = inputs[:, 3] + inputs[:, 8] + rng.normal(size=400) > 1
    found = weights_without(frozenset({INPUTS[3]}), [PoolRows(inputs, bought, np.ones(400))])
    others = np.delete(inputs, 3, axis=1).astype(np.float64)
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=500)
    model.fit((others - others.mean(axis=0)) / others.std(axis=0), bought)
    assert found[3] == 0
    np.testing.assert_allclose(np.delete(found, 3), model.coef_[0] / others.std(axis=0), atol=2e-3)
    with pytest.raises(ValueError, match=r"no inputs .'luck'."):
        weights_without(frozenset({"luck"}), [])
