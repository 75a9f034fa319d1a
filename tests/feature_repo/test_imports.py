"""Feast comes without what is of no use here, and leaves no trace of how."""

import subprocess
import sys

from feature_repo.imports import as_it_is

OPENED = """
import sys, typeguard
before = typeguard.typechecked
from pathlib import Path
from feature_repo.settings import Settings
from feature_repo.store import open_store
open_store(Settings(state=Path(sys.argv[1]), reports=Path(sys.argv[1])))
assert "feast" in sys.modules
assert typeguard.typechecked is before
assert "torch" not in sys.modules
from importlib.util import find_spec
assert find_spec("torch") is not None
"""


def test_feast_is_opened_without_torch_which_can_still_be_imported(tmp_path):
    """In a process of its own: torch is not loaded and can be found, typeguard is as it was."""
    subprocess.run([sys.executable, "-c", OPENED, str(tmp_path)], check=True)


def test_a_decorator_that_decorates_nothing():
    """A class or function comes back itself, also where the decorator is given options."""
    assert as_it_is(len) is len
    assert as_it_is(forward_ref_policy=None)(dict) is dict
