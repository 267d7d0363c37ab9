"""Check that what is pickled has a name: pickle stores functions and classes by their names.

Read next: :mod:`chainrule.core.graph`.
"""

from __future__ import annotations

import sys
from types import FrameType, FunctionType
from typing import Any

from chainrule.core.errors import OptionError

__all__ = ["check_named"]

# These do not store functions by name: copy keeps them, cloudpickle (as used by joblib) and dill
# store their code.
_NOT_BY_NAME = {"copy", "cloudpickle", "_dill"}


def check_named(what: str, thing: Any) -> None:
    """Raise OptionError if pickle can't store `thing`: a lambda, or a function's own function.

    `what` names it in the message.  Call this in ``__getstate__``.
    """
    kind = thing if isinstance(thing, FunctionType) else type(thing)
    if "<" not in kind.__qualname__ or _kept_without_name():
        return
    code = getattr(kind, "__code__", None)
    line = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    raise OptionError(
        f"{what} can't be pickled: {kind.__qualname__}{line} has no name in its module, by which "
        "pickle would find it. Define it at the top of the module, by def or class."
    )


def _kept_without_name() -> bool:
    """Return whether this is called for a copy, or by a pickler that stores code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").rpartition(".")[2] in _NOT_BY_NAME:
            return True
        frame = frame.f_back
    return False
