"""Loops compiled to machine code (Numba), where NumPy would go over the same numbers many times.

    @compiled
    def total(values): ...

Compiled at the first call for each combination of types, and kept on the disk for the next process where
that can be written. What such a function gives does not depend on the machine: no fast-math, no threads. It
lets other threads of Python run meanwhile. Numba is imported when first needed (100 MB, .6 s), so such
functions do not call each other.
"""

from collections.abc import Callable
from functools import cached_property, partial, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Compiled(Generic[P, R]):
    """A function as machine code; `__wrapped__` is the one that was given."""

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        update_wrapper(self, function)

    @cached_property
    def made(self) -> Any:
        """Numba's dispatcher: its `signatures` are the combinations of types that were compiled."""
        import numba

        as_asked = partial(numba.njit, nogil=True, error_model="numpy")
        try:
            return as_asked(cache=True)(self.function)
        except RuntimeError:  # neither the folder of the code nor the user's can be written
            return as_asked()(self.function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function gives."""
        found: R = self.made(*args, **kwargs)
        return found


def compiled(function: Callable[P, R]) -> Compiled[P, R]:
    """The function, to be compiled when it is first called."""
    return Compiled(function)
