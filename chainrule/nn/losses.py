"""Loss functions, which return one value per row; training minimizes their mean.

Losses of probabilities take logits, because the loss of a logit can be
computed without overflow and that of a rounded probability cannot.  A loss
with an option is also a class that holds it, such as ``Huber(2.0)``.

| target | losses |
|---|---|
| one of k classes | cross_entropy, kl_divergence, multiclass_hinge, squared_multiclass_hinge |
| one of k classes in an order | ordinal |
| binary labels, any number per row | binary_cross_entropy, hinge, squared_hinge |
| real values | mse, mae, huber, log_cosh |
| quantiles of real values | quantile |
| counts | poisson |

Losses of labels, values and counts also take a `weight` for each element of the target: 0 masks
an unknown target.

Read next: :mod:`chainrule.optim`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from chainrule.core.errors import OptionError, ShapeError
from chainrule.core.options import in_range, is_number
from chainrule.core.spec import is_float
from chainrule.core.tensor import Tensor, tensor
from chainrule.ops.arithmetic import abs, maximum, minimum, relu, where
from chainrule.ops.composite import from_peak, log_softmax, minus_abs, square
from chainrule.ops.elementary import exp, log, log1p, tanh
from chainrule.ops.index import is_class
from chainrule.ops.reduce import argmax, max, mean

__all__ = [
    "CrossEntropy",
    "Huber",
    "Quantile",
    "binary_cross_entropy",
    "cross_entropy",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mae",
    "mse",
    "multiclass_hinge",
    "ordinal",
    "poisson",
    "quantile",
    "squared_hinge",
    "squared_multiclass_hinge",
]

F = TypeVar("F", bound=Callable[..., Tensor])
C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class Loss:
    """The properties of one loss, as used by training, tables and the command line.

    kind is that of the target: "classes" (one of k), "ordered" (classes in an order), "labels"
    (binary), "values" (real numbers), "quantiles" (of real numbers) or "counts".  probabilistic is
    False if the outputs are scores, not logits.
    """

    name: str
    function: Callable[..., Tensor]
    kind: str
    probabilistic: bool


LEVELS = (0.05, 0.5, 0.95)  # of quantile, by default: the median and an interval of 90 %
LOSSES: dict[str, Loss] = {}
# The classes that hold the options of a loss, and the name of that loss.
WITH_OPTIONS: dict[type, str] = {}


def _loss(kind: str, *, probabilistic: bool = True) -> Callable[[F], F]:
    """Return a decorator that adds a function to `LOSSES`; the first of a kind is its default."""

    def enter(function: F) -> F:
        name = function.__name__
        LOSSES[name] = Loss(name, function, kind, probabilistic)
        return function

    return enter


def _options_of(name: str) -> Callable[[C], C]:
    """Return a decorator that registers a class that holds the options of the loss `name`."""

    def enter(holder: C) -> C:
        WITH_OPTIONS[holder] = name
        return holder

    return enter


def _same_shape(name: str, prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape:
        raise ShapeError(
            f"{name}: predictions of shape {prediction.shape} and targets of shape "
            f"{target.shape} would broadcast; give targets of the predictions' shape."
        )


def _per_row(values: Tensor, weight: Tensor | None) -> Tensor:
    if weight is not None:
        _same_shape("weight", values, weight)
        values = values * weight
    return mean(values, range(1, values.ndim)) if values.ndim > 1 else values


@_loss("values")
def mse(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the squared error of each row, ``mean((prediction - target)²)`` over its columns.

    prediction, target: (n,) or (n, k).  Raises ShapeError if the shapes differ.

    >>> import chainrule as cr
    >>> mse(cr.tensor([[1.0], [2.0]]), cr.tensor([[0.0], [4.0]]))
    Tensor([1., 4.], f32[2])
    """
    _same_shape("mse", prediction, target)
    return _per_row(square(prediction - target), weight)


@_loss("values")
def mae(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the absolute error of each row, ``mean(|prediction - target|)`` over its columns.

    It is less sensitive to outliers than mse: the median minimizes it, the mean minimizes mse.
    prediction, target: (n,) or (n, k).  Raises ShapeError if the shapes differ.
    """
    _same_shape("mae", prediction, target)
    return _per_row(abs(prediction - target), weight)


@_loss("values")
def huber(
    prediction: Tensor, target: Tensor, delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Return ``e² / 2`` where the error e is within `delta`, else ``delta * (|e| - delta / 2)``.

    Averaged over a row's columns.  It is smooth near 0, like mse, and linear in outliers, like mae.
    prediction, target: (n,) or (n, k).  Raises ShapeError if the shapes differ.
    Source: Huber, "Robust estimation of a location parameter", 1964.

    >>> import chainrule as cr
    >>> huber(cr.tensor([0.5, 5.0]), cr.tensor([0.0, 0.0]))
    Tensor([0.125, 4.5  ], f32[2])
    """
    _same_shape("huber", prediction, target)
    error = abs(prediction - target)
    within = minimum(error, delta)
    return _per_row(within * (error - 0.5 * within), weight)


@_loss("values")
def log_cosh(prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return ``log(cosh(prediction - target))`` of each row, averaged over its columns.

    It is near ``e² / 2`` for a small error e and ``|e| - log(2)`` for a large one, like
    :func:`huber`, and has derivatives of every order.
    prediction, target: (n,) or (n, k).  Raises ShapeError if the shapes differ.

    >>> import chainrule as cr
    >>> log_cosh(cr.tensor([0.0, 1000.0]), cr.tensor([0.0, 0.0]))
    Tensor([  0.    , 999.3068], f32[2])
    """
    _same_shape("log_cosh", prediction, target)
    size = abs(prediction - target)
    # Each form is accurate where the other would cancel or overflow.
    near = -0.5 * log1p(-square(tanh(minimum(size, 1.0))))
    far = size + (log1p(exp(-2.0 * size)) - math.log(2))
    return _per_row(where(size < 1, near, far), weight)


@_loss("quantiles")
def quantile(prediction: Tensor, target: Tensor, levels: tuple[float, ...] = LEVELS) -> Tensor:
    """Return the pinball loss ``max(q e, (q - 1) e)``, averaged over the levels q.

    The error e is ``target - prediction``.  The value with the least mean loss at level q is the
    quantile that a share q of the targets does not exceed.
    prediction: (n, k), a column for each level; target: (n,) or (n, 1).  Raises ShapeError for
    other shapes.
    Source: Koenker and Bassett, "Regression quantiles", 1978.

    >>> import chainrule as cr
    >>> quantile(cr.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]), cr.tensor([2.0, 2.0]))
    Tensor([1.        , 0.03333334], f32[2])
    """
    rows = prediction.shape[:1]
    if prediction.shape != (*rows, len(levels)) or target.shape not in (rows, (*rows, 1)):
        raise ShapeError(
            f"quantile: predictions must have a column for each of the {len(levels)} levels, not "
            f"shape {prediction.shape}, and targets one value for each row, not {target.shape}."
        )
    error = target.reshape((-1, 1)) - prediction
    share = tensor(np.array(levels, prediction.dtype))
    return mean(maximum(share * error, (share - 1) * error), 1)


@_loss("counts")
def poisson(log_rate: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return ``exp(z) - t z``, the negative log-likelihood of the count t at rate exp(z).

    Averaged over columns, without the constant log(t!).
    log_rate, target: (n,) or (n, k); targets are counts, 0 or more.  Raises ShapeError if the
    shapes differ.
    """
    _same_shape("poisson", log_rate, target)
    return _per_row(exp(log_rate) - target * log_rate, weight)


@_loss("classes")
def cross_entropy(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return ``-sum(p * log_softmax(logits))`` of each row, p the target distribution.

    With `label_smoothing` s, p is ``(1 - s) * target + s / k``, against overconfidence
    (Szegedy et al., "Rethinking the Inception architecture", 2016).
    logits: (n, k); target: (n,) integer classes, or (n, k) one-hot rows or probabilities.

    >>> import chainrule as cr
    >>> cross_entropy(cr.tensor([[0.0, 0.0]]), cr.tensor([1]))
    Tensor([0.6931472], f32[1])
    """
    if not _is_numbered("cross_entropy", logits, target):
        p = target
        if label_smoothing:
            p = (1 - label_smoothing) * target + label_smoothing / _classes(logits)
        # A logit of -inf must cost 0, not NaN, where the target is 0.
        return -where(p == 0, 0.0, p * log_softmax(logits)).sum(1)
    # The same sum, without its terms that are zero.
    shifted = from_peak(logits)
    chosen = where(is_class(target, _classes(logits)), shifted, 0.0).sum(1)
    if label_smoothing:
        chosen = (1 - label_smoothing) * chosen + label_smoothing * mean(shifted, 1)
    return log(exp(shifted).sum(1)) - chosen


@_loss("classes")
def kl_divergence(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``sum(p * (log(p) - log_softmax(logits)))`` of each row, p the target distribution.

    It is cross_entropy minus the entropy of the target: the gradient is the same, and the
    minimum is 0, where the predicted distribution equals the target.
    logits: (n, k); target: (n, k) probabilities, or (n,) integer classes.
    """
    if _is_numbered("kl_divergence", logits, target):
        return cross_entropy(logits, target)
    ratio = log(where(target == 0, 1.0, target)) - log_softmax(logits)
    return where(target == 0, 0.0, target * ratio).sum(1)


@_loss("classes", probabilistic=False)
def multiclass_hinge(scores: Tensor, target: Tensor) -> Tensor:
    """Return ``max(0, 1 + rival - chosen)``, 0 if the right class leads by a margin of 1.

    chosen is the score of the right class and rival the highest of the others; scores are not
    logits of probabilities.  For one-vs-rest use :func:`hinge` on one-hot rows.
    scores: (n, k); target: (n,) integer classes, or (n, k) one-hot rows.
    Source: Crammer and Singer, "On the algorithmic implementation of multiclass kernel-based
    vector machines", 2001.

    >>> import chainrule as cr
    >>> multiclass_hinge(cr.tensor([[3.0, 1.0, 0.0], [3.0, 1.0, 0.0]]), cr.tensor([0, 1]))
    Tensor([0., 3.], f32[2])
    """
    classes = target if _is_numbered("multiclass_hinge", scores, target) else argmax(target, 1)
    right = is_class(classes, _classes(scores))
    chosen = where(right, scores, 0.0).sum(1)
    rival = max(where(right, -math.inf, scores), 1)
    return relu(1 + rival - chosen)


@_loss("classes", probabilistic=False)
def squared_multiclass_hinge(scores: Tensor, target: Tensor) -> Tensor:
    """Return the square of :func:`multiclass_hinge`: smooth at the margin."""
    return square(multiclass_hinge(scores, target))


@_loss("ordered")
def ordinal(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``-log P(target)`` of each row, for classes 0, 1, ..., k - 1 that have an order.

    Logit j says whether a row that is not below class j lies above it, so with the sigmoid s
    ``P(c) = s(-z_c) * s(z_0) * ... * s(z_(c-1))``, without ``s(-z_c)`` for the last class.  These
    probabilities sum to 1, whatever the logits are.
    logits: (n, k - 1); target: (n,) integer classes.  Raises ShapeError for other shapes.
    Source: Fienberg, "The Analysis of Cross-Classified Categorical Data", 1980 (continuation
    ratios); for networks Shi, Cao and Raschka, "Deep neural networks for rank-consistent ordinal
    regression based on conditional probabilities", 2021.

    >>> import chainrule as cr
    >>> ordinal(cr.tensor([[0.0, 0.0], [0.0, 0.0]]), cr.tensor([0, 2]))  # log 2, log 4
    Tensor([0.6931472, 1.3862944], f32[2])
    """
    if logits.ndim != 2 or is_float(target.dtype) or target.shape != logits.shape[:1]:
        raise ShapeError(
            f"ordinal: logits must be (rows, classes - 1), not {logits.shape}, and targets class "
            f"numbers of shape {logits.shape[:1]}, not {target.dtype} {target.shape}."
        )
    shares = ordered_log_probabilities(logits)
    return -where(is_class(target, _classes(shares)), shares, 0.0).sum(1)


def ordered_log_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithms of the probabilities (n, k) that :func:`ordinal` reads in (n, k - 1).

    >>> import chainrule as cr
    >>> exp(ordered_log_probabilities(cr.tensor([[0.0, 0.0]])))
    Tensor([[0.5 , 0.25, 0.25]], f32[1,3])
    """
    count = _classes(logits)
    stay = tensor(np.eye(count, count + 1, dtype=logits.dtype))
    past = tensor(np.triu(np.ones((count, count + 1), logits.dtype), 1))
    return -(_softplus(logits) @ stay + _softplus(-logits) @ past)


def _softplus(z: Tensor) -> Tensor:
    """Return ``log(1 + exp(z))``, which is ``-log s(-z)`` of the sigmoid s."""
    return relu(z) + log1p(exp(minus_abs(z)))


def _classes(logits: Tensor) -> int:
    return int(logits.shape[1])  # type: ignore[arg-type]


def _is_numbered(name: str, logits: Tensor, target: Tensor) -> bool:
    """Return whether `target` holds class numbers, not rows; raise ShapeError if neither."""
    if logits.ndim != 2:
        raise ShapeError(f"{name}: logits must be (rows, classes), not {logits.shape}.")
    if is_float(target.dtype):
        _same_shape(name, logits, target)
        return False
    if target.shape != logits.shape[:1]:
        raise ShapeError(
            f"{name}: class numbers must have shape {logits.shape[:1]}, not {target.shape}."
        )
    return True


@_loss("labels")
def binary_cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return ``-(t log s(z) + (1 - t) log(1 - s(z)))``, s the sigmoid, averaged over columns.

    Every column is a separate binary label, so a row may have none, one or
    several: [dog, cat] = [1, 1].  logits, target: (n,) or (n, k).

    >>> import chainrule as cr
    >>> binary_cross_entropy(cr.tensor([[0.0, 1000.0]]), cr.tensor([[1.0, 1.0]]))
    Tensor([0.3465736], f32[1])
    """
    _same_shape("binary_cross_entropy", logits, target)
    # softplus(z) - t z; large terms cancel first, so that the small one keeps its digits.
    z = logits
    return _per_row((relu(z) - target * z) + log1p(exp(minus_abs(z))), weight)


@_loss("labels", probabilistic=False)
def hinge(scores: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return ``max(0, 1 - t z)``, with labels t of 1 or -1, averaged over columns.

    The loss is 0 for a margin of 1 or more; scores are not logits of probabilities.
    Each column is a separate label, so one-hot rows give one-vs-rest classification.
    scores, target: (n,) or (n, k); targets are 0 or 1, or -1 or 1.  Raises ShapeError if the
    shapes differ.
    Source: Cortes and Vapnik, "Support-vector networks", 1995.
    """
    _same_shape("hinge", scores, target)
    return _per_row(_shortfall(scores, target), weight)


@_loss("labels", probabilistic=False)
def squared_hinge(scores: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return ``max(0, 1 - t z)²``, with labels t of 1 or -1, averaged over columns.

    As :func:`hinge`, but smooth at the margin.
    """
    _same_shape("squared_hinge", scores, target)
    return _per_row(square(_shortfall(scores, target)), weight)


def _shortfall(scores: Tensor, target: Tensor) -> Tensor:
    return relu(1 - where(target > 0, scores, -scores))


@_options_of("cross_entropy")
@dataclass(frozen=True)
class CrossEntropy:
    """:func:`cross_entropy` with its option; raises OptionError for smoothing not in [0, 1).

    >>> import chainrule as cr
    >>> CrossEntropy(label_smoothing=0.5)(cr.tensor([[2.0, 0.0]]), cr.tensor([0]))
    Tensor([0.6269280...], f32[1])
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        in_range(self, "label_smoothing", 0.0, 1.0)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(logits, target, self.label_smoothing)


@_options_of("huber")
@dataclass(frozen=True)
class Huber:
    """:func:`huber` with its option; raises OptionError for a `delta` that is not above 0."""

    delta: float = 1.0

    def __post_init__(self) -> None:
        in_range(self, "delta", 0.0, math.inf, open_low=True)

    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        return huber(prediction, target, self.delta, weight)


@_options_of("quantile")
@dataclass(frozen=True)
class Quantile:
    """:func:`quantile` with its levels; raises OptionError unless they rise between 0 and 1.

    >>> Quantile((0.1, 0.5, 0.9)).levels
    (0.1, 0.5, 0.9)
    """

    levels: tuple[float, ...] = LEVELS

    def __post_init__(self) -> None:
        levels = self.levels
        listed = isinstance(levels, (tuple, list)) and all(is_number(one) for one in levels)
        if not listed or not levels or sorted({0.0, *levels, 1.0}) != [0.0, *levels, 1.0]:
            raise OptionError(
                f"Quantile: levels must be numbers that rise between 0 and 1, not {levels!r}."
            )
        object.__setattr__(self, "levels", tuple(float(one) for one in levels))

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        return quantile(prediction, target, self.levels)
