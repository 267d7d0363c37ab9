"""Wrappers of an optimizer: gradient accumulation, and averages of weights over steps.

Read next: :mod:`chainrule.step.update`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.core.errors import OptionError
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor, tensor
from chainrule.ops.arithmetic import floor, maximum, where
from chainrule.ops.compare import equal, logical_not
from chainrule.optim.hyper import in_range, part_of, prefixed, whole
from chainrule.optim.optimizer import Optimizer, Slots
from chainrule.optim.schedules import Epochs

__all__ = ["EMA", "Accumulate"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Accumulate(Optimizer):
    """Accumulate the gradients of `steps` batches, then take one `optimizer` step by their mean.

    This equals training on batches `steps` times as large if all batches have the same number
    of rows; the last, smaller batch of an epoch counts as much as the others.  Schedules inside
    count the optimizer's own steps.  Raises OptionError unless steps is a positive integer, at
    most the number of batches in the training.

    >>> from chainrule import optim
    >>> Accumulate(4, optim.SGD(0.1)).hyper()
    {'steps': 4.0, 'optimizer.learning_rate': 0.1, 'optimizer.momentum': 0.0}
    """

    steps: int
    optimizer: Optimizer

    def __post_init__(self) -> None:
        whole(self, "steps")
        check_inner(self)

    def planned(self, steps: float, epoch: float) -> Accumulate:
        if steps < self.steps:
            raise OptionError(
                f"Accumulate: a step needs {self.steps} batches, but the training has only "
                f"{steps:g}, so no step would be taken; accumulate fewer."
            )
        inner = self.optimizer.planned(steps // self.steps, epoch / self.steps)
        return replace(self, optimizer=inner)

    def slots_of(self, p: Parameter) -> dict[str, Array]:
        own = {"gradients": np.zeros(p.value.shape, p.dtype)}
        return own | prefixed("optimizer", self.optimizer.slots_of(p))

    def shown(self, p: Parameter) -> str | None:
        return _shown_within(self, p)

    def rate_at(self, h: Mapping[str, Tensor], t: Tensor) -> Tensor | None:
        return self.optimizer.rate_at(part_of(h, "optimizer"), _ceil(t / h["steps"]))

    def update_all(
        self,
        gradients: Sequence[Tensor],
        parameters: Sequence[Parameter],
        slots: Sequence[Slots],
        h: Mapping[str, Tensor],
        t: Tensor,
    ) -> tuple[list[Tensor], list[Slots]]:
        turn = _ceil(t / h["steps"])
        due = equal(turn * h["steps"], t)
        waits = logical_not(due)
        sums = [s["gradients"] + g for s, g in zip(slots, gradients, strict=True)]
        means = [s / h["steps"].astype(s.dtype) for s in sums]
        inner = [part_of(s, "optimizer") for s in slots]
        changes, new = self.optimizer.update_all(
            means, parameters, inner, part_of(h, "optimizer"), turn
        )
        renewed: list[Slots] = []
        for total, old, fresh in zip(sums, inner, new, strict=True):
            kept = {name: where(due, value, old[name]) for name, value in fresh.items()}
            renewed.append({"gradients": _unless(due, total), **prefixed("optimizer", kept)})
        return [_unless(waits, change) for change in changes], renewed


@dataclass(frozen=True)
class EMA(Optimizer):
    """Train with `optimizer`, and predict with an average of the weights over the steps.

    ``average = average + (1 - decay) / (1 - decay^n) * (p - average)`` after step n: a
    bias-corrected exponential moving average, over about the last ``1 / (1 - decay)``
    steps.  With ``decay=None`` it is Polyak's average, the mean of all steps.  Averaging begins
    after `start` steps (or epochs); until then it equals the weights.  Validation, early
    stopping and the trained model use the average.  Running statistics, as in BatchNorm, are not
    averaged: they belong to the weights that train.  Raises OptionError for a decay outside
    [0, 1).

    Sources: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992;
    the correction is that of Kingma and Ba, "Adam", 2015, section 7.2.

    >>> from chainrule import optim
    >>> EMA(optim.Adam(), decay=0.99).hyper()["decay"]
    0.99
    """

    optimizer: Optimizer
    decay: float | None = 0.999
    start: float | Epochs = 0

    def __post_init__(self) -> None:
        check_inner(self)
        if self.decay is not None:
            in_range(self, "decay", 0.0, 1.0)
        if not isinstance(self.start, Epochs):
            whole(self, "start", least=0)

    def planned(self, steps: float, epoch: float) -> EMA:
        start = self.start.count * epoch if isinstance(self.start, Epochs) else self.start
        inner = self.optimizer.planned(steps, epoch)
        return replace(self, optimizer=inner, start=round(start))

    def slots_of(self, p: Parameter) -> dict[str, Array]:
        inner = prefixed("optimizer", self.optimizer.slots_of(p))
        return {"average": np.array(p.value)} | inner

    def shown(self, p: Parameter) -> str | None:
        return "average"

    def update_all(
        self,
        gradients: Sequence[Tensor],
        parameters: Sequence[Parameter],
        slots: Sequence[Slots],
        h: Mapping[str, Tensor],
        t: Tensor,
    ) -> tuple[list[Tensor], list[Slots]]:
        inner = [part_of(s, "optimizer") for s in slots]
        changes, new = self.optimizer.update_all(
            gradients, parameters, inner, part_of(h, "optimizer"), t
        )
        n = maximum(1.0, t - h["start"])
        share = 1 / n if self.decay is None else (1 - h["decay"]) / (1 - h["decay"] ** n)
        renewed: list[Slots] = []
        for p, change, old, fresh in zip(parameters, changes, slots, new, strict=True):
            average = old["average"]
            average = average + share.astype(p.dtype) * (p + change - average)
            renewed.append({"average": average, **prefixed("optimizer", fresh)})
        return changes, renewed


def check_inner(owner: Accumulate | EMA) -> None:
    """Raise OptionError unless the wrapped optimizer turns gradients into changes."""
    inner = owner.optimizer
    if not isinstance(inner, Optimizer) or inner.stage != "optimizer":
        raise OptionError(
            f"{type(owner).__name__}: optimizer must compute changes from gradients, such as "
            f"optim.SGD(0.1), not {inner!r}."
        )


def _unless(condition: Tensor, x: Tensor) -> Tensor:
    """Return `x`, or zeros where `condition` holds."""
    return where(condition, tensor(0.0, x.dtype), x)


def _ceil(x: Tensor) -> Tensor:
    return -floor(-x)


def _shown_within(owner: Accumulate, p: Parameter) -> str | None:
    slot = owner.optimizer.shown(p)
    return None if slot is None else f"optimizer.{slot}"
