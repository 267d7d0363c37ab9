"""Penalties on weights and on activations, which reduce overfitting.

A regularizer maps a tensor to one number, which training adds to the mean loss.  Use a stronger
regularizer rather than smaller layers.  Dropout, noise, decoupled weight decay, max-norm, early
stopping and weight averaging also regularize: see :mod:`chainrule.nn.noise`,
:mod:`chainrule.optim` and :func:`chainrule.fit`.

Read next: :mod:`chainrule.nn.noise`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar, TypeAlias

from chainrule.core.errors import OptionError, did_you_mean
from chainrule.core.options import in_range
from chainrule.core.parameter import Parameter
from chainrule.core.primitive import lookup
from chainrule.core.tensor import Tensor, record
from chainrule.ops.arithmetic import abs
from chainrule.ops.composite import square
from chainrule.ops.reduce import sum
from chainrule.ops.training import penalizing

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "ActivityPenalty",
]

Regularizer: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class L2:
    """``rate * sum(p²)``: shrinks weights in proportion to their size (ridge, weight decay).

    Its gradient is ``2 * rate * p``.  Raises OptionError for a negative rate.

    >>> import chainrule as cr
    >>> L2(0.5)(cr.tensor([1.0, -2.0]))
    Tensor(2.5, f32[])
    """

    rate: float = 1e-4

    def __post_init__(self) -> None:
        in_range(self, "rate", 0.0, math.inf)

    def __call__(self, p: Tensor) -> Tensor:
        return self.rate * sum(square(p))


@dataclass(frozen=True)
class L1:
    """``rate * sum(|p|)``: shrinks all weights equally, so many end near 0 (lasso).

    Raises OptionError for a negative rate.

    >>> import chainrule as cr
    >>> L1(0.5)(cr.tensor([1.0, -2.0]))
    Tensor(1.5, f32[])
    """

    rate: float = 1e-4

    def __post_init__(self) -> None:
        in_range(self, "rate", 0.0, math.inf)

    def __call__(self, p: Tensor) -> Tensor:
        return self.rate * sum(abs(p))


@dataclass(frozen=True)
class L1L2:
    """``l1 * sum(|p|) + l2 * sum(p²)``, the elastic net.

    Raises OptionError for a negative rate.  Source: Zou and Hastie, "Regularization and variable
    selection via the elastic net", 2005.

    >>> import chainrule as cr
    >>> L1L2(l1=0.5, l2=0.5)(cr.tensor([1.0, -2.0]))
    Tensor(4., f32[])
    """

    l1: float = 1e-4
    l2: float = 1e-4

    def __post_init__(self) -> None:
        in_range(self, "l1", 0.0, math.inf)
        in_range(self, "l2", 0.0, math.inf)

    def __call__(self, p: Tensor) -> Tensor:
        return self.l1 * sum(abs(p)) + self.l2 * sum(square(p))


@dataclass(frozen=True)
class ActivityPenalty:
    """Return `x` unchanged, and in training add ``regularizer(x) / rows`` to the loss.

    After an activation, :class:`L1` makes activations sparse.  x: (n, ...).

    >>> import chainrule as cr
    >>> ActivityPenalty(L1(0.01))(cr.tensor([[3.0]]))
    Tensor([[3.]], f32[1,1])
    """

    keeps_scale: ClassVar[bool] = True
    regularizer: Regularizer

    def __post_init__(self) -> None:
        _check("ActivityPenalty: regularizer", self.regularizer)

    def __call__(self, x: Tensor) -> Tensor:
        rows = record(lookup("count"), lengths=x.shape[:1], dtype=x.dtype.name)
        return penalizing(x, self.regularizer(x) / rows)


def _check(name: str, choice: Any) -> None:
    if isinstance(choice, type) or not callable(choice):
        raise OptionError(f"{name} must be a function such as nn.L2(1e-4), not {choice!r}.")


def penalties(
    choice: Regularizer | Mapping[str, Regularizer] | None, found: Mapping[str, Parameter]
) -> list[Tensor]:
    """Return the penalty of each of the parameters `found` that `choice` applies to.

    A single regularizer applies to all weights, but not to biases and scales; in a mapping the
    first pattern, such as ``"0.weight"`` or ``"*.weight"``, that matches a parameter's path does.
    Raises OptionError for a pattern without a match, and for a value that is not a regularizer.
    """
    if choice is None:
        return []
    for one in choice.values() if isinstance(choice, Mapping) else [choice]:
        _check("regularizer", one)
    if not isinstance(choice, Mapping):
        return [choice(p) for p in found.values() if p.is_weight]
    for pattern in choice:
        if not any(fnmatchcase(path, pattern) for path in found):
            raise OptionError(
                f"regularizer: {pattern!r} matches no parameter that is trained. "
                f"{did_you_mean(pattern, found)}"
            )
    chosen = (
        (next((r for pattern, r in choice.items() if fnmatchcase(path, pattern)), None), p)
        for path, p in found.items()
    )
    return [regularizer(p) for regularizer, p in chosen if regularizer is not None]
