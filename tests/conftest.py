"""Fixtures shared by all tests."""

import pytest
from tiny_release import tiny_release


@pytest.fixture
def release():
    """A tiny release with known answers."""
    return tiny_release()
