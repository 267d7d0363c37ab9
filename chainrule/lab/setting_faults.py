"""Faults of the settings: learning rate, epochs, optimizer, batches and loss.

Read next: :mod:`chainrule.lab.network_faults`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from chainrule.core.tensor import Tensor
from chainrule.doctor.case import Case
from chainrule.lab.breakage import (
    Array,
    after_middle,
    classes,
    curved,
    descending,
    fault,
    labels,
    layers_of,
    linears,
    middle,
)
from chainrule.lab.recipe import Recipe
from chainrule.nn.layer import Linear
from chainrule.nn.losses import CrossEntropy, binary_cross_entropy, cross_entropy, mse
from chainrule.nn.normalize import BatchNorm
from chainrule.nn.regularizers import L2
from chainrule.ops.arithmetic import stop_gradient
from chainrule.ops.composite import square
from chainrule.ops.reduce import mean
from chainrule.optim.adam import Adam
from chainrule.optim.clip import ClipNorm
from chainrule.optim.decay import MaxNorm, WeightDecay
from chainrule.optim.groups import freeze, groups
from chainrule.optim.named import optimizer
from chainrule.optim.optimizer import chain
from chainrule.optim.schedules import Exponential, Warmup
from chainrule.optim.sgd import SGD
from chainrule.optim.wrappers import Accumulate

Rng = np.random.Generator
_LOSS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "classes": cross_entropy,
    "labels": binary_cross_entropy,
    "values": mse,
}


def _rate(recipe: Recipe, factor: float) -> Case:
    return replace(recipe, learning_rate=recipe.learning_rate * factor).case()


# Learning rate.


@fault("learning_rate")
def rate_too_high(recipe: Recipe, rng: Rng) -> Case:
    """The learning rate is 100 times too high."""
    return _rate(recipe, 100.0)


@fault("learning_rate", structural=True)
def rate_far_too_high(recipe: Recipe, rng: Rng) -> Case:
    """The learning rate is 10,000 times too high: training diverges or jumps about."""
    return _rate(recipe, 1e4)


@fault("learning_rate", "epochs")
def rate_too_low(recipe: Recipe, rng: Rng) -> Case:
    """The learning rate is 300 times too low."""
    return _rate(recipe, 1 / 300)


@fault("learning_rate", structural=True)
def rate_near_zero(recipe: Recipe, rng: Rng) -> Case:
    """The learning rate is a million times too low: nothing moves."""
    return _rate(recipe, 1e-6)


@fault("learning_rate", suits=lambda recipe: recipe.steps >= 200)
def rate_decays_too_soon(recipe: Recipe, rng: Rng) -> Case:
    """The learning rate falls to nothing within the first steps."""
    plan = Exponential(recipe.learning_rate, factor=0.01, steps=max(2.0, recipe.steps / 200))
    case = recipe.case()
    case.optimizer = replace(recipe.method(), learning_rate=plan)  # type: ignore[call-arg]
    return case


@fault("learning_rate", structural=True)
def warmup_outlasts_training(recipe: Recipe, rng: Rng) -> Case:
    """The learning rate is still warming up when training ends: at 1/300 of what it should be."""
    plan = Warmup(recipe.learning_rate, steps=300 * recipe.steps)
    case = recipe.case()
    case.optimizer = replace(recipe.method(), learning_rate=plan)  # type: ignore[call-arg]
    return case


# Epochs.


@fault("epochs", structural=True, suits=lambda recipe: recipe.epochs >= 20)
def one_epoch(recipe: Recipe, rng: Rng) -> Case:
    """There is a single epoch."""
    return replace(recipe, epochs=1).case()


@fault("epochs", suits=lambda recipe: recipe.epochs >= 100)
def too_few_epochs(recipe: Recipe, rng: Rng) -> Case:
    """There are 50 times too few epochs: the loss is still falling when training ends."""
    return replace(recipe, epochs=recipe.epochs // 50).case()


@fault(
    "epochs",
    "architecture",
    "data",
    suits=lambda recipe: recipe.data in ("diabetes", "friedman", "plane", "clusters"),
)
def overtrained(recipe: Recipe, rng: Rng) -> Case:
    """A wide network trains ten times too long on 50 noisy rows, and learns them by heart."""
    long = replace(recipe, hidden=(128, 128), epochs=1500, l2=0.0, dropout=0.0, batch_size=16)
    case = replace(long, activation="relu", optimizer="adam", learning_rate=3e-3).case()
    X, y = case.data
    X, y = X[:50], y[:50].copy()
    if recipe.kind == "values":
        y = y + rng.normal(0.0, 0.7, len(y)).astype(y.dtype)
    else:
        y[:15] = rng.integers(0, recipe.sample.classes, 15)
    case.data = (X, y)
    return case


# Optimizer.


@fault("optimizer", "learning_rate", structural=True, suits=descending)
def momentum_too_high(recipe: Recipe, rng: Rng) -> Case:
    """The momentum is 0.9995: each step repeats two thousand earlier ones."""
    case = recipe.case()
    case.optimizer = SGD(max(recipe.learning_rate, 0.02), momentum=0.9995)
    return case


@fault(
    "optimizer", "learning_rate", suits=lambda r: r.optimizer in ("adam", "rmsprop") and curved(r)
)
def descent_at_adams_rate(recipe: Recipe, rng: Rng) -> Case:
    """Plain gradient descent runs at a tenth of the learning rate that suited Adam."""
    case = recipe.case()
    case.optimizer = SGD(recipe.learning_rate / 10)
    return case


@fault(
    "optimizer",
    "learning_rate",
    suits=lambda r: r.optimizer == "sgd" and r.data in ("friedman", "wave", "diabetes"),
)
def adam_at_descents_rate(recipe: Recipe, rng: Rng) -> Case:
    """Adam runs at 30 times the learning rate that suited plain gradient descent."""
    case = recipe.case()
    case.optimizer = Adam(30 * recipe.learning_rate)
    return case


@fault("optimizer", "learning_rate", structural=True)
def frozen_network(recipe: Recipe, rng: Rng) -> Case:
    """Every parameter but the last bias is frozen."""
    case = recipe.case()
    last = linears(layers_of(case))[-1]
    case.optimizer = groups({f"{last}.bias": recipe.method()}, default=freeze)
    return case


@fault("optimizer", "learning_rate", structural=True, suits=descending)
def clipped_to_nothing(recipe: Recipe, rng: Rng) -> Case:
    """Gradients are clipped to a norm of 0.00001."""
    case = recipe.case()
    case.optimizer = chain(ClipNorm(1e-5), recipe.method())
    return case


@fault("optimizer", structural=True)
def decay_too_strong(recipe: Recipe, rng: Rng) -> Case:
    """Each step takes a tenth of every weight away."""
    case = recipe.case()
    case.optimizer = chain(recipe.method(), WeightDecay(0.1))
    return case


@fault("optimizer", structural=True)
def norm_bounded_too_low(recipe: Recipe, rng: Rng) -> Case:
    """The weights into each unit may have a norm of 0.01 at most."""
    case = recipe.case()
    case.optimizer = chain(recipe.method(), MaxNorm(0.01))
    return case


@fault("optimizer", "learning_rate", structural=True)
def epsilon_too_large(recipe: Recipe, rng: Rng) -> Case:
    """Adam's epsilon is 1000, so that its steps are a thousand times too short."""
    case = recipe.case()
    case.optimizer = Adam(3e-3, epsilon=1e3)
    return case


@fault(
    "optimizer", "batch", "epochs", structural=True, suits=lambda recipe: 300 <= recipe.steps < 6000
)
def hardly_any_updates(recipe: Recipe, rng: Rng) -> Case:
    """Gradients are gathered over half the training before a step is taken."""
    case = recipe.case()
    case.optimizer = Accumulate(recipe.steps // 2, recipe.method())
    return case


# Batches.


@fault("batch", "learning_rate", suits=lambda recipe: descending(recipe) and not recipe.batch_norm)
def single_rows_at_high_rate(recipe: Recipe, rng: Rng) -> Case:
    """Batches are of one row, at a learning rate that only large batches could bear."""
    rate = 0.6 if recipe.optimizer == "sgd" else 0.12
    epochs = max(1, recipe.steps // recipe.train_rows)
    return replace(recipe, batch_size=1, learning_rate=rate, epochs=epochs).case()


@fault(
    "batch",
    "epochs",
    structural=True,
    suits=lambda r: r.epochs <= 60 and r.steps_an_epoch >= 10 and curved(r),
)
def one_batch_an_epoch(recipe: Recipe, rng: Rng) -> Case:
    """The batch is all rows, and the epochs, so few, are as many steps."""
    return replace(recipe, batch_size=recipe.train_rows, epochs=max(1, recipe.epochs // 4)).case()


@fault("batch", "architecture", structural=True, suits=lambda r: r.activation != "maxout")
def single_rows_normalized(recipe: Recipe, rng: Rng) -> Case:
    """Batches are of one row under batch normalization, which makes every row the same."""
    epochs = max(1, min(recipe.epochs, 2 * recipe.steps // recipe.train_rows))
    return replace(recipe, batch_size=1, batch_norm=True, epochs=epochs).case()


@fault(
    "batch",
    "architecture",
    structural=True,
    suits=lambda r: r.activation not in ("maxout", "sigmoid"),
    place=lambda recipe: after_middle(replace(recipe, batch_norm=False)),
)
def statistics_lag_behind(recipe: Recipe, rng: Rng) -> Case:
    """Batch normalization predicts with the mean and variance of the start, far from the data's."""
    case = replace(recipe, batch_norm=False).case()
    place = middle(replace(recipe, batch_norm=False)) + 2
    units: int = layers_of(case)[place - 2].outputs
    norm = BatchNorm(units, momentum=1e-7)
    norm.running_mean.value = np.full(units, 30.0)
    layers_of(case).insert(place, norm)
    return case


# Loss.


def _rounded(recipe: Recipe, outputs: Array) -> Array:
    k = recipe.sample.classes
    numbers = np.clip(np.rint(outputs.reshape(-1)), 0, k - 1).astype(int)
    chances: Array = np.log(np.eye(k)[numbers] + 1e-3)
    return chances


@fault(
    "loss",
    "activation",
    structural=True,
    suits=lambda r: classes(r) and r.data == "digits",
    answers=_rounded,
)
def class_numbers_as_values(recipe: Recipe, rng: Rng) -> Case:
    """One output is trained by mse on the numbers of classes, as if these were amounts."""
    case = recipe.case()
    layers = layers_of(case)
    layers[-1] = Linear(layers[-1].inputs, 1)
    case.loss = "mse"
    case.data = (case.data[0], case.data[1].astype("float32"))
    if isinstance(case.validation, tuple):
        case.validation = (case.validation[0], case.validation[1].astype("float32"))
    return case


@fault("loss", structural=True, suits=classes)
def absolute_error_for_classes(recipe: Recipe, rng: Rng) -> Case:
    """One-hot classes are trained by mae, whose best constant answer predicts no class."""
    case = recipe.case()
    case.loss = "mae"
    one_hot = np.eye(recipe.outputs, dtype="float32")
    case.data = (case.data[0], one_hot[case.data[1]])
    if isinstance(case.validation, tuple):
        case.validation = (case.validation[0], one_hot[case.validation[1]])
    return case


@fault("loss", "learning_rate", suits=descending)
def loss_summed(recipe: Recipe, rng: Rng) -> Case:
    """The loss is 1000 times too large, as a sum over rows is, and so are the steps."""
    function = _LOSS[recipe.kind]

    def summed(output: Tensor, target: Tensor) -> Tensor:
        return 1000.0 * function(output, target)

    return _own_loss(recipe, summed)


@fault("loss")
def loss_negated(recipe: Recipe, rng: Rng) -> Case:
    """The loss has the wrong sign, so that training looks for the worst answers."""
    function = _LOSS[recipe.kind]

    def negated(output: Tensor, target: Tensor) -> Tensor:
        return -function(output, target)

    return _own_loss(recipe, negated)


@fault("loss", "architecture", structural=True)
def loss_detached(recipe: Recipe, rng: Rng) -> Case:
    """The loss looks at the outputs through a stop_gradient, so that no gradient comes back."""
    function = _LOSS[recipe.kind]

    def detached(output: Tensor, target: Tensor) -> Tensor:
        return function(stop_gradient(output), target)

    return _own_loss(recipe, detached)


def _own_loss(recipe: Recipe, function: object) -> Case:
    """Return the case with a loss of its own, and targets of the shape that it takes."""
    case = recipe.case()
    case.loss = function  # type: ignore[assignment]

    def shaped(y: Array) -> Array:
        fit: Array = y.astype("int32" if recipe.kind == "classes" else "float32")
        return fit if recipe.kind == "classes" else fit[:, None]

    case.data = (case.data[0], shaped(case.data[1]))
    if isinstance(case.validation, tuple):
        case.validation = (case.validation[0], shaped(case.validation[1]))
    return case


@fault("loss", "data", structural=True, suits=lambda recipe: recipe.kind != "classes")
def loss_broadcasts(recipe: Recipe, rng: Rng) -> Case:
    """The loss compares each output with each target, by broadcasting (n, 1) to (n,)."""

    def every_pair(output: Tensor, target: Tensor) -> Tensor:
        return mean(square(output - target))

    case = recipe.case()
    case.loss = every_pair
    shift = 0.5 if recipe.kind == "labels" else 0.0
    case.data = (case.data[0], case.data[1].astype("float32") - np.float32(shift))
    if isinstance(case.validation, tuple):
        y = case.validation[1].astype("float32") - np.float32(shift)
        case.validation = (case.validation[0], y)
    return case


@fault("loss", structural=True, suits=lambda recipe: recipe.kind == "classes")
def smoothed_too_much(recipe: Recipe, rng: Rng) -> Case:
    """Labels are smoothed by 0.99: the network is asked to be sure of nothing."""
    case = recipe.case()
    case.loss = CrossEntropy(label_smoothing=0.99)
    return case


@fault("loss", "optimizer", structural=True)
def penalty_too_strong(recipe: Recipe, rng: Rng) -> Case:
    """The L2 penalty is thousands of times too strong, and outweighs the loss."""
    case = recipe.case()
    case.regularizer = L2(1.0)
    if recipe.optimizer == "sgd":
        case.optimizer = optimizer("sgd", min(recipe.learning_rate, 0.05))
    return case


@fault("loss", structural=True, suits=labels)
def yes_alone_counts(recipe: Recipe, rng: Rng) -> Case:
    """The loss of yes-or-no labels leaves out the rows whose answer is no."""

    def yes_alone(output: Tensor, target: Tensor) -> Tensor:
        return mean(target * binary_cross_entropy(output, target)[:, None], 1)

    return _own_loss(recipe, yes_alone)
