"""Declare elementwise operations: their type rules, test domains and records.

Read next: :mod:`chainrule.ops.arithmetic`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.core.errors import DTypeError
from chainrule.core.primitive import Description, Primitive, register
from chainrule.core.spec import Spec, broadcast_shapes

__all__ = [
    "binary", "drawn", "drawn_apart", "drawn_booleans", "no_booleans", "of_booleans",
    "same_dtype", "truth", "unary",
]  # fmt: skip


def same_dtype(*specs: Spec) -> Spec:
    """Return the spec of a result with the dtype of its inputs."""
    if all(s.shape == specs[0].shape for s in specs):
        return specs[0]
    return Spec(broadcast_shapes(s.shape for s in specs), specs[0].dtype)


def no_booleans(*specs: Spec) -> Spec:
    """Return the spec of a result with the dtype of its inputs, which must not be booleans."""
    if specs[0].dtype == np.bool_:
        raise DTypeError(f"{specs[0]} is boolean; convert it first, as in x.astype('float32').")
    return same_dtype(*specs)


def truth(*specs: Spec) -> Spec:
    """Return the spec of a boolean result."""
    return Spec(broadcast_shapes(s.shape for s in specs), np.bool_)


def of_booleans(*specs: Spec) -> Spec:
    """Return the spec of a boolean result whose inputs must be boolean."""
    for spec in specs:
        if spec.dtype != np.bool_:
            raise DTypeError(f"needs booleans, not {spec}; compare first, as in x > 0.")
    return truth(*specs)


def drawn(low: float, high: float, arity: int = 1) -> Callable[[Any], tuple[list[Any], Any]]:
    """Return a domain of `arity` arrays of numbers from [low, high)."""
    return lambda rng: ([rng.uniform(low, high, s) for s in [(3, 4), (4,)][:arity]], {})


def drawn_apart(rng: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return two arrays whose elements clearly differ, so that a maximum has a derivative."""
    x = rng.uniform(-2, 2, (3, 4))
    return [x, x + rng.choice([-1.0, 1.0], (3, 4)) * rng.uniform(0.2, 1, (3, 4))], {}


def drawn_booleans(arity: int) -> Callable[[Any], tuple[list[Any], dict[str, Any]]]:
    """Return a domain of `arity` arrays of booleans."""
    return lambda rng: ([rng.random((3, 4)) < 0.5 for _ in range(arity)], {})


def unary(
    name: str,
    meaning: Callable[..., Any],
    vjp: Callable[..., tuple[Any, ...]],
    scalar: Callable[..., Any],
    domain: tuple[float, float],
    onnx: str | None = None,
    *,
    description: Description,
    infer: Callable[..., Spec] = same_dtype,
    floating: bool = True,
    linear: bool = False,
    increasing: bool = False,
    undefined: Callable[[float], str] | None = None,
) -> Primitive:
    """Register an elementwise operation of one input; its tests draw from `domain`, (low, high)."""
    return register(
        Primitive(
            name,
            infer=infer,
            meaning=meaning,
            vjp=vjp,
            scalar=scalar,
            elementwise=True,
            promote=(0,) if floating else (),
            floating=floating,
            costly=floating,
            linear=linear,
            increasing=increasing,
            undefined=undefined,
            domain=drawn(*domain),
            onnx=onnx,
            description=description,
        )
    )


def binary(
    name: str,
    meaning: Callable[..., Any],
    vjp: Callable[..., tuple[Any, ...]] | None,
    scalar: Callable[..., Any],
    domain: Callable[[Any], tuple[list[Any], dict[str, Any]]],
    onnx: str | None = None,
    *,
    description: Description,
    infer: Callable[..., Spec] = same_dtype,
    floating: bool = False,
    linear: bool = False,
    increasing: bool = False,
    choice: bool = False,
    undefined: Callable[[float, float], str] | None = None,
) -> Primitive:
    """Register an elementwise operation of two inputs, which are cast to their common dtype."""
    return register(
        Primitive(
            name,
            infer=infer,
            meaning=meaning,
            vjp=vjp,
            scalar=scalar,
            elementwise=True,
            promote=(0, 1),
            floating=floating,
            costly=floating,
            linear=linear,
            increasing=increasing,
            choice=choice,
            undefined=undefined,
            domain=domain,
            onnx=onnx,
            description=description,
        )
    )
