"""Every peer's lists: one contract over all of them, and the masks of tasks."""

import numpy as np
import pytest

from bentos import candidates
from training.peers import lists
from training.peers.lists import PEERS, TASKS, peer_lists, ranked


def test_tasks_are_those_of_the_stack():
    """Each peer has settings for every task that the stack is measured on."""
    assert candidates.TASKS == TASKS


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", PEERS)
def test_many_users_score_as_one_by_one(purchases, name, task):
    """Scores are finite, one for every item, the same for a user alone and among others, now and again."""
    model = PEERS[name](purchases, task)
    rows = np.array([4, 0, 11], np.int32)
    together = model.scores(rows)
    assert together.shape == (3, 15)
    assert np.isfinite(together).all()
    for place, row in enumerate(rows):
        np.testing.assert_allclose(model.scores(rows[place : place + 1])[0], together[place], atol=1e-5)
        assert rows[place] == row


@pytest.mark.parametrize("name", PEERS)
def test_discover_leaves_out_what_was_bought(purchases, name):
    """A list of "discover" holds each item that the user never bought once, and no other."""
    rows = np.arange(12, dtype=np.int32)
    found = ranked(PEERS[name](purchases, "discover"), purchases, rows, "discover", depth=15)
    for row, items in enumerate(found):
        unseen = np.flatnonzero(purchases.binary.toarray()[row] == 0)
        assert sorted(items[items >= 0]) == unseen.tolist()


class Fixed:
    """A peer whose scores are given."""

    def __init__(self, scores):
        self.table = np.array(scores, np.float32)

    def scores(self, rows):
        """The given rows; a copy, since lists may mask it."""
        return self.table[rows].copy()


def test_lists_are_cut_with_ties_by_position(purchases, monkeypatch):
    """Best first; equal scores stand in the order of the catalogue; blocks of users do not matter."""
    scores = np.zeros((12, 15))
    scores[:, 9] = 1.0
    scores[:, 14] = np.arange(12)
    monkeypatch.setattr(lists, "BLOCK", 5)
    found = ranked(Fixed(scores), purchases, np.array([11, 0, 3, 1, 2, 4], np.int32), "all", depth=3)
    assert found.tolist() == [[14, 9, 0], [9, 0, 1], [14, 9, 0], [9, 14, 0], [14, 9, 0], [14, 9, 0]]


def test_every_peer_ranks_the_users_asked_for(purchases):
    """Lists come by name for the given users in their order, each as long as wanted."""
    found = dict(peer_lists(purchases, ["u05", "u01"], "all", depth=4))
    assert list(found) == ["item_knn", "ease", "als", "tifu_knn"]
    for name, both in found.items():
        alone = dict(peer_lists(purchases, ["u01"], "all", depth=4))[name]
        assert both.shape == (2, 4)
        assert both[1].tolist() == alone[0].tolist()
