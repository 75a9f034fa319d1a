"""Compiled loops: kept for the next process where that can be, and Numba imported when needed."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOTAL = """
from feature_repo.compiled import compiled

@compiled
def total(values):
    found = 0.0
    for value in values:
        found += value
    return found
"""
ASKED = "import numpy, total; print(total.total(numpy.arange(4.0)), total.total.__wrapped__([1, 2]))"


def run(code, folder, **more):
    """What a process of Python prints, in a folder, with this code at hand."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_machine_code_is_kept_beside_its_source(tmp_path):
    """And `__wrapped__` is the function as it was written."""
    (tmp_path / "total.py").write_text(TOTAL)
    assert run(ASKED, tmp_path) == ["6.0", "3.0"]
    kept = list((tmp_path / "__pycache__").glob("total.total-*.nbc"))
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    assert run(ASKED, tmp_path) == ["6.0", "3.0"]
    assert kept[0].stat().st_mtime_ns == before


def test_what_cannot_be_kept_is_compiled_all_the_same(tmp_path):
    """Where neither the code's folder nor the user's can be written: here files stand in their places."""
    (tmp_path / "total.py").write_text(TOTAL)
    (tmp_path / "__pycache__").write_text("")
    nowhere = str(tmp_path / "total.py")
    assert run(ASKED, tmp_path, XDG_CACHE_HOME=nowhere, HOME=nowhere) == ["6.0", "3.0"]


def test_numba_is_imported_at_the_first_call():
    """Not by a command that only needs to know the names of features."""
    code = "import sys, feature_repo.pair_features, bentos.pool, bentos.forest; print('numba' in sys.modules)"
    assert run(code, ROOT) == ["False"]
