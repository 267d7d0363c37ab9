"""What an optimizer is: from gradients, slots and hyper-parameters to changes, as graph.

A slot is memory of a parameter's shape (a momentum, a mean of squares) that
starts at zero.  Hyper-parameters are float64 scalar inputs of the training
graph, not constants, so a schedule changes them without recording anew.
Optimizers compose: :func:`chain` feeds the change of one to the next.

Read next: :mod:`chainrule.optim.adam`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

from chainrule.core.errors import OptionError
from chainrule.core.options import in_range, is_number
from chainrule.core.tensor import Tensor

__all__ = ["Chain", "Optimizer", "Slots", "chain"]

Slots: TypeAlias = "dict[str, Tensor]"


@dataclass(frozen=True)
class Optimizer:
    """Base of optimizers: a dataclass of numbers, and :meth:`update`, its equations."""

    def hyper(self) -> dict[str, float]:
        """Return the hyper-parameters that become inputs of the graph, by name."""
        return {
            f.name: float(getattr(self, f.name))
            for f in fields(self)
            if is_number(getattr(self, f.name))
        }

    def slots(self) -> tuple[str, ...]:
        """Return the names of the slots kept for each parameter."""
        return ()

    def update(
        self, g: Tensor, p: Tensor, slots: Slots, h: Mapping[str, Tensor], t: Tensor
    ) -> tuple[Tensor, Slots]:
        """Return the change to add to the parameter `p` with gradient `g`, and the new slots.

        `h` holds the hyper-parameters and `t` the number of this step, from 1,
        all as float64 scalars; round one to the dtype of `g` with ``.astype(g.dtype)``.
        """
        raise NotImplementedError

    def update_all(
        self,
        gradients: Sequence[Tensor],
        parameters: Sequence[Tensor],
        slots: Sequence[Slots],
        h: Mapping[str, Tensor],
        t: Tensor,
    ) -> tuple[list[Tensor], list[Slots]]:
        """Return changes and new slots of all parameters; override where they depend on another."""
        pairs = [
            self.update(g, p, s, h, t) for g, p, s in zip(gradients, parameters, slots, strict=True)
        ]
        return [change for change, _ in pairs], [new for _, new in pairs]


@dataclass(frozen=True)
class Chain(Optimizer):
    """Several optimizers in a row: each takes the changes of the one before as its gradients."""

    parts: tuple[Optimizer, ...]

    def hyper(self) -> dict[str, float]:
        return {
            f"{i}.{name}": value
            for i, part in enumerate(self.parts)
            for name, value in part.hyper().items()
        }

    def slots(self) -> tuple[str, ...]:
        return tuple(f"{i}.{name}" for i, part in enumerate(self.parts) for name in part.slots())

    def update_all(
        self,
        gradients: Sequence[Tensor],
        parameters: Sequence[Tensor],
        slots: Sequence[Slots],
        h: Mapping[str, Tensor],
        t: Tensor,
    ) -> tuple[list[Tensor], list[Slots]]:
        changes = list(gradients)
        renewed: list[Slots] = [{} for _ in slots]
        for i, part in enumerate(self.parts):
            mark = f"{i}."
            mine = {k[len(mark) :]: v for k, v in h.items() if k.startswith(mark)}
            own = [{name: s[mark + name] for name in part.slots()} for s in slots]
            changes, new = part.update_all(changes, parameters, own, mine, t)
            for target, entries in zip(renewed, new, strict=True):
                target.update({mark + name: value for name, value in entries.items()})
        return changes, renewed


def chain(*parts: Optimizer) -> Chain:
    """Return one optimizer that applies `parts` in order.

    >>> from chainrule import optim
    >>> chain(optim.ClipNorm(1.0), optim.SGD(0.1)).hyper()
    {'0.max_norm': 1.0, '1.learning_rate': 0.1, '1.momentum': 0.0}
    """
    if not parts:
        raise OptionError("chain: no optimizers were given.")
    return Chain(parts)


def check_learning_rate(owner: object) -> None:
    """Raise OptionError unless the optimizer's learning rate is a positive finite number."""
    in_range(owner, "learning_rate", 0.0, math.inf, open_low=True)
