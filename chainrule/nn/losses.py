"""Losses: predictions and targets go in, one number per row comes out; training takes the mean.

They take raw scores (logits) where a probability is meant, because the loss
of a logit can be computed without overflow and that of a rounded probability
can not.

Read next: :mod:`chainrule.optim`.
"""

from __future__ import annotations

from chainrule.core.errors import ShapeError
from chainrule.core.spec import is_float
from chainrule.core.tensor import Tensor
from chainrule.ops.composite import from_peak, log_softmax, square
from chainrule.ops.elementwise import exp, log, log1p, maximum, minimum, where
from chainrule.ops.index import is_class
from chainrule.ops.reduce import mean

__all__ = ["binary_cross_entropy", "cross_entropy", "mse"]


def _same_shape(name: str, prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape:
        raise ShapeError(
            f"{name}: predictions of shape {prediction.shape} and targets of shape "
            f"{target.shape} would broadcast; give targets of the predictions' shape."
        )


def _per_row(values: Tensor) -> Tensor:
    return mean(values, range(1, values.ndim)) if values.ndim > 1 else values


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the squared error of each row, ``mean((prediction - target)²)`` over its columns.

    prediction, target: (n,) or (n, k).  Raises ShapeError rather than broadcast.

    >>> import chainrule as cr
    >>> mse(cr.tensor([[1.0], [2.0]]), cr.tensor([[0.0], [4.0]]))
    Tensor([1., 4.], f32[2])
    """
    _same_shape("mse", prediction, target)
    return _per_row(square(prediction - target))


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``-sum(p * log_softmax(logits))`` of each row, p the target distribution.

    logits: (n, k); target: (n,) integer classes, or (n, k) one-hot rows or probabilities.

    >>> import chainrule as cr
    >>> cross_entropy(cr.tensor([[0.0, 0.0]]), cr.tensor([1]))
    Tensor([0.6931472], f32[1])
    """
    if logits.ndim != 2:
        raise ShapeError(f"cross_entropy: logits must be (rows, classes), not {logits.shape}.")
    if not is_float(target.dtype):
        if target.shape != logits.shape[:1]:
            raise ShapeError(
                f"cross_entropy: class numbers must have shape {logits.shape[:1]}, "
                f"not {target.shape}."
            )
        # The same sum, of which all but one term is zero, without multiplying the zeros.
        shifted = from_peak(logits)
        chosen = where(is_class(target, int(logits.shape[1])), shifted, 0.0).sum(1)  # type: ignore[arg-type]
        return log(exp(shifted).sum(1)) - chosen
    _same_shape("cross_entropy", logits, target)
    # A class ruled out by a logit of -inf costs nothing where its target is 0.
    return -where(target == 0, 0.0, target * log_softmax(logits)).sum(1)


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``-(t log s(z) + (1 - t) log(1 - s(z)))``, s the sigmoid, averaged over columns.

    Every column is a yes-or-no question of its own, so a row may answer none,
    one or several: [dog, cat] = [1, 1].  logits, target: (n,) or (n, k).

    >>> import chainrule as cr
    >>> binary_cross_entropy(cr.tensor([[0.0, 1000.0]]), cr.tensor([[1.0, 1.0]]))
    Tensor([0.3465736], f32[1])
    """
    _same_shape("binary_cross_entropy", logits, target)
    # softplus(z) - t z, with the terms that cancel first, while nothing small was added to them.
    z = logits
    return _per_row((maximum(z, 0.0) - target * z) + log1p(exp(minimum(-z, z))))
