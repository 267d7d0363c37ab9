"""Values of a graph in JAX, which NumPy's functions accept in place of arrays.

The implementation of an operation is a function of NumPy arrays.  NumPy lets other arrays take
part in its functions by two protocols, ``__array_ufunc__`` and ``__array_function__``.  A
:class:`Traced` answers both with the function of the same name in :mod:`jax.numpy`, so the
implementation that defines an operation is also what XLA compiles.

Read next: :mod:`chainrule.run.xla.forms`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from numpy.lib.mixins import NDArrayOperatorsMixin

__all__ = ["Traced", "bare"]


class Traced(NDArrayOperatorsMixin):
    """A JAX array `value` with the methods, operators and functions of a NumPy array.

    >>> import numpy as np
    >>> jax.jit(lambda x: np.exp(Traced(x)).sum().value)(np.zeros(3, np.float32))
    Array(3., dtype=float32)
    """

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = _found(ufunc.__name__, [jnp])
        if function is jnp.matmul and all(x.dtype == jnp.bfloat16 for x in inputs):
            options["preferred_element_type"] = jnp.float32  # of the sums, and of the result
        if method != "__call__":
            function = getattr(function, method)
        return _applied(function, inputs, options)

    def __array_function__(
        self, func: Any, types: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        inner = (func.__module__ or "").split(".")[1:2]  # as of numpy.linalg.norm
        places = [getattr(jnp, name) for name in inner if hasattr(jnp, name)]
        return _applied(_found(func.__name__, [*places, jnp]), args, kwargs)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError("it needs the numbers of an array, which are not known when XLA compiles")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self.value, name)
        return _method(found) if callable(found) else _wrapped(found)

    def __getitem__(self, key: Any) -> Any:
        return _applied(lambda array, at: array[at], (self, key), {})

    def __len__(self) -> int:
        return len(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)


def _found(name: str, places: Sequence[Any]) -> Callable[..., Any]:
    for place in places:
        if hasattr(place, name):
            function: Callable[..., Any] = getattr(place, name)
            return function
    raise TypeError(f"jax.numpy has no function {name!r}")


def bare(value: Any) -> Any:
    """Return `value` with a JAX array in place of each :class:`Traced` in it."""
    return jax.tree.map(lambda v: v.value if isinstance(v, Traced) else v, value)


def _wrapped(value: Any) -> Any:
    return jax.tree.map(lambda v: Traced(v) if isinstance(v, jax.Array) else v, value)


def _applied(function: Callable[..., Any], args: Any, options: Mapping[str, Any]) -> Any:
    return _wrapped(function(*bare(tuple(args)), **bare(dict(options))))


def _method(method: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: _applied(method, args, options)
