"""The ONNX operators of training: losses, optimizers and gradients.

Source of the equations: the ONNX operators' documentation, of the sets ai.onnx 13 and
ai.onnx.preview.training 1.

Read next: :mod:`chainrule.interop.from_onnx`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.core.errors import OptionError
from chainrule.core.tensor import Tensor, as_tensor
from chainrule.interop.onnx_call import Call
from chainrule.interop.onnx_operators import gather_elements
from chainrule.ops.arithmetic import where
from chainrule.ops.composite import log_softmax
from chainrule.ops.elementary import sqrt
from chainrule.ops.index import take
from chainrule.ops.shape import expand_dims

__all__ = ["TRAINING"]

PREVIEW = "ai.onnx.preview.training."


def _nll(call: Call, log_probability: Tensor) -> Tensor:
    """Return the negative log-likelihood of classes on axis 1, weighted and reduced."""
    target, ignored = call.x(1), call.attribute("ignore_index")
    counted = target == target
    if ignored is not None:
        counted = ~(target == int(ignored))
    label = where(counted, target, 0)
    loss = -gather_elements(log_probability, expand_dims(label, 1), 1)
    loss = loss.reshape((*loss.shape[:1], *loss.shape[2:]))
    weight = take(call.x(2), label, axis=0) if call.has(2) else as_tensor(1.0, loss)
    weight = where(counted, weight, 0.0).astype(loss.dtype)
    loss, how = loss * weight, call.attribute("reduction", "mean")
    if how == "none":
        return loss
    total = loss.sum()
    if how == "sum":
        return total
    if how != "mean":
        raise OptionError(f"a loss with the reduction {how!r}; it may be none, sum or mean.")
    return total / weight.sum()


def _cross_entropy(call: Call) -> Any:
    logs = log_softmax(call.x(), 1)
    return _nll(call, logs), logs


def _grouped(step: Callable[..., tuple[Tensor, ...]], kinds: int) -> Callable[[Call], Any]:
    """Return an optimizer of several tensors: R, T, all values, all gradients, all states."""

    def stepped(call: Call) -> Any:
        rate, count, *rest = call.tensors()
        size = len(rest) // kinds
        rows = [rest[k * size : (k + 1) * size] for k in range(kinds)]
        found = [step(call, rate, count, *each) for each in zip(*rows, strict=True)]
        return tuple(value for kind in zip(*found, strict=True) for value in kind)

    return stepped


def _decayed(call: Call, x: Tensor, g: Tensor) -> Tensor:
    return g + x * float(call.attribute("norm_coefficient", 0.0))


def _adagrad(
    call: Call, rate: Tensor, count: Tensor, x: Tensor, g: Tensor, h: Tensor
) -> tuple[Tensor, ...]:
    rate = rate / (1 + count.astype(rate.dtype) * call.attribute("decay_factor", 0.0))
    g = _decayed(call, x, g)
    h = h + g * g
    return x - rate * g / (sqrt(h) + call.attribute("epsilon", 1e-6)), h


def _adam(
    call: Call, rate: Tensor, count: Tensor, x: Tensor, g: Tensor, v: Tensor, h: Tensor
) -> tuple[Tensor, ...]:
    alpha, beta = call.attribute("alpha", 0.9), call.attribute("beta", 0.999)
    g = _decayed(call, x, g)
    v, h = alpha * v + (1 - alpha) * g, beta * h + (1 - beta) * g * g
    steps = count.astype(rate.dtype)
    debiased = rate * sqrt(1 - beta**steps) / where(count > 0, 1 - alpha**steps, 1.0)
    rate = where(count > 0, debiased, rate)
    x = x - rate * v / (sqrt(h) + call.attribute("epsilon", 1e-6))
    return (1 - call.attribute("norm_coefficient_post", 0.0)) * x, v, h


def _momentum(
    call: Call, rate: Tensor, count: Tensor, x: Tensor, g: Tensor, v: Tensor
) -> tuple[Tensor, ...]:
    alpha = call.attribute("alpha", 0.0)
    g = _decayed(call, x, g)
    beta = where(count > 0, as_tensor(call.attribute("beta", 0.0), g), 1.0).astype(g.dtype)
    v = alpha * v + beta * g
    nesterov = call.attribute("mode", "standard") == "nesterov"
    return x - rate * (g + alpha * v if nesterov else v), v


TRAINING: dict[str, Callable[[Call], Any]] = {
    "NegativeLogLikelihoodLoss": lambda call: _nll(call, call.x()),
    "SoftmaxCrossEntropyLoss": _cross_entropy,
    PREVIEW + "Adagrad": _grouped(_adagrad, 3),
    PREVIEW + "Adam": _grouped(_adam, 4),
    PREVIEW + "Momentum": _grouped(_momentum, 3),
}
