"""scikit-learn's losses: those of chainrule, summed over the columns of a row, not averaged.

A learning rate and a penalty `alpha` then mean what they mean in scikit-learn.

Read next: :mod:`chainrule.sklearn.estimator`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chainrule.core.errors import OptionError
from chainrule.core.tensor import Tensor
from chainrule.nn.losses import binary_cross_entropy, mse, poisson
from chainrule.step.objective import Objective, objective

__all__ = ["half_squared_error", "label_log_loss", "regression_objectives", "summed_poisson"]

NAMES = {"squared_error": "mse", "absolute_error": "mae"}


def half_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Return ``sum((prediction - target)²) / 2`` of each row; both (n, k).

    >>> import chainrule as cr
    >>> half_squared_error(cr.tensor([[1.0, 2.0]]), cr.tensor([[0.0, 0.0]]))
    Tensor([2.5], f32[1])
    """
    return mse(prediction, target) * (0.5 * _columns(prediction))


def summed_poisson(log_rate: Tensor, target: Tensor) -> Tensor:
    """Return ``sum(exp(z) - t z)`` of each row, z the logarithms of rates and t counts, (n, k)."""
    return poisson(log_rate, target) * _columns(log_rate)


def label_log_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the logistic losses of each row's labels, summed; logits and target (n, k)."""
    return binary_cross_entropy(logits, target) * _columns(logits)


def _columns(outputs: Tensor) -> float:
    width = outputs.shape[1]
    assert isinstance(width, int)
    return float(width)


SUMMED: dict[str, Any] = {
    "mse": half_squared_error, "poisson": summed_poisson, "binary_cross_entropy": label_log_loss,
}  # fmt: skip


def summed(aim: Objective) -> Objective:
    """Return `aim` with the loss that scikit-learn trains where it has one."""
    return replace(aim, function=SUMMED.get(aim.name, aim.function))


def regression_objectives(loss: Any) -> tuple[Objective, Objective]:
    """Return the objective that a `loss` for regression trains by, and the one of its run.

    `loss` is "squared_error", "absolute_error", "poisson", a loss of chainrule for values or
    counts, or a function of (output, target).  Raises OptionError for a loss of classes.
    """
    known = objective(NAMES.get(loss, loss) if isinstance(loss, str) else loss)
    if known.kind in ("classes", "labels"):
        raise OptionError(f"loss {known.name!r} is one of classes, and y holds numbers.")
    own = isinstance(loss, str) and loss in ("squared_error", "poisson")
    return (summed(known) if own else known), known
