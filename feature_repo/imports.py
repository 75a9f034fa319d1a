"""Imports that take along what is of no use here: seconds of CPU, or memory of every worker."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def absent(*names: str) -> Iterator[None]:
    """Let imports in the block not find some modules, unless they are loaded already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def unchecked() -> Iterator[None]:
    """Let imports in the block not rewrite classes to check their arguments at run time (typeguard).

    Of Feast that is a third of the import, for checks of definitions that `endcap apply` has made already.
    """
    import typeguard

    before = typeguard.typechecked
    typeguard.typechecked = as_it_is
    try:
        yield
    finally:
        typeguard.typechecked = before


def as_it_is(target: Any = None, **options: Any) -> Any:  # noqa: ARG001 - the signature of typeguard's
    """A decorator that decorates nothing, with options or without."""
    return as_it_is if target is None else target
