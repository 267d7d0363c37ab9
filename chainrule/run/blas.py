"""Keep the threads of NumPy's OpenBLAS from taking the cores of the compiled engine.

After a product, OpenBLAS's threads spin for about 0.1 s in case there is another one.  Where
NumPy computes small products between trainings, they take a core that trains.

Read next: :mod:`chainrule.run.reference`, whose products they are.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

__all__ = ["one_blas_thread"]

NAMES = (
    "scipy_openblas_{}_num_threads64_",  # in the wheels of NumPy
    "scipy_openblas_{}_num_threads",
    "openblas_{}_num_threads",
)
_lock = Lock()
_inside = 0  # blocks that are under way, in any thread
_usual = 1  # how many threads there were before the first of them


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let NumPy's products run on one thread inside the block, where they are OpenBLAS's.

    This holds for all threads of the process.

    >>> with one_blas_thread():
    ...     threads()
    1
    """
    _change(1)
    try:
        yield
    finally:
        _change(-1)


def threads() -> int:
    """Return the number of threads of OpenBLAS, 1 where NumPy uses another library."""
    found = _functions()
    return 1 if found is None else int(found[0]())


def _change(by: int) -> None:
    """Count a block that begins or ends; the first and the last set the number of threads."""
    global _inside, _usual
    found = _functions()
    if found is None:
        return
    with _lock:
        first, _inside = _inside == 0, max(0, _inside + by)
        if by > 0 and first:
            _usual = found[0]()
            found[1](1)
        elif _inside == 0:
            found[1](_usual)


@cache
def _functions() -> tuple[Callable[..., int], Callable[..., Any]] | None:
    """Return the functions of NumPy's OpenBLAS that get and set its number of threads."""
    try:
        library = ctypes.CDLL(_multiarray_umath.__file__)  # names of what it is linked with, too
    except OSError:
        return None
    for name in NAMES:
        if hasattr(library, name.format("set")):
            return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None


def _begin_anew() -> None:
    """Forget the blocks, and the lock, of other threads when the process was forked."""
    global _lock, _inside
    _lock = Lock()
    if _inside and (found := _functions()) is not None:
        found[1](_usual)
    _inside = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
