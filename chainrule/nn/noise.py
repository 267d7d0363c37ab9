"""Noise during training: dropout and Gaussian noise, which prevent co-adaptation of units.

In prediction, these layers are the identity.  The noise depends only on the seed of
:func:`chainrule.fit` and the step number, so a training run can be repeated bit for bit.

Read next: :mod:`chainrule.nn.normalize`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from chainrule.core.options import in_range
from chainrule.core.tensor import Tensor
from chainrule.ops.arithmetic import where
from chainrule.ops.random import normal, uniform
from chainrule.ops.training import by_mode, fresh_seed

__all__ = ["Dropout", "GaussianNoise"]


@dataclass(frozen=True)
class Dropout:
    """Set each value to 0 with probability `rate` and scale the rest: ``x * keep / (1 - rate)``.

    keep is 1 with probability ``1 - rate``, drawn again for each value and step.  The scaling
    preserves the mean, so prediction needs no correction.  x: any shape.  Raises OptionError
    for a rate outside [0, 1).

    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to
    prevent neural networks from overfitting", 2014.

    >>> import chainrule as cr
    >>> Dropout(0.5)(cr.tensor([1.0, 2.0]))  # outside training: the identity
    Tensor([1., 2.], f32[2])
    """

    keeps_scale: ClassVar[bool] = True
    rate: float = 0.5

    def __post_init__(self) -> None:
        in_range(self, "rate", 0.0, 1.0)

    def __call__(self, x: Tensor) -> Tensor:
        keep = uniform(fresh_seed(), x.shape, dtype=x.dtype.name) >= self.rate
        return by_mode(where(keep, x * (1 / (1 - self.rate)), 0.0), x)


@dataclass(frozen=True)
class GaussianNoise:
    """Add normal noise: ``x + spread * e``, e drawn from N(0, 1) for each value and step.

    On the inputs it is a form of data augmentation.  x: any shape.  Raises OptionError for
    a negative spread.  Source: Bishop, "Training with noise is equivalent to Tikhonov
    regularization", 1995.

    >>> import chainrule as cr
    >>> GaussianNoise(0.1)(cr.tensor([1.0, 2.0]))
    Tensor([1., 2.], f32[2])
    """

    keeps_scale: ClassVar[bool] = True
    spread: float = 0.1

    def __post_init__(self) -> None:
        in_range(self, "spread", 0.0, math.inf)

    def __call__(self, x: Tensor) -> Tensor:
        noise = normal(fresh_seed(), x.shape, dtype=x.dtype.name)
        return by_mode(x + self.spread * noise, x)
