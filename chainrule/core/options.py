"""Check the options of a user where they are given.

Read next: :mod:`chainrule.core.spec`.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral, Real
from typing import Any, TypeVar

from numpy.typing import DTypeLike

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.spec import as_dtype, is_float

__all__ = [
    "check_size",
    "check_whole",
    "checks_arguments",
    "float_dtype",
    "in_range",
    "is_number",
    "sizes_up_to",
]

_most: ContextVar[float] = ContextVar("most", default=math.inf)


F = TypeVar("F", bound=Callable[..., Any])


def is_number(value: object) -> bool:
    """Return whether `value` is a real number of Python or NumPy, and not a boolean."""
    return isinstance(value, Real) and not isinstance(value, bool)


def in_range(owner: object, name: str, low: float, high: float, open_low: bool = False) -> None:
    """Raise OptionError unless the number ``owner.name`` lies in [low, high) (or (low, high))."""
    value = getattr(owner, name)
    if not (is_number(value) and low <= value < high) or (open_low and value == low):
        left = "(" if open_low else "["
        bounds = f"{left}{low:g}, {high:g})"
        raise OptionError(f"{type(owner).__name__}: {name} must be in {bounds}, not {value!r}.")


def check_whole(name: str, value: Any, least: int = 1, below: float = math.inf) -> int:
    """Return `value`, which may be a NumPy integer, as a Python integer.

    Raises OptionError with the `name` unless it is an integer in [least, below).

    >>> check_whole("fit: epochs", 3)
    3
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not least <= value < below:
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        kind += f" and below {below}" if below < math.inf else ""
        raise OptionError(f"{name} must be {kind}, not {value!r}.")
    return int(value)


@contextmanager
def sizes_up_to(most: int) -> Iterator[None]:
    """Let :func:`check_size` refuse more than `most`, while layers are made from a file."""
    token = _most.set(most)
    try:
        yield
    finally:
        _most.reset(token)


def check_size(name: str, size: int) -> None:
    """Raise OptionError if `size` is more than the network of a file may have.

    Layers that take memory for more than their parameters when they are made, such as the edges
    of a sparse layer, call this first.
    """
    if size > _most.get():
        raise OptionError(f"{name} would be {size:,}, but the file has weights for fewer.")


def float_dtype(name: str, dtype: DTypeLike) -> str:
    """Return the name of the `dtype` of parameters.

    Raises OptionError with the `name` unless it is float32 or float64, and DTypeError if it is
    not a dtype that graphs support.

    >>> float_dtype("Linear: dtype", float)
    'float64'
    """
    found = as_dtype(dtype)
    if not is_float(found):
        raise OptionError(f"{name} must be 'float32' or 'float64', not {found.name!r}.")
    return found.name


def checks_arguments(**instead: str) -> Callable[[F], F]:
    """Return a decorator that raises OptionError, with a hint, for wrong arguments.

    The hint for an unknown name is its entry in `instead`, or the closest name.  The entry
    "positional" is the hint for too many positional arguments.

    >>> @checks_arguments(lr="Give learning_rate to the optimizer.")
    ... def train(data, *, epochs=10): ...
    >>> train(1, epoch=3)
    Traceback (most recent call last):
    chainrule.core.errors.OptionError: train has no argument 'epoch'. Did you mean 'epochs'? ...
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: Any, **named: Any) -> Any:
            try:
                signature.bind(*args, **named)
            except TypeError as error:
                unknown = next((name for name in named if name not in signature.parameters), None)
                if unknown is not None:
                    hint = instead.get(unknown) or did_you_mean(unknown, signature.parameters)
                    text = f"{function.__name__} has no argument {unknown!r}. {hint}"
                else:
                    many = "positional" in str(error) and "too many" in str(error)
                    hint = f" {instead['positional']}" if many and "positional" in instead else ""
                    text = f"{function.__name__}: {error}.{hint}"
                raise OptionError(text) from None
            return function(*args, **named)

        return checked  # type: ignore[return-value]

    return decorate
