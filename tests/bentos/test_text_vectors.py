"""Text vectors in a byte a number."""

import hypothesis.extra.numpy as arrays
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bentos.text_vectors import FULL, TextVectors

NUMBERS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 9)), elements=NUMBERS))
def test_a_number_is_off_by_half_a_step_at_most(vectors):
    """A step is the vector's largest number over FULL; the largest itself is kept."""
    text = TextVectors.rounded(vectors)
    assert (text.steps.dtype, text.scales.dtype) == (np.int8, np.float32)
    for vector, steps, scale in zip(vectors.tolist(), text.steps.tolist(), text.scales.tolist(), strict=True):
        most = max(abs(number) for number in vector)
        np.testing.assert_allclose(scale, most / FULL, rtol=1e-6)
        for number, step in zip(vector, steps, strict=True):
            assert abs(step) <= FULL
            assert abs(step * scale - number) <= 0.5001 * scale
            assert abs(step) == FULL or abs(number) < most or most == 0


def test_an_item_without_text_stays_zero():
    """It has no largest number, and is divided by nothing."""
    text = TextVectors.rounded(np.zeros((2, 3), np.float32))
    assert (text.steps.tolist(), text.scales.tolist()) == ([[0, 0, 0]] * 2, [0, 0])
