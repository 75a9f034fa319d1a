"""Item ids looked up in a catalogue, against a dictionary."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_release import tiny_release

from bentos import item_positions
from bentos.item_positions import positions_in, table
from feature_repo.stores.packed.packed_strings import joined

TEXTS = st.text(alphabet="ab\0ä\N{PILE OF POO}", max_size=4)
HELD = TEXTS.filter(lambda text: not text.endswith("\0"))  # NumPy keeps no zeros at the end


def release_of(ids):
    """A release that knows of its items no more than their ids."""
    release = tiny_release()
    return replace(release, catalogue=replace(release.catalogue, item_ids=np.array(ids, dtype=np.str_)))


@settings(max_examples=100)
@given(held=st.sets(HELD, min_size=1, max_size=40), asked=st.lists(TEXTS, max_size=20))
def test_ids_are_found_where_a_dictionary_has_them(held, asked):
    """Ids of any length and script, known or not, one or many times, are looked up as one by one."""
    ids = sorted(held)
    place = {each: at for at, each in enumerate(ids)}
    found = positions_in(release_of(ids), [*asked, *ids])
    assert found.tolist() == [place.get(each, -1) for each in [*asked, *ids]]
    assert found.dtype == np.int32


@pytest.mark.parametrize("other", ["i0", "i033", "x03", "", "i03\0", "\ud800"])
def test_an_id_that_is_like_another_is_none(release, other):
    """Neither a beginning of an id, nor what begins with one, nor half a character is in the catalogue."""
    assert positions_in(release, [other, "i03"]).tolist() == [-1, 3]


def test_nothing_asked_is_nothing_found(release):
    """No ids have no positions."""
    assert positions_in(release, []).tolist() == []


def test_ids_of_one_hash_are_told_apart(monkeypatch):
    """Where all hashes are the same, each id is still found, and one that is not there is not."""
    monkeypatch.setattr(item_positions, "PRIME", np.uint64(0))
    ids = [f"i{number}" for number in range(30)]
    held = table(np.array(ids))
    assert len(set((held.slots[held.slots > 0] >> np.uint64(32)).tolist())) == 1
    texts, sizes = joined([*ids, "no"])
    found = item_positions.looked_up.__wrapped__(texts, sizes, held.texts, held.slots)
    assert found.tolist() == [*range(30), -1]
