"""Ids as positions in a sorted list."""

import numpy as np

from feature_repo.positions import NOWHERE, positions_of

IDS = np.array([f"i{number:02d}" for number in range(20)])


def test_positions_are_those_of_a_dictionary():
    """Every id of the list has its position, every other id -1, in the order asked, also twice."""
    asked = ["i07", "", "i00", "zzz", "i19", "a", "i07", "i7", "i190", "é"]
    place = {item: position for position, item in enumerate(IDS.tolist())}
    found = positions_of(IDS, asked)
    assert found.dtype == np.int32
    assert found.tolist() == [place.get(item, NOWHERE) for item in asked]
    assert positions_of(IDS, IDS).tolist() == list(range(len(IDS)))


def test_nothing_is_found_in_nothing():
    """No ids asked give no positions; an empty list holds no id."""
    assert positions_of(IDS, []).tolist() == []
    assert positions_of(IDS[:0], ["i01", "i02"]).tolist() == [NOWHERE, NOWHERE]
