"""Lists of strings that stay packed, against the lists themselves."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.stores.packed.layout import PackedStoreError
from feature_repo.stores.packed.packed_strings import PackedStrings, joined
from feature_repo.stores.packed.row import text_list

LISTS = st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=5), max_size=8)


@settings(max_examples=100)
@given(strings=LISTS)
def test_packed_strings_are_the_list_of_them(strings):
    """Length, members, order, slices and equality are the list's."""
    packed = PackedStrings(text_list(strings))
    assert (len(packed), list(packed), packed[1:]) == (len(strings), strings, strings[1:])
    assert packed == strings
    assert repr(packed) == f"PackedStrings({strings!r})"
    assert packed != [*strings, "more"]
    assert [packed[place] for place in range(len(packed))] == strings


@settings(max_examples=100)
@given(strings=LISTS)
def test_they_join_as_the_strings_do(strings):
    """Bytes and sizes are what a loop over the strings finds, whether or not all are ASCII."""
    parts = [each.encode() for each in strings]
    for texts, sizes in (PackedStrings(text_list(strings)).joined(), joined(strings)):
        assert texts.tobytes() == b"".join(parts)
        assert sizes.tolist() == [len(each) for each in parts]
        assert (texts.dtype, sizes.dtype) == (np.dtype(np.uint8), np.dtype(np.int32))
        assert (texts.flags.writeable, sizes.flags.writeable) == (False, True)  # one type for compiled loops


@pytest.mark.parametrize("ends", [(1, 9), (1, 2), (3, 1), (2**32 - 1, 3)])
def test_a_damaged_list_is_refused_as_it_is_read(ends):
    """Sizes that the texts do not have: compiled loops that take them at their word would read beyond."""
    packed = struct.pack("<3I", 2, *ends) + b"abc"
    with pytest.raises(PackedStoreError, match="damaged; run `endcap materialize`"):
        PackedStrings(packed)
    assert PackedStrings(struct.pack("<3I", 2, 1, 3) + b"abc") == ["a", "bc"]
