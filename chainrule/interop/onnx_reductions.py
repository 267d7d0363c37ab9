"""The reductions of ONNX, as functions of our tensors.

Read next: :mod:`chainrule.interop.onnx_training`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.spec import Dim, is_float
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.interop.onnx_call import Call, shape_tensor
from chainrule.ops.arithmetic import abs, where
from chainrule.ops.elementary import exp, log, sqrt
from chainrule.ops.index import take
from chainrule.ops.shape import arange, broadcast_to, expand_dims

__all__ = ["REDUCTIONS"]

Function = Callable[[Call], Any]
MOST_FACTORS = 4096  # each is a node of the graph


def _reduction(function: Callable[[Tensor, Any, bool], Tensor]) -> Function:
    def reduced(call: Call) -> Any:
        x, axes = call.x(), call.integers(1, "axes")
        if not axes and call.attribute("noop_with_empty_axes", 0):
            return x if function in _PLAIN else function(x, (), True)
        axes = axes or list(range(x.ndim))
        found = function(x, tuple(axes), bool(call.attribute("keepdims", 1)))
        return found.astype(x.dtype)

    return reduced


def _reduce_sum(x: Tensor, axes: Any, keepdims: bool) -> Tensor:
    return x.sum(axes, keepdims)


def _reduce_max(x: Tensor, axes: Any, keepdims: bool) -> Tensor:
    return x.max(axes, keepdims) if _is_filled(x, axes) else _neutral(x, axes, keepdims, -1)


def _reduce_min(x: Tensor, axes: Any, keepdims: bool) -> Tensor:
    return x.min(axes, keepdims) if _is_filled(x, axes) else _neutral(x, axes, keepdims, 1)


def _is_filled(x: Tensor, axes: Any) -> bool:
    return all(x.shape[a] != 0 for a in axes)


def _neutral(x: Tensor, axes: Any, keepdims: bool, sign: int) -> Tensor:
    """Return the maximum (sign -1) or minimum (1) of nothing: the end of the dtype's range."""
    shape = x.sum(axes, keepdims).shape
    if is_float(x.dtype):
        end: Any = sign * math.inf
    elif x.dtype == np.bool_:
        end = sign > 0
    else:
        limits = np.iinfo(x.dtype)
        end = limits.max if sign > 0 else limits.min
    return broadcast_to(as_tensor(np.array(end, x.dtype)), shape)


_PLAIN = (_reduce_sum, _reduce_max, _reduce_min)


def _reduce_product(x: Tensor, axes: Any, keepdims: bool) -> Tensor:
    wide = x.sum((), True) if not axes else x
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        length = wide.shape[axis]
        if isinstance(length, Dim) or length > MOST_FACTORS:
            raise OptionError(f"ReduceProd over an axis of length {length}.")
        before = (slice(None),) * axis
        parts = [wide[(*before, slice(i, i + 1))] for i in range(length)]
        ones = broadcast_to(
            as_tensor(np.ones((), x.dtype)), (*wide.shape[:axis], 1, *wide.shape[axis + 1 :])
        )
        for part in parts:
            ones = ones * part
        kept = (1,) if keepdims else ()
        wide = ones.reshape((*wide.shape[:axis], *kept, *wide.shape[axis + 1 :]))
    return wide


def _reduce_log_sum_exp(x: Tensor, axes: Any, keepdims: bool) -> Tensor:
    if not _is_filled(x, axes):
        return _neutral(x, axes, keepdims, -1)
    peak = x.max(axes, keepdims=True)
    peak = where(abs(peak) == math.inf, 0.0, peak)
    total = log(exp(x - peak).sum(axes, keepdims=True)) + peak
    return total if keepdims else total.sum(axes)


def _argument(function: Callable[[Tensor, int], Tensor]) -> Function:
    def found(call: Call) -> Any:
        x, axis = call.x(), call.axis(0)
        place = function(x, axis)
        if call.attribute("select_last_index", 0):
            length = shape_tensor(x.shape)[axis]
            place = length - 1 - function(_backward(x, axis), axis)
        return expand_dims(place, axis) if call.attribute("keepdims", 1) else place

    return found


def _backward(x: Tensor, axis: int) -> Tensor:
    return take(x, arange(x.shape[axis]) * -1 - 1, axis=axis)


REDUCTIONS: dict[str, Function] = {
    "ArgMax": _argument(Tensor.argmax),
    "ArgMin": _argument(Tensor.argmin),
    "ReduceL1": _reduction(lambda x, axes, kept: abs(x).sum(axes, kept)),
    "ReduceL2": _reduction(lambda x, axes, kept: sqrt((x * x).sum(axes, kept))),
    "ReduceLogSum": _reduction(lambda x, axes, kept: log(x.sum(axes, kept))),
    "ReduceLogSumExp": _reduction(_reduce_log_sum_exp),
    "ReduceMax": _reduction(_reduce_max),
    "ReduceMean": _reduction(lambda x, axes, kept: x.mean(axes, kept)),
    "ReduceMin": _reduction(_reduce_min),
    "ReduceProd": _reduction(_reduce_product),
    "ReduceSum": _reduction(_reduce_sum),
    "ReduceSumSquare": _reduction(lambda x, axes, kept: (x * x).sum(axes, kept)),
}
