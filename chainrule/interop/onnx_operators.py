"""The ONNX operators that chainrule reads, each as a function of our tensors.

An operator that has the name of one of our operations and its arguments needs no function: its
name is in the operation's record.

Read next: :mod:`chainrule.interop.onnx_reductions`, :mod:`chainrule.interop.from_onnx`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.primitive import Primitive, registry
from chainrule.core.spec import Dim, as_dtype, is_float
from chainrule.core.tensor import Tensor, as_tensor, record
from chainrule.interop.onnx_call import Call, check_size, lengths_of, shape_tensor
from chainrule.interop.onnx_reductions import REDUCTIONS
from chainrule.ops.arithmetic import abs, floor, maximum, minimum, sign, where
from chainrule.ops.compare import logical_not
from chainrule.ops.composite import (
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    mish,
    softmax,
    softplus,
    softsign,
)
from chainrule.ops.elementary import sigmoid, sqrt
from chainrule.ops.index import is_class, scatter_add, take
from chainrule.ops.shape import arange, broadcast_to, concat, expand_dims

__all__ = ["OPERATORS", "primitive_of"]

Result = Any  # a tensor, or several
Function = Callable[[Call], Result]


def primitive_of(operator: str) -> Primitive | None:
    """Return the elementwise operation that an ONNX operator is, if there is one."""
    named = (p for p in registry.values() if p.elementwise and p.onnx == operator)
    return next(named, None)


# --- elementwise ------------------------------------------------------------------------------


def _div(call: Call) -> Result:
    a, b = call.tensors()
    if is_float(a.dtype):
        return a / b
    whole = a.astype("float64") / b.astype("float64")  # integers are divided toward zero
    return (sign(whole) * floor(abs(whole))).astype(a.dtype)


def _pow(call: Call) -> Result:
    a, b = call.tensors()
    return (a**b).astype(a.dtype)


def _extreme(choose: Callable[[Tensor, Tensor], Tensor]) -> Function:
    def chosen(call: Call) -> Result:
        first, *rest = call.tensors()
        for x in rest:
            first = choose(first, x)
        return first

    return chosen


def _total(call: Call) -> Tensor:
    total, *rest = call.tensors()
    for x in rest:
        total = total + x
    return total


def _clip(call: Call) -> Result:
    x = call.x()
    bounds = [
        call.x(place) if call.has(place) else call.attribute(name)
        for place, name in ((1, "min"), (2, "max"))
    ]
    x = x if bounds[0] is None else maximum(x, bounds[0])
    return x if bounds[1] is None else minimum(x, bounds[1])


def _round(call: Call) -> Result:
    x = call.x()
    down = floor(x)
    part, odd = x - down, down - 2 * floor(down / 2)
    up = (part > 0.5) | ((part == 0.5) & (odd == 1))  # halves go to even numbers
    return where(up, down + 1, down)


def _mod(call: Call) -> Result:
    a, b = call.tensors()
    x, y = (a, b) if is_float(a.dtype) else (a.astype("float64"), b.astype("float64"))
    ratio = x / y
    whole = sign(ratio) * floor(abs(ratio))
    rest = where(whole == 0, x, x - whole * y)  # an infinite y is not multiplied by 0
    if not call.attribute("fmod", 0):
        rest = where((rest != 0) & (rest * y < 0), rest + y, rest)
    return rest.astype(a.dtype)


def _hard_sigmoid(call: Call) -> Result:
    alpha, beta = call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    return maximum(minimum(call.x() * alpha + beta, 1.0), 0.0)


def _hard_swish(call: Call) -> Result:
    x = call.x()
    return x * maximum(minimum(x / 6 + 0.5, 1.0), 0.0)


def _selu(call: Call) -> Result:
    alpha = call.attribute("alpha", 1.6732632423543772)
    return elu(call.x(), alpha) * call.attribute("gamma", 1.0507009873554805)


def _celu(call: Call) -> Result:
    alpha = call.attribute("alpha", 1.0)
    return alpha * elu(call.x() / alpha)


def _thresholded(call: Call) -> Result:
    x = call.x()
    return where(x > call.attribute("alpha", 1.0), x, 0.0)


def _isinf(call: Call) -> Result:
    x = call.x()
    low = (x == -math.inf) & bool(call.attribute("detect_negative", 1))
    return low | ((x == math.inf) & bool(call.attribute("detect_positive", 1)))


def _cast(call: Call) -> Result:
    x, to = call.x(), call.attribute("to")
    return x.astype(x.dtype if to is None else as_dtype(to))


# --- products and normalization ---------------------------------------------------------------


def _gemm(call: Call) -> Result:
    a, b = call.x(0), call.x(1)
    if a.ndim != 2 or b.ndim != 2:
        raise OptionError(f"Gemm needs two matrices, not {a.shape} and {b.shape}.")
    a = a.T if call.attribute("transA", 0) else a
    b = b.T if call.attribute("transB", 0) else b
    y, alpha, beta = a @ b, call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    y = y if alpha == 1 else y * alpha
    if not call.has(2):
        return y
    return y + (call.x(2) if beta == 1 else call.x(2) * beta)


def _matmul_integer(call: Call) -> Result:
    # Products and sums of 8 bits are exact in float64.
    a, b = (
        call.x(i).astype("float64") - (call.x(i + 2).astype("float64") if call.has(i + 2) else 0.0)
        for i in (0, 1)
    )
    return (a @ b).astype("int32")


def _along_rows(x: Tensor, values: Tensor) -> Tensor:
    """Return `values`, one for each channel, shaped to be combined with `x` (n, channels, ...)."""
    return values.reshape((-1, *(1,) * (x.ndim - 2)))


def _batch_norm(call: Call) -> Result:
    x, scale, bias, mean, var = call.tensors()
    kept = call.attribute("momentum", 0.9)
    axes = (0, *range(2, x.ndim))
    fresh = []
    if call.attribute("training_mode", 0):
        seen, spread = x.mean(axes), x.var(axes)
        fresh = [mean * kept + seen * (1 - kept), var * kept + spread * (1 - kept)]
        mean, var = seen, spread
    away = (x - _along_rows(x, mean)) / sqrt(_along_rows(x, var) + call.attribute("epsilon", 1e-5))
    return (away * _along_rows(x, scale) + _along_rows(x, bias), *fresh)


def _layer_norm(call: Call) -> Result:
    x = call.x()
    axes = tuple(range(call.axis(-1), x.ndim))
    mean = x.mean(axes, keepdims=True)
    spread = 1 / sqrt(x.var(axes, keepdims=True) + call.attribute("epsilon", 1e-5))
    y = (x - mean) * spread * call.x(1)
    return (y + call.x(2) if call.has(2) else y, mean, spread)


def _dropout(call: Call) -> Result:
    x = call.x()
    ratio = float(np.ravel(call.value(1, "ratio", 0.5))[0])
    training = bool(np.ravel(call.value(2, "", False))[0])
    if not training or ratio == 0:
        return x, broadcast_to(as_tensor(np.array(True)), x.shape)
    if any(isinstance(d, Dim) for d in x.shape):
        raise OptionError("Dropout in training mode needs an input of known lengths.")
    check_size("Dropout", x.shape)
    # The numbers that ONNX's own evaluator draws.
    rng = np.random.RandomState(call.attribute("seed", 0))
    kept = rng.uniform(0, 1, [int(d) for d in x.shape]) >= ratio  # type: ignore[arg-type]
    return where(as_tensor(kept), x, 0.0) * (1 / (1 - ratio)), as_tensor(kept)


def _by_axis(function: Callable[[Tensor, int], Tensor]) -> Function:
    def applied(call: Call) -> Result:
        x = call.x()
        if call.version >= 13 or call.axis(1) == x.ndim - 1:
            return function(x, call.axis(-1 if call.version >= 13 else 1))
        axis = call.axis(1)  # before version 13, all axes from this one on are one
        flat = _flattened(x, axis)
        return function(flat, 1).reshape(x.shape)

    return applied


def _flattened(x: Tensor, axis: int) -> Tensor:
    before, after = x.shape[:axis], x.shape[axis:]
    if any(isinstance(d, Dim) for d in before[1:]):
        raise OptionError("only the first axis may have a length that depends on the data.")
    if before[:1] and isinstance(before[0], Dim):
        if len(before) > 1:
            raise OptionError("Flatten: rows of a batch can't be joined with another axis.")
        return x.reshape((before[0], math.prod(after)))  # type: ignore[arg-type]
    return x.reshape((math.prod(before), math.prod(after)))  # type: ignore[arg-type]


# --- shapes -----------------------------------------------------------------------------------


def _reshape(call: Call) -> Result:
    x = call.x()
    wanted = lengths_of(call.x(1), "Reshape: the shape") if call.has(1) else call.attribute("shape")
    if not call.attribute("allowzero", 0):
        wanted = [x.shape[i] if d == 0 and i < x.ndim else d for i, d in enumerate(wanted)]
    return x.reshape(tuple(wanted))


def _expand(call: Call) -> Result:
    x = call.x()
    shape = tuple(lengths_of(call.x(1), "Expand: the shape"))
    check_size("Expand", shape)
    whole = broadcast_to(as_tensor(np.zeros((), x.dtype)), shape)
    return x + whole if x.dtype != np.bool_ else x | whole


def _constant_of_shape(call: Call) -> Result:
    shape = tuple(lengths_of(call.x(), "ConstantOfShape: the shape"))
    check_size("ConstantOfShape", shape)
    value = np.ravel(call.attribute("value", np.zeros(1, np.float32)))[:1]
    return broadcast_to(as_tensor(value.reshape(())), shape)


def _shape(call: Call) -> Result:
    shape = call.x().shape
    cut = slice(call.attribute("start", 0), call.attribute("end", None))
    return shape_tensor(shape[cut])


def _size(call: Call) -> Result:
    total = as_tensor(np.array(1, np.int64))
    for length in call.x().shape:
        total = total * shape_tensor((length,))[0]
    return total


def _transpose(call: Call) -> Result:
    order = call.attribute("perm")
    return call.x().transpose(*(order or ()))


def _squeeze(call: Call) -> Result:
    x, axes = call.x(), call.integers(1, "axes")
    gone = [i for i, d in enumerate(x.shape) if d == 1] if axes is None else axes
    gone = [a % max(x.ndim, 1) for a in gone]
    return x.reshape(tuple(d for i, d in enumerate(x.shape) if i not in gone))


def _unsqueeze(call: Call) -> Result:
    x, axes = call.x(), call.integers(1, "axes") or []
    ndim = x.ndim + len(axes)
    for axis in sorted(a % ndim for a in axes):
        x = expand_dims(x, axis)
    return x


def _slice(call: Call) -> Result:
    x = call.x()
    starts, ends = call.integers(1, "starts") or [], call.integers(2, "ends") or []
    axes = call.integers(3, "axes")
    steps = call.integers(4, "steps")
    axes = list(range(len(starts))) if axes is None else axes
    for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(axes), strict=True):
        at = axis % x.ndim
        length = x.shape[at]
        if isinstance(length, Dim):
            if start == 0 and end >= np.iinfo(np.int32).max and step == 1:
                continue
            raise OptionError("Slice of an axis whose length depends on the data.")
        kept = range(*slice(start, end, step).indices(length)) if step else range(0)
        if step >= 1:
            stop = kept.stop if len(kept) else kept.start
            x = x[(*(slice(None),) * at, slice(kept.start, stop, step))]
        else:
            x = take(x, np.array(kept, np.int64), axis=at)
    return x


def _split(call: Call) -> Result:
    x, axis = call.x(), call.axis(0)
    length = x.shape[axis]
    if isinstance(length, Dim):
        raise OptionError("Split of an axis whose length depends on the data.")
    sizes = call.integers(1, "split")
    if sizes is None:
        each = -(-length // call.results)
        sizes = [min(each, length - i * each) for i in range(call.results)]
    ends = np.cumsum(sizes).tolist()
    before = (slice(None),) * axis
    return tuple(x[(*before, slice(e - s, e))] for s, e in zip(sizes, ends, strict=True))


def _concat(call: Call) -> Result:
    return concat(call.tensors(), axis=int(call.attribute("axis", 1)))


def _pad(call: Call) -> Result:
    x, widths = call.x(), call.integers(1, "pads") or []
    value = float(np.ravel(call.value(2, "value", 0.0))[0])
    if call.attribute("mode", "constant") != "constant" or value != 0 or call.has(3):
        raise OptionError("Pad: only zeros on all axes are supported.")
    low, high = widths[: x.ndim], widths[x.ndim :]
    spread = zip(x.shape, low, high, strict=True)
    check_size("Pad", tuple(d + a + b for d, a, b in spread if isinstance(d, int)))
    none = (0,) * x.ndim
    return record(registry["pad"], x, low=tuple(low), high=tuple(high), interior=none)


def _gather(call: Call) -> Result:
    return take(call.x(0), call.x(1), axis=call.axis(0))


def gather_elements(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Return the element of `x` at each index along `axis`: ``y[i, j] = x[i, indices[i, j]]``."""
    order = [a for a in range(x.ndim) if a != axis]
    x, places = x.transpose(*order, axis), indices.transpose(*order, axis)
    cut = zip(x.shape[:-1], places.shape[:-1], strict=True)
    x = x[tuple(slice(None) if d == e else slice(0, e) for d, e in cut)]
    length = int(x.shape[-1])  # type: ignore[arg-type]
    check_size("GatherElements", (*places.shape, length))
    chosen = is_class(where(places < 0, places + length, places), length)
    found = where(chosen, expand_dims(x, x.ndim - 1), 0).sum(-1).astype(x.dtype)
    return found.transpose(*(int(i) for i in np.argsort([*order, axis])))


def _gather_elements(call: Call) -> Result:
    return gather_elements(call.x(0), call.x(1), call.axis(0))


def _scatter(call: Call) -> Result:
    data, places, updates = call.tensors()
    depth = places.shape[-1]
    how, shape = call.attribute("reduction", "none"), data.shape
    if isinstance(depth, Dim) or any(isinstance(d, Dim) for d in shape[:depth]):
        raise OptionError("ScatterND into axes whose length depends on the data.")
    if how not in ("none", "add"):
        raise OptionError(f"ScatterND with the reduction {how!r}; it may be none or add.")
    lengths = np.array(shape[:depth], np.int64)
    strides = np.append(np.cumprod(lengths[:0:-1])[::-1], 1)  # of the joined axes
    rows = (where(places < 0, places + lengths, places) * strides).sum(-1)
    count = int(np.prod(lengths))
    flat = data.reshape((count, *shape[depth:]))
    added = scatter_add(updates, rows, count)
    if how == "none":
        reached = scatter_add(broadcast_to(as_tensor(np.float32(1)), updates.shape), rows, count)
        return where(reached > 0, added, flat).reshape(shape)
    return (flat + added).reshape(shape)


def _range(call: Call) -> Result:
    start, limit, step = (call.value(i) for i in range(3))
    length = max(math.ceil((float(limit) - float(start)) / float(step)), 0)
    check_size("Range", (length,))
    return (arange(length).astype(start.dtype) * step + start).astype(start.dtype)


def _constant(call: Call) -> Result:
    kinds = {"value_int": np.int64, "value_ints": np.int64, "value": None}
    for name, value in call.step.attributes.items():
        return as_tensor(np.array(value, kinds.get(name, np.float32)))
    raise OptionError("Constant without a value.")


def _flatten(call: Call) -> Result:
    axis = int(call.attribute("axis", 1))
    return _flattened(call.x(), axis + call.x().ndim if axis < 0 else axis)


OPERATORS: dict[str, Function] = {
    **REDUCTIONS,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "CastLike": lambda call: call.x(0).astype(call.x(1).dtype),
    "Ceil": lambda call: -floor(-call.x()),
    "Celu": _celu,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Div": _div,
    "Dropout": _dropout,
    "Elu": lambda call: elu(call.x(), call.attribute("alpha", 1.0)),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Gelu": lambda call: gelu(call.x(), call.attribute("approximate", "none") == "tanh"),
    "Gemm": _gemm,
    "Greater": lambda call: call.x(0) > call.x(1),
    "GreaterOrEqual": lambda call: call.x(0) >= call.x(1),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "IsInf": _isinf,
    "IsNaN": lambda call: call.x() != call.x(),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda call: leaky_relu(call.x(), call.attribute("alpha", 0.01)),
    "LogSoftmax": _by_axis(log_softmax),
    "MatMul": lambda call: call.x(0) @ call.x(1),
    "MatMulInteger": _matmul_integer,
    "Max": _extreme(maximum),
    "Mean": lambda call: _total(call) / len(call.given),
    "Min": _extreme(minimum),
    "Mish": lambda call: mish(call.x()),
    "Mod": _mod,
    "PRelu": lambda call: leaky_relu(call.x(0), call.x(1)),
    "Pad": _pad,
    "Pow": _pow,
    "Range": _range,
    "Reciprocal": lambda call: 1 / call.x(),
    "Reshape": _reshape,
    "Round": _round,
    "ScatterND": _scatter,
    "Selu": _selu,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Softmax": _by_axis(softmax),
    "Softplus": lambda call: softplus(call.x()),
    "Softsign": lambda call: softsign(call.x()),
    "Split": _split,
    "Squeeze": _squeeze,
    "Sum": _total,
    "Swish": lambda call: call.x() * sigmoid(call.x() * call.attribute("alpha", 1.0)),
    "ThresholdedRelu": _thresholded,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Xor": lambda call: logical_not(call.x(0) == call.x(1)),
}
