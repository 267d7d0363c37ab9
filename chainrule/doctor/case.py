"""A training before its first step: the arguments of :func:`chainrule.fit`.

Read next: :mod:`chainrule.doctor.survey`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chainrule.nn.layer import Layer
from chainrule.nn.regularizers import Regularizer
from chainrule.optim.optimizer import Optimizer

__all__ = ["Case"]


@dataclass
class Case:
    """The arguments of :func:`chainrule.fit` that decide whether a training can succeed.

    The fields have the names and the meaning of the arguments of ``fit``; `data` is ``(X, y)``.
    `more` holds further arguments, such as class_weight and early_stopping, that a training of
    the case is called with.  `feature_names` are those of the columns of X, for messages.
    """

    model: Layer
    data: tuple[Any, Any]
    loss: str | Callable[..., Any]
    optimizer: str | Optimizer = "adam"
    epochs: int = 10
    batch_size: int = 32
    validation: tuple[Any, ...] | float | None = None
    regularizer: Regularizer | Mapping[str, Regularizer] | None = None
    seed: int = 0
    more: Mapping[str, Any] = field(default_factory=dict)
    feature_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        held: Any = self.validation
        if isinstance(held, list):  # which fit takes, too
            self.validation = tuple(held)

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of :func:`chainrule.fit`: all but model and data."""
        return {
            "loss": self.loss,
            "optimizer": self.optimizer,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "validation": self.validation,
            "regularizer": self.regularizer,
            "seed": self.seed,
            "feature_names": self.feature_names,
            **self.more,
        }
