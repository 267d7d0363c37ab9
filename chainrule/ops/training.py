"""Operations that mark what a layer does only in training, so that no mode flag is needed.

A model is recorded once.  Where it behaves differently in training, the graph contains both
behaviors, and :mod:`chainrule.transform.mode` selects one.  Additional work of a training step,
such as updating a running mean or adding a penalty to the loss, is marked too.  Evaluated
directly, such a graph predicts.

Read next: :mod:`chainrule.transform.mode`.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from chainrule.core.errors import DTypeError, ShapeError
from chainrule.core.parameter import Parameter
from chainrule.core.primitive import Primitive, register
from chainrule.core.spec import Spec
from chainrule.core.tensor import Tensor, TensorLike, as_tensor, record
from chainrule.ops.arithmetic import cast

__all__ = ["by_mode", "fresh_seed", "penalizing", "updating"]

_draws = itertools.count()


def _same(first: Spec, second: Spec, what: str) -> None:
    if first != second:
        raise ShapeError(f"{what} must have the same shape and dtype, not {first} and {second}.")


def _by_mode_infer(training: Spec, predicting: Spec) -> Spec:
    _same(training, predicting, "the tensors of training and prediction")
    return predicting


def _updating_infer(x: Spec, state: Spec, value: Spec) -> Spec:
    _same(state, value, "the state and its new value")
    return x


def _penalizing_infer(x: Spec, penalty: Spec) -> Spec:
    if penalty.shape != ():
        raise ShapeError(f"the penalty must be a scalar, not {penalty}.")
    return x


def _by_mode_vjp(g: Tensor, out: Tensor, *branches: Tensor) -> tuple[Any, ...]:
    nothing = g * 0.0
    return by_mode(g, nothing), by_mode(nothing, g)


BY_MODE = register(
    Primitive(
        "by_mode", note=True, infer=_by_mode_infer, meaning=lambda training, predicting: predicting,
        vjp=_by_mode_vjp,
        domain=lambda rng: ([rng.normal(size=(2, 3)), rng.normal(size=(2, 3))], {}),
    )
)  # fmt: skip
UPDATING = register(
    Primitive(
        "updating", note=True, infer=_updating_infer, meaning=lambda x, state, value: x,
        vjp=lambda g, out, x, state, value: (g, None, None),
        domain=lambda rng: ([rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=3)], {}),
    )
)  # fmt: skip
PENALIZING = register(
    Primitive(
        "penalizing", note=True, infer=_penalizing_infer, meaning=lambda x, penalty: x,
        vjp=lambda g, out, x, penalty: (g, None),
        domain=lambda rng: ([rng.normal(size=(2, 3)), rng.normal(size=())], {}),
    )
)  # fmt: skip
FRESH_SEED = register(
    Primitive(
        "fresh_seed", note=True, infer=lambda draw: Spec((), np.int64),
        meaning=lambda draw: np.int64(0), domain=lambda rng: ([], {"draw": 0}),
    )
)  # fmt: skip


def by_mode(training: TensorLike, predicting: TensorLike) -> Tensor:
    """Return `training` in a training step, and `predicting` everywhere else.

    The one that is not used is not computed.  Raises ShapeError unless both have the same shape
    and dtype.

    >>> by_mode([1.0], [2.0])
    Tensor([2.], f32[1])
    """
    predicting = as_tensor(predicting)
    return record(BY_MODE, as_tensor(training, predicting), predicting)


def updating(x: TensorLike, state: Parameter, value: TensorLike) -> Tensor:
    """Return `x`; a training step that uses it also sets `state` to `value`.

    `state` is a parameter made with ``trainable=False``, such as a running mean, and `value`
    has its shape.  Within the step every use of `state` has the old value.
    """
    if state.trainable:
        raise DTypeError(f"updating: {state.name!r} is trainable; make it with trainable=False.")
    return record(UPDATING, as_tensor(x), state, cast(as_tensor(value), state.dtype))


def penalizing(x: TensorLike, penalty: TensorLike) -> Tensor:
    """Return `x`; a training step that uses it adds the number `penalty` to its loss."""
    return record(PENALIZING, as_tensor(x), as_tensor(penalty))


def fresh_seed() -> Tensor:
    """Return a seed that differs between calls and between training steps.

    Use it with :func:`chainrule.uniform` and :func:`chainrule.normal`.  It is determined by the
    seed of :func:`chainrule.fit`.  Outside training it is 0.
    """
    return record(FRESH_SEED, draw=next(_draws))
