"""Loops compiled to machine code (Numba), where NumPy would go over the same numbers many times.

    @compiled
    def total(values): ...

Compiled at the first call for each combination of types, and kept on the disk for the next process where
that can be written. What such a function gives does not depend on the machine: no fast-math, no threads. It
lets other threads of Python run meanwhile. Numba is imported when first needed (100 MB, .6 s), so such
functions do not call each other.
"""

from collections.abc import Callable
from functools import cache, partial, wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """The function as machine code; `.__wrapped__` is the one that was given."""

    @cache
    def made() -> Callable[P, R]:
        import numba

        as_asked = partial(numba.njit, nogil=True, error_model="numpy")
        try:
            return as_asked(cache=True)(function)
        except RuntimeError:  # neither the folder of the code nor the user's can be written
            return as_asked()(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return made()(*args, **kwargs)

    return call
