"""Adam and its variants, which scale steps by running moments of the gradient.

Read next: :mod:`chainrule.optim.adaptive`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.ops.arithmetic import maximum, sign, where
from chainrule.ops.elementary import sqrt
from chainrule.optim.decay import check_decay, decayed
from chainrule.optim.hyper import in_range
from chainrule.optim.optimizer import Optimizer, Slots, check_learning_rate, named
from chainrule.optim.schedules import Schedule

__all__ = ["AMSGrad", "Adam", "AdamW", "Lion", "Nadam", "RAdam"]

Number = float | Schedule
H = Mapping[str, Tensor]


@named("adam")
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam, with bias correction.

    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * g²``,
    ``p = p - learning_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)``.
    Raises OptionError for a rate or epsilon that is not positive, or betas outside [0, 1).

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015.

    >>> Adam(1e-3).slots()
    ('m', 'v')
    """

    learning_rate: Number = 1e-3
    beta1: Number = 0.9
    beta2: Number = 0.999
    epsilon: Number = 1e-8

    def __post_init__(self) -> None:
        _check(self)

    def slots(self) -> tuple[str, ...]:
        return ("m", "v")

    def update(self, g: Tensor, p: Tensor, slots: Slots, h: H, t: Tensor) -> tuple[Tensor, Slots]:
        m, v = _moments(g, slots, h)
        return _step(m, v, h, t), {"m": m, "v": v}


@named("adamw")
@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay: Adam's change minus ``learning_rate * weight_decay * p``.

    Biases and scales do not decay unless `everywhere`: see
    :class:`~chainrule.core.parameter.Parameter`, ``is_weight``.  Raises OptionError as Adam
    does, and for a negative decay.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019; the decay
    is multiplied by the learning rate, as in PyTorch.

    >>> AdamW().weight_decay
    0.01
    """

    learning_rate: Number = 1e-3
    beta1: Number = 0.9
    beta2: Number = 0.999
    epsilon: Number = 1e-8
    weight_decay: Number = 0.01
    everywhere: bool = False

    def __post_init__(self) -> None:
        _check(self)
        check_decay(self, "weight_decay")

    def slots(self) -> tuple[str, ...]:
        return ("m", "v")

    def update(
        self, g: Tensor, p: Parameter, slots: Slots, h: H, t: Tensor
    ) -> tuple[Tensor, Slots]:
        m, v = _moments(g, slots, h)
        change = decayed(
            _step(m, v, h, t), p, h["learning_rate"] * h["weight_decay"], self.everywhere
        )
        return change, {"m": m, "v": v}


@named("amsgrad")
@dataclass(frozen=True)
class AMSGrad(Optimizer):
    """Adam with a second moment that never decreases: ``peak = max(peak, v)`` replaces ``v``.

    Raises OptionError as Adam does.  Source: Reddi, Kale and Kumar, "On the convergence of Adam
    and beyond", 2018; with Adam's bias correction, as in PyTorch.

    >>> AMSGrad().slots()
    ('m', 'v', 'peak')
    """

    learning_rate: Number = 1e-3
    beta1: Number = 0.9
    beta2: Number = 0.999
    epsilon: Number = 1e-8

    def __post_init__(self) -> None:
        _check(self)

    def slots(self) -> tuple[str, ...]:
        return ("m", "v", "peak")

    def update(self, g: Tensor, p: Tensor, slots: Slots, h: H, t: Tensor) -> tuple[Tensor, Slots]:
        m, v = _moments(g, slots, h)
        peak = maximum(slots["peak"], v)
        return _step(m, peak, h, t), {"m": m, "v": v, "peak": peak}


@named("nadam")
@dataclass(frozen=True)
class Nadam(Optimizer):
    """Adam with Nesterov's momentum, which looks one step ahead.

    With ``mu(t) = beta1 * (1 - 0.96^(t * momentum_decay) / 2)`` and `product` the product of all
    mu so far, the change is ``-learning_rate * ((1 - mu(t)) / (1 - product) * g + mu(t + 1) /
    (1 - product * mu(t + 1)) * m) / (sqrt(v / (1 - beta2^t)) + epsilon)``, m and v as in Adam.
    Raises OptionError as Adam does, and for a negative momentum_decay.

    Source: Dozat, "Incorporating Nesterov momentum into Adam", 2016.

    >>> Nadam().learning_rate
    0.002
    """

    learning_rate: Number = 2e-3
    beta1: Number = 0.9
    beta2: Number = 0.999
    epsilon: Number = 1e-8
    momentum_decay: Number = 4e-3

    def __post_init__(self) -> None:
        _check(self)
        in_range(self, "momentum_decay", 0.0, math.inf)

    def slots(self) -> tuple[str, ...]:
        return ("m", "v")

    def slots_of(self, p: Parameter) -> dict[str, np.ndarray[Any, Any]]:
        return {**super().slots_of(p), "product": np.array(1.0)}

    def update(self, g: Tensor, p: Tensor, slots: Slots, h: H, t: Tensor) -> tuple[Tensor, Slots]:
        def mu(t: Tensor) -> Tensor:
            return h["beta1"] * (1 - 0.5 * 0.96 ** (t * h["momentum_decay"]))

        m, v = _moments(g, slots, h)
        now, following = mu(t), mu(t + 1)
        product = slots["product"] * now
        of_g = h["learning_rate"] * (1 - now) / (1 - product)
        of_m = h["learning_rate"] * following / (1 - product * following)
        ahead = of_g.astype(g.dtype) * g + of_m.astype(g.dtype) * m
        return -(ahead / _spread(v, h, t)), {"m": m, "v": v, "product": product}


@named("radam")
@dataclass(frozen=True)
class RAdam(Optimizer):
    """Adam that rectifies the variance of its first steps, which replaces a warmup.

    With ``limit = 2 / (1 - beta2) - 1`` and ``rho = limit - 2 * t * beta2^t / (1 - beta2^t)``,
    the change is ``-learning_rate * m / (1 - beta1^t)`` while ``rho <= 5``.  After that it is
    multiplied by ``r * sqrt(1 - beta2^t) / (sqrt(v) + epsilon)``, where ``r² = (rho - 4) *
    (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)``; m and v as in Adam.
    Raises OptionError as Adam does.

    Source: Liu and others, "On the variance of the adaptive learning rate and beyond", 2020;
    with epsilon, as in PyTorch.

    >>> RAdam().slots()
    ('m', 'v')
    """

    learning_rate: Number = 1e-3
    beta1: Number = 0.9
    beta2: Number = 0.999
    epsilon: Number = 1e-8

    def __post_init__(self) -> None:
        _check(self)

    def slots(self) -> tuple[str, ...]:
        return ("m", "v")

    def update(self, g: Tensor, p: Tensor, slots: Slots, h: H, t: Tensor) -> tuple[Tensor, Slots]:
        m, v = _moments(g, slots, h)
        power = h["beta2"] ** t
        limit = 2 / (1 - h["beta2"]) - 1
        rho = limit - 2 * t * power / (1 - power)
        # At least 5, so that the root is defined where it is not used.
        r, top = maximum(rho, 5.0), maximum(limit, 5.0)
        rectified = sqrt((r - 4) * (r - 2) * top / ((top - 4) * (top - 2) * r) * (1 - power))
        adapted = rectified.astype(g.dtype) / (sqrt(v) + h["epsilon"].astype(g.dtype))
        rate = (h["learning_rate"] / (1 - h["beta1"] ** t)).astype(g.dtype)
        return -(rate * m * where(rho > 5, adapted, 1.0)), {"m": m, "v": v}


@named("lion")
@dataclass(frozen=True)
class Lion(Optimizer):
    """Lion: steps by the sign of a running mean of gradients, with decoupled weight decay.

    ``p = p - learning_rate * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)``, then
    ``m = beta2 * m + (1 - beta2) * g``.  Use a third to a tenth of Adam's learning rate.
    Biases and scales do not decay unless `everywhere`.  Raises OptionError for a rate that is
    not positive, betas outside [0, 1), or a negative decay.

    Source: Chen and others, "Symbolic discovery of optimization algorithms", 2023.

    >>> Lion().slots()
    ('m',)
    """

    learning_rate: Number = 1e-4
    beta1: Number = 0.9
    beta2: Number = 0.99
    weight_decay: Number = 0.0
    everywhere: bool = False

    def __post_init__(self) -> None:
        check_learning_rate(self)
        in_range(self, "beta1", 0.0, 1.0)
        in_range(self, "beta2", 0.0, 1.0)
        check_decay(self, "weight_decay")

    def slots(self) -> tuple[str, ...]:
        return ("m",)

    def update(
        self, g: Tensor, p: Parameter, slots: Slots, h: H, t: Tensor
    ) -> tuple[Tensor, Slots]:
        rate = h["learning_rate"]
        step = rate.astype(g.dtype) * sign(_mean(slots["m"], g, h["beta1"]))
        change = -step
        if self.weight_decay:
            change = decayed(change, p, rate * h["weight_decay"], self.everywhere)
        return change, {"m": _mean(slots["m"], g, h["beta2"])}


def _check(owner: Optimizer) -> None:
    """Raise OptionError unless the hyper-parameters of Adam are in their ranges."""
    check_learning_rate(owner)
    in_range(owner, "beta1", 0.0, 1.0)
    in_range(owner, "beta2", 0.0, 1.0)
    # Without it a gradient that has always been 0 would give 0 / 0.
    in_range(owner, "epsilon", 0.0, math.inf, open_low=True)


def _mean(mean: Tensor, new: Tensor, beta: Tensor) -> Tensor:
    """Return the running mean ``beta * mean + (1 - beta) * new``."""
    # Compute 1 - beta in float64: float32 has only 4 correct digits of 1 - 0.999.
    return beta.astype(new.dtype) * mean + (1 - beta).astype(new.dtype) * new


def _moments(g: Tensor, slots: Slots, h: H) -> tuple[Tensor, Tensor]:
    """Return the running means of the gradient and of its square."""
    return _mean(slots["m"], g, h["beta1"]), _mean(slots["v"], g * g, h["beta2"])


def _spread(v: Tensor, h: H, t: Tensor) -> Tensor:
    """Return the bias-corrected root mean square of the gradient, plus epsilon."""
    return sqrt(v) * (1 / sqrt(1 - h["beta2"] ** t)).astype(v.dtype) + h["epsilon"].astype(v.dtype)


def _step(m: Tensor, v: Tensor, h: H, t: Tensor) -> Tensor:
    """Return Adam's change for the moments `m` and `v`."""
    rate = (h["learning_rate"] / (1 - h["beta1"] ** t)).astype(m.dtype)
    return -(rate * m / _spread(v, h, t))
