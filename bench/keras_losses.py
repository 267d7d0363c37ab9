"""Losses as defined by Keras, with clipped probabilities and broadcast targets.

They are for programs written for Keras, whose last layer applies the sigmoid or softmax, and
whose losses silently broadcast a column of targets to any number of outputs.  chainrule's own
losses expect logits and reject such targets.  Each function takes output and target tensors and
returns one number per row.  It has two attributes: `kind` is the kind of its targets ("classes",
"labels", "values" or "counts"), and `takes` the kind of its outputs ("probabilities", "logits",
"values", "rates" or "scores").

Source: the documentation of tf.keras.losses; where versions differ, Keras 2 on TensorFlow.

Read next: `bench/keras_parts.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from chainrule.core.errors import OptionError, ShapeError, did_you_mean
from chainrule.core.tensor import Tensor
from chainrule.ops.arithmetic import abs, maximum, minimum, relu, sign, where
from chainrule.ops.composite import clip, log_softmax, softplus, square
from chainrule.ops.elementary import log, log1p, sqrt
from chainrule.ops.index import is_class
from chainrule.ops.reduce import max, mean, sum

__all__ = ["BY_NAME", "CLIP", "keras_loss"]

LossFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]

CLIP = 1e-7  # the minimum distance of a probability from 0 and 1
BY_NAME: dict[str, LossFunction] = {}


def _loss(kind: str, takes: str, *names: str) -> Callable[[LossFunction], LossFunction]:
    """Return a decorator that sets the attributes of a loss and registers it under `names`."""

    def enter(function: LossFunction) -> LossFunction:
        function.kind, function.takes = kind, takes  # type: ignore[attr-defined]
        for name in (function.__name__, *names):
            BY_NAME[name] = function
        return function

    return enter


def keras_loss(name: str) -> LossFunction:
    """Return the loss with Keras's `name`, such as "mse" or "hinge".

    With ``(from_logits)`` appended, it takes logits.  Raises OptionError, with the nearest
    name, if `name` is unknown.

    >>> keras_loss("MSE").kind
    'values'
    """
    key = name.strip().lower().replace("(from_logits)", "_from_logits").replace(" ", "")
    key = key.replace("(from_logits=true)", "_from_logits").replace("(from_logits=false)", "")
    if key not in BY_NAME:
        raise OptionError(f"unknown Keras loss {name!r}. {did_you_mean(key, BY_NAME)}")
    return BY_NAME[key]


def _as_rows(output: Tensor, target: Tensor) -> Tensor:
    """Return `target` as floats; like Keras, add a last axis to a target of one axis."""
    target = target if target.dtype == output.dtype else target.astype(output.dtype)
    return target.reshape((target.shape[0], 1)) if target.ndim == 1 else target


def _per_row(values: Tensor) -> Tensor:
    """Return the mean of each row over all other axes."""
    return mean(values, range(1, values.ndim)) if values.ndim > 1 else values


def _probability(output: Tensor) -> Tensor:
    return clip(output, CLIP, 1 - CLIP)


def _shares(output: Tensor) -> Tensor:
    """Return each row divided by its sum and clipped, as Keras does for class outputs."""
    return _probability(output / sum(output, -1, keepdims=True))


@_loss("values", "values", "mean_squared_error")
def mse(output: Tensor, target: Tensor) -> Tensor:
    return _per_row(square(output - _as_rows(output, target)))


@_loss("values", "values", "mean_absolute_error")
def mae(output: Tensor, target: Tensor) -> Tensor:
    return _per_row(abs(output - _as_rows(output, target)))


@_loss("values", "values", "mean_absolute_percentage_error")
def mape(output: Tensor, target: Tensor) -> Tensor:
    t = _as_rows(output, target)
    return 100.0 * _per_row(abs(t - output) / maximum(abs(t), CLIP))


@_loss("values", "values", "mean_squared_logarithmic_error")
def msle(output: Tensor, target: Tensor) -> Tensor:
    t = log1p(maximum(_as_rows(output, target), CLIP))
    return _per_row(square(log1p(maximum(output, CLIP)) - t))


@_loss("values", "values", "huber_loss")
def huber(output: Tensor, target: Tensor) -> Tensor:
    size = abs(output - _as_rows(output, target))
    within = minimum(size, 1.0)
    return _per_row(within * (size - 0.5 * within))


@_loss("values", "values", "logcosh", "log_cosh")
def logcosh(output: Tensor, target: Tensor) -> Tensor:
    error = output - _as_rows(output, target)
    return _per_row(error + softplus(-2.0 * error) - math.log(2.0))


@_loss("values", "values", "cosine_proximity")
def cosine_similarity(output: Tensor, target: Tensor) -> Tensor:
    return _per_row(-sum(_unit(output) * _unit(_as_rows(output, target)), -1))


def _unit(x: Tensor) -> Tensor:
    """Return `x` with rows of length 1; like TensorFlow, bound the squared norm by 1e-12."""
    return x / sqrt(maximum(sum(square(x), -1, keepdims=True), 1e-12))


@_loss("counts", "rates")
def poisson(output: Tensor, target: Tensor) -> Tensor:
    return _per_row(output - _as_rows(output, target) * log(output + CLIP))


@_loss("labels", "probabilities", "bce")
def binary_crossentropy(output: Tensor, target: Tensor) -> Tensor:
    t, p = _as_rows(output, target), _probability(output)
    return -_per_row(t * log(p) + (1 - t) * log(1 - p))


@_loss("labels", "logits", "bce_from_logits")
def binary_crossentropy_from_logits(output: Tensor, target: Tensor) -> Tensor:
    return _per_row(softplus(output) - _as_rows(output, target) * output)


@_loss("labels", "scores")
def hinge(output: Tensor, target: Tensor) -> Tensor:
    return _per_row(relu(1 - _signed(_as_rows(output, target)) * output))


@_loss("labels", "scores")
def squared_hinge(output: Tensor, target: Tensor) -> Tensor:
    return _per_row(square(relu(1 - _signed(_as_rows(output, target)) * output)))


def _signed(t: Tensor) -> Tensor:
    """Return -1 for a target of 0, as Keras does if all targets are 0 or 1.

    Keras checks the whole batch.  Here each target is converted separately, as targets of 0
    do not occur together with targets of -1.
    """
    return where(t == 0, sign(t) - 1.0, t)


@_loss("classes", "scores")
def categorical_hinge(output: Tensor, target: Tensor) -> Tensor:
    t = _as_rows(output, target)
    chosen, rival = sum(t * output, -1), max((1 - t) * output, -1)
    return _per_row(relu(rival - chosen + 1.0))


@_loss("classes", "probabilities", "cce")
def categorical_crossentropy(output: Tensor, target: Tensor) -> Tensor:
    return _per_row(-sum(_as_rows(output, target) * log(_shares(output)), -1))


@_loss("classes", "logits", "cce_from_logits")
def categorical_crossentropy_from_logits(output: Tensor, target: Tensor) -> Tensor:
    return _per_row(-sum(_as_rows(output, target) * log_softmax(output), -1))


@_loss("classes", "probabilities", "scce")
def sparse_categorical_crossentropy(output: Tensor, target: Tensor) -> Tensor:
    # Keras clips, uses logarithms as logits, and so divides by the sum in the softmax.
    return _of_class(log_softmax(log(_probability(output))), target)


@_loss("classes", "logits", "scce_from_logits")
def sparse_categorical_crossentropy_from_logits(output: Tensor, target: Tensor) -> Tensor:
    return _of_class(log_softmax(output), target)


def _of_class(log_shares: Tensor, target: Tensor) -> Tensor:
    """Return the negative log probability of each row's class."""
    if target.ndim == 2 and target.shape[1] == 1:
        target = target.reshape((target.shape[0],))
    if target.ndim != 1 or log_shares.ndim != 2:
        raise ShapeError(
            "sparse_categorical_crossentropy needs one class number per row and outputs of shape "
            f"(rows, classes), not targets of shape {target.shape} and outputs of shape "
            f"{log_shares.shape}."
        )
    classes = int(log_shares.shape[1])  # type: ignore[arg-type]
    right = is_class(target.astype(np.int32), classes)
    return -sum(where(right, log_shares, 0.0), 1)


@_loss("classes", "probabilities", "kld", "kullback_leibler_divergence")
def kl_divergence(output: Tensor, target: Tensor) -> Tensor:
    t, p = clip(_as_rows(output, target), CLIP, 1.0), clip(output, CLIP, 1.0)
    return _per_row(sum(t * log(t / p), -1))
