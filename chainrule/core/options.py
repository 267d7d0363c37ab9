"""Checks of the numbers a user sets, made where they are set and not where they fail.

Read next: :mod:`chainrule.core.spec`.
"""

from __future__ import annotations

import math
from numbers import Integral, Real

from chainrule.core.errors import OptionError

__all__ = ["check_whole", "in_range", "is_number"]


def is_number(value: object) -> bool:
    """Whether `value` is a real number, of Python's or NumPy's, and no yes or no."""
    return isinstance(value, Real) and not isinstance(value, bool)


def in_range(owner: object, name: str, low: float, high: float, open_low: bool = False) -> None:
    """Raise OptionError unless the number ``owner.name`` lies in [low, high) (or (low, high))."""
    value = getattr(owner, name)
    if not (is_number(value) and low <= value < high) or (open_low and value == low):
        left = "(" if open_low else "["
        bounds = f"{left}{low:g}, {high:g})"
        raise OptionError(f"{type(owner).__name__}: {name} must be in {bounds}, not {value!r}.")


def check_whole(name: str, value: object, least: int = 1, below: float = math.inf) -> None:
    """Raise OptionError unless `value` is a whole number from `least` on and less than `below`.

    >>> check_whole("epochs", 3)
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not least <= int(value) < below:  # type: ignore[call-overload]
        kind = "a positive integer" if least == 1 else f"an integer from {least} on"
        kind += f" and below {below}" if below < math.inf else ""
        raise OptionError(f"{name} must be {kind}, not {value!r}.")
