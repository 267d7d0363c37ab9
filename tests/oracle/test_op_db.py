"""Operations equal PyTorch's on the samples of its own tests (``op_db``), and so do gradients.

`OPERATIONS` says how each of PyTorch's operations is written here.  A sample without a counterpart
(another dtype, an option that does not exist here) is left out; every operation must share some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.tensor import Tensor
from chainrule.ops.index import take

pytestmark = pytest.mark.oracle
pytest.importorskip("expecttest", reason="PyTorch's op_db needs it")

Ours = Callable[..., Any]


class OtherSample(Exception):  # noqa: N818 - not an error
    """The sample has no counterpart here."""


def shared(condition: object) -> None:
    if not condition:
        raise OtherSample


def axes(x: Tensor, dim: Any) -> Any:
    """Return PyTorch's `dim` as an axis; no dimensions are all of them."""
    if isinstance(dim, (list, tuple)):
        return tuple(dim) or None
    return dim


def over(reduce: Ours) -> Ours:
    def call(x: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
        shared(dtype is None and x.shape)
        return reduce(x, axes(x, dim), keepdim)

    return call


def deviation(reduce: Ours) -> Ours:
    def call(x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False,
             correction: Any = None) -> Any:  # fmt: skip
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        ddof = correction if correction is not None else int(unbiased)
        shared(isinstance(ddof, int) and x.shape)
        axis = axes(x, dim)
        some = axis if isinstance(axis, tuple) else (axis,)
        count = np.prod([n for k, n in enumerate(x.shape)
                         if axis is None or k in [a % x.ndim for a in some]])  # fmt: skip
        shared(count > ddof)  # else PyTorch gives NaN
        return reduce(x, axis, keepdim, ddof)

    return call


def extreme(reduce: Ours, both: Ours) -> Ours:
    def call(x: Tensor, other: Any = None, keepdim: bool = False) -> Any:
        if isinstance(other, Tensor):
            return both(x, other)
        shared(x.shape)
        return reduce(x, other, keepdim)

    return call


def soft(function: Ours) -> Ours:
    def call(x: Tensor, dim: int, dtype: Any = None, **more: Any) -> Any:
        shared(x.shape and 0 not in x.shape and str(dtype) in ("None", "torch.float64"))
        return function(x, dim)

    return call


def logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Any:
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    shared(x.shape and len(dims) == 1)
    return cr.logsumexp(x, dims[0], keepdim)


def scaled(function: Ours) -> Ours:
    def call(x: Tensor, y: Any, alpha: float = 1) -> Any:
        return function(x, y * alpha if alpha != 1 else y)

    return call


def div(x: Tensor, y: Any, rounding_mode: str | None = None) -> Any:
    shared(rounding_mode is None)
    return x / y


def clamp(x: Tensor, low: Any = None, high: Any = None, **limits: Any) -> Any:
    return cr.clip(x, limits.get("min", low), limits.get("max", high))


def pad(x: Tensor, widths: Sequence[int], mode: str = "constant", value: float | None = 0.0) -> Any:
    shared(mode == "constant" and not value and min(widths) >= 0)
    pairs = list(zip(widths[::2], widths[1::2], strict=True))[::-1]
    return cr.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs)


def layer_norm(x: Tensor, shape: Sequence[int], weight: Any = None, bias: Any = None,
               eps: float = 1e-5) -> Any:  # fmt: skip
    shared(tuple(shape) == x.shape[-1:] and x.ndim > 1 and weight is not None and bias is not None)
    shared(eps > 0)
    return _normed(nn.LayerNorm(shape[0], eps, dtype="float64"), x, scale=weight, shift=bias)


def rms_norm(x: Tensor, shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    shared(tuple(shape) == x.shape[-1:] and x.ndim > 1 and weight is not None)
    least = float(np.finfo(np.float64).eps) if eps is None else eps
    shared(least > 0)
    return _normed(nn.RMSNorm(shape[0], least, "float64"), x, scale=weight)


def _normed(layer: Any, x: Tensor, **given: Tensor) -> Any:
    for name, value in given.items():
        assert hasattr(layer, name)
        setattr(layer, name, value)
    return layer(x)


def linear(x: Tensor, weight: Tensor, bias: Any = None) -> Any:
    shared(x.ndim > 1 and weight.ndim == 2)
    y = x @ weight.T
    return y if bias is None else y + bias


def mean_of(loss: Ours) -> Ours:
    """Return a loss of ours, which has a value for each row, as PyTorch reduces it."""

    def call(x: Tensor, target: Any, reduction: str = "mean", **more: Any) -> Any:
        shared(x.ndim == 2 and reduction in ("mean", "sum") and isinstance(target, Tensor))
        shared(x.shape == target.shape)
        losses = loss(x, target, **more)
        total = losses.sum() * (x.shape[1] if loss in PER_OUTPUT else 1)
        return total / float(np.prod(x.shape)) if reduction == "mean" else total

    return call


def mse(x: Tensor, y: Tensor) -> Any:
    return nn.mse(x, y)


def mae(x: Tensor, y: Tensor, weight: Any = None) -> Any:
    shared(weight is None)
    return nn.mae(x, y)


def huber(x: Tensor, y: Tensor, delta: float = 1.0, weight: Any = None) -> Any:
    shared(weight is None)
    return nn.Huber(delta)(x, y)


PER_OUTPUT: tuple[Any, ...] = (mse, mae, huber)  # are means over the outputs of a row


def cross_entropy(x: Tensor, target: Any, **more: Any) -> Any:
    shared(x.ndim == 2 and not set(more) - {"reduction", "label_smoothing"})
    shared(isinstance(target, Tensor) and target.ndim == 1)
    reduction = more.get("reduction", "mean")
    shared(reduction in ("mean", "sum"))
    losses = nn.CrossEntropy(label_smoothing=more.get("label_smoothing", 0.0))(x, target)
    return losses.mean() if reduction == "mean" else losses.sum()


def inner(x: Tensor, y: Tensor) -> Any:
    shared(x.ndim and y.ndim)
    return x @ (y.T if y.ndim > 1 else y)


def cat(xs: Sequence[Tensor], dim: int = 0) -> Any:
    shared(len({x.ndim for x in xs}) == 1)  # PyTorch leaves out empty ones of one axis
    return cr.concat(xs, dim)


def embedding(table: Tensor, indices: Tensor, **more: Any) -> Any:
    shared(not more)
    return cr.gather(table, indices)


def transpose(x: Tensor, a: int, b: int) -> Any:
    shared(x.ndim)
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    return cr.transpose(x, order)


def arg(function: Ours) -> Ours:
    def call(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
        shared(x.shape and not keepdim)
        return function(x, dim)

    return call


def leaky(x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    return cr.leaky_relu(x, negative_slope)


def plain(function: Ours) -> Ours:
    return lambda x, inplace=False: function(x)


def elu(x: Tensor, alpha: float = 1.0, inplace: bool = False, **more: Any) -> Any:
    shared(not more)
    return cr.elu(x, alpha)


def norm(x: Tensor, p: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    shared(x.shape and p in (2, "fro") and dtype is None)
    return cr.norm(x, axes(x, dim), keepdim)


def one_hot(indices: Tensor, num_classes: int = -1) -> Any:
    shared(num_classes > 0)
    return cr.one_hot(indices, num_classes, "int64")


def index_select(x: Tensor, dim: int, indices: Tensor) -> Any:
    shared(x.ndim and indices.ndim == 1)
    return take(x, indices, dim)


def hard(function: Ours) -> Ours:
    def call(x: Tensor, *limits: float, inplace: bool = False, **more: float) -> Any:
        shared((*limits, *more.values()) in ((), (-1.0, 1.0)))
        return function(x)

    return call


def compared(function: Ours) -> Ours:
    return lambda x, y: function(x, y)


OPERATIONS: dict[str, Ours] = {
    "abs": cr.abs, "add": scaled(lambda x, y: x + y), "sub": scaled(lambda x, y: x - y),
    "mul": lambda x, y: x * y, "div": div, "true_divide": lambda x, y: x / y,
    "pow": lambda x, y: x**y, "float_power": lambda x, y: cr.pow(x, y),
    "__radd__": lambda x, y: y + x, "__rmul__": lambda x, y: y * x, "__rsub__": lambda x, y: y - x,
    "__rdiv__": lambda x, y: y / x, "__rmatmul__": lambda x, y: y @ x,
    "rsub": lambda x, y, alpha=1: y - x * alpha,
    "neg": lambda x: -x, "reciprocal": lambda x: 1 / x, "rsqrt": lambda x: 1 / cr.sqrt(x),
    "square": cr.square, "sqrt": cr.sqrt, "exp": cr.exp, "expm1": cr.expm1, "log": cr.log,
    "log1p": cr.log1p, "log2": cr.log2, "log10": lambda x: cr.log(x) / float(np.log(10)),
    "exp2": lambda x: cr.exp(x * float(np.log(2))),
    "sin": cr.sin, "cos": cr.cos, "tan": cr.tan, "tanh": cr.tanh, "atan": cr.arctan,
    "sigmoid": cr.sigmoid, "erf": cr.erf, "erfc": lambda x: 1 - cr.erf(x), "floor": cr.floor,
    "ceil": lambda x: -cr.floor(-x), "sign": cr.sign,
    "positive": lambda x: x, "addcmul": lambda x, a, b, value=1: x + a * b * value,
    "addcdiv": lambda x, a, b, value=1: x + a / b * value,
    "lerp": lambda x, y, w: x + (y - x) * w,
    "maximum": cr.maximum, "minimum": cr.minimum, "fmax": cr.maximum, "fmin": cr.minimum,
    "clamp": clamp, "clamp_min": lambda x, y: cr.clip(x, y, None),
    "clamp_max": lambda x, y: cr.clip(x, None, y),
    "where": lambda x, condition, y: cr.where(condition, x, y),
    "eq": compared(cr.equal), "lt": compared(cr.less), "le": compared(cr.less_equal),
    "gt": lambda x, y: cr.less(y, x), "ge": lambda x, y: cr.less_equal(y, x),
    "ne": lambda x, y: cr.logical_not(cr.equal(x, y)),
    "sum": over(cr.sum), "mean": over(cr.mean), "var": deviation(cr.var),
    "std": deviation(cr.std), "max": extreme(cr.max, cr.maximum),
    "min": extreme(cr.min, cr.minimum), "amax": over(cr.max), "amin": over(cr.min),
    "logsumexp": logsumexp, "norm": norm, "argmax": arg(cr.argmax), "argmin": arg(cr.argmin),
    "softmax": soft(cr.softmax), "log_softmax": soft(cr.log_softmax),
    "nn.functional.softmin": soft(lambda x, axis: cr.softmax(-x, axis)),
    "matmul": cr.matmul, "mm": cr.matmul, "mv": cr.matmul, "bmm": cr.matmul, "dot": cr.matmul,
    "inner": inner,
    "addmm": lambda c, a, b, beta=1, alpha=1: c * beta + (a @ b) * alpha,
    "addmv": lambda c, a, b, beta=1, alpha=1: c * beta + (a @ b) * alpha,
    "baddbmm": lambda c, a, b, beta=1, alpha=1: c * beta + (a @ b) * alpha,
    "outer": lambda a, b: cr.expand_dims(a, 1) * cr.expand_dims(b, 0),
    "nn.functional.linear": linear,
    "reshape": lambda x, shape: cr.reshape(x, shape), "view": lambda x, shape: cr.reshape(x, shape),
    "transpose": transpose, "t": lambda x: x.T if x.ndim > 1 else x,
    "permute": lambda x, order: cr.transpose(x, order),
    "unsqueeze": cr.expand_dims,
    "broadcast_to": lambda x, shape: cr.broadcast_to(x, shape),
    "cat": cat, "stack": lambda xs, dim=0: cr.stack(xs, dim),
    "index_select": index_select, "nn.functional.pad": pad,
    "nn.functional.embedding": embedding, "nn.functional.one_hot": one_hot,
    "nn.functional.relu": plain(cr.relu), "nn.functional.relu6": plain(cr.relu6),
    "nn.functional.leaky_relu": leaky, "nn.functional.elu": elu,
    "nn.functional.selu": plain(cr.selu), "nn.functional.silu": plain(cr.silu),
    "nn.functional.mish": plain(cr.mish), "nn.functional.softsign": cr.softsign,
    "nn.functional.gelu": lambda x, approximate="none": cr.gelu(x, approximate == "tanh"),
    "nn.functional.hardtanh": hard(cr.hard_tanh),
    "nn.functional.hardswish": plain(cr.hard_swish),
    "nn.functional.logsigmoid": lambda x: -cr.softplus(-x),
    "nn.functional.tanhshrink": lambda x: x - cr.tanh(x),
    "nn.functional.layer_norm": layer_norm, "nn.functional.rms_norm": rms_norm,
    "nn.functional.mse_loss": mean_of(mse), "nn.functional.l1_loss": mean_of(mae),
    "nn.functional.huber_loss": mean_of(huber), "nn.functional.cross_entropy": cross_entropy,
}  # fmt: skip


def samples(torch: Any, name: str) -> list[tuple[Any, list[Any], dict[str, Any]]]:
    from torch.testing._internal.common_methods_invocations import op_db

    dtype = torch.int64 if name == "nn.functional.one_hot" else torch.float64
    found = []
    for info in op_db:
        if info.name == name:
            for sample in info.sample_inputs("cpu", dtype):
                found.append((info.op, [sample.input, *sample.args], dict(sample.kwargs)))
    return found


def is_float(x: Any) -> bool:
    return bool(x.dtype.is_floating_point)


def as_theirs(torch: Any, given: Any) -> Any:
    if isinstance(given, torch.Tensor):
        leaf = given.detach().clone()
        return leaf.requires_grad_(is_float(leaf))
    if isinstance(given, (list, tuple)) and any(isinstance(one, torch.Tensor) for one in given):
        return [as_theirs(torch, one) for one in given]
    return given


def leaves(kind: type, given: Any) -> list[Any]:
    if isinstance(given, kind):
        return [given]
    if isinstance(given, (list, tuple)):
        return [leaf for one in given for leaf in leaves(kind, one)]
    return []


def as_ours(torch: Any, given: Any) -> Any:
    if isinstance(given, torch.Tensor):
        return cr.tensor(given.detach().numpy())
    if isinstance(given, (list, tuple)):
        return type(given)(as_ours(torch, one) for one in given) if type(given) in (
            list, tuple) else tuple(given)  # fmt: skip
    return given


def compare(torch: Any, ours: Ours, op: Any, args: list[Any], more: dict[str, Any]) -> None:
    """Hold the value and the gradients with respect to every float input to PyTorch's."""
    theirs = [as_theirs(torch, one) for one in args]
    named = {name: as_theirs(torch, one) for name, one in more.items()}
    mine = [as_ours(torch, one) for one in theirs]
    mine_named = {name: as_ours(torch, one) for name, one in named.items()}
    y = ours(*mine, **mine_named)
    z = op(*theirs, **named)
    z = z[0] if isinstance(z, tuple) else z
    assert y.shape == tuple(z.shape)
    np.testing.assert_allclose(
        y.numpy(), z.detach().numpy(), rtol=1e-10, atol=1e-11, equal_nan=True
    )
    if not z.requires_grad or y.dtype.kind != "f":
        return
    inputs = [leaf for one in (theirs, list(named.values())) for leaf in leaves(torch.Tensor, one)]
    own = [leaf for one in (mine, list(mine_named.values())) for leaf in leaves(Tensor, one)]
    pairs = [(a, b) for a, b in zip(own, inputs, strict=True) if b.requires_grad]
    weights = np.random.default_rng(0).normal(size=y.shape)
    grads = cr.grad((y * weights).sum(), [a for a, _ in pairs])
    (z * torch.tensor(weights)).sum().backward()
    for found, (_, x) in zip(grads, pairs, strict=True):
        expected = torch.zeros_like(x) if x.grad is None else x.grad
        np.testing.assert_allclose(
            found.numpy(), expected.numpy(), rtol=1e-9, atol=1e-10, equal_nan=True
        )


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_the_samples_of_pytorch_agree(name: str, torch: Any) -> None:
    tried = 0
    for k, (op, args, more) in enumerate(samples(torch, name)):
        try:
            compare(torch, OPERATIONS[name], op, args, more)
        except OtherSample:
            continue
        except AssertionError as error:
            raise AssertionError(f"sample {k}: {more}: {error}") from error
        tried += 1
    assert tried
