"""Faults of the network: activations, first weights, layers and how they are joined.

Read next: :mod:`chainrule.lab.data_faults`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.core.tensor import Tensor
from chainrule.doctor.case import Case
from chainrule.lab.breakage import (
    Array,
    Place,
    after_middle,
    behind_output,
    classes,
    curved,
    descending,
    draw_weights,
    fault,
    labels,
    layers_of,
    linears,
    middle,
    middle_layer,
    of_classes,
    output_layer,
    plain,
    values,
)
from chainrule.lab.recipe import Recipe
from chainrule.nn.activations import Identity, ReLU, Sigmoid, Tanh
from chainrule.nn.layer import Linear, Sequential
from chainrule.nn.losses import cross_entropy
from chainrule.nn.noise import Dropout
from chainrule.nn.normalize import LayerNorm
from chainrule.ops.arithmetic import sign, stop_gradient
from chainrule.ops.composite import softmax
from chainrule.ops.elementary import exp
from chainrule.ops.reduce import mean

Rng = np.random.Generator


def _rectified(recipe: Recipe) -> bool:
    return plain(recipe) and recipe.activation == "relu"


def _deep(recipe: Recipe) -> bool:
    return plain(recipe) and len(recipe.hidden) >= 3


def _added(recipe: Recipe, layer: Any) -> Case:
    case = recipe.case()
    layers_of(case).append(layer)
    return case


def _inserted(recipe: Recipe, layer: Any) -> Case:
    """Return the case with `layer` behind the middle hidden layer and its activation."""
    case = recipe.case()
    layers_of(case).insert(middle(recipe) + 2 + recipe.batch_norm, layer)
    return case


# Activation.


@fault(
    "activation",
    "architecture",
    structural=True,
    suits=lambda recipe: curved(recipe) and recipe.data != "friedman",
)
def no_activation(recipe: Recipe, rng: Rng) -> Case:
    """Nothing stands between the layers, so that they are one linear function."""
    case = recipe.case()
    layers = layers_of(case)
    for i in linears(layers)[:-1]:
        layers[i + 1 + recipe.batch_norm] = Identity()
    return case


@fault("activation", "preprocessing", structural=True, suits=values, place=behind_output)
def sigmoid_on_wide_targets(recipe: Recipe, rng: Rng) -> Case:
    """A sigmoid keeps outputs between 0 and 1, and targets lie on both sides of 0, beyond 1."""
    return _added(recipe, Sigmoid())


@fault("activation", structural=True, suits=values, place=behind_output)
def relu_on_signed_targets(recipe: Recipe, rng: Rng) -> Case:
    """A ReLU keeps outputs above 0, and half of the targets are below."""
    return _added(recipe, ReLU())


@fault(
    "activation",
    "preprocessing",
    structural=True,
    suits=values,
    place=behind_output,
    answers=lambda recipe, outputs: outputs / 20.0,
)
def tanh_on_wide_targets(recipe: Recipe, rng: Rng) -> Case:
    """A tanh keeps outputs between -1 and 1, and targets reach beyond 20."""
    case = _added(recipe, Tanh())
    case.data = (case.data[0], 20.0 * case.data[1])
    if isinstance(case.validation, tuple):
        case.validation = (case.validation[0], 20.0 * case.validation[1])
    return case


@fault("activation", "loss", structural=True, suits=labels, place=behind_output)
def relu_before_labels(recipe: Recipe, rng: Rng) -> Case:
    """A ReLU keeps the raw scores of labels above 0, so that no answer is ever no."""
    return _added(recipe, ReLU())


@fault("activation", structural=True, suits=lambda recipe: recipe.kind != "classes")
def softmax_over_one_unit(recipe: Recipe, rng: Rng) -> Case:
    """A softmax over a single unit is always 1."""
    case = _added(recipe, lambda x: softmax(x))
    case.loss = "mse"
    return case


@fault(
    "activation",
    "loss",
    structural=True,
    suits=lambda recipe: classes(recipe) and recipe.outputs >= 3,
    place=behind_output,
)
def softmax_twice(recipe: Recipe, rng: Rng) -> Case:
    """The model ends in a softmax, and the loss applies another: no class is ever sure."""

    def own_cross_entropy(output: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(output, target)

    case = _added(recipe, lambda x: softmax(x))
    case.loss = own_cross_entropy
    case.data = (case.data[0], case.data[1].astype("int32"))
    if isinstance(case.validation, tuple):
        case.validation = (case.validation[0], case.validation[1].astype("int32"))
    return case


@fault("activation", structural=True, suits=of_classes, place=behind_output)
def scores_kept_small(recipe: Recipe, rng: Rng) -> Case:
    """Raw scores are kept between -0.1 and 0.1 by a tanh, so that no answer is ever sure."""
    return _added(recipe, lambda x: Tanh()(x) * 0.1)


@fault("activation", "architecture", structural=True, suits=lambda r: r.activation != "maxout")
def many_sigmoid_layers(recipe: Recipe, rng: Rng) -> Case:
    """Twelve layers of sigmoids follow one another, through which no gradient gets."""
    deep = replace(recipe, activation="sigmoid", hidden=(16,) * 12, batch_norm=False, dropout=0.0)
    return replace(deep, optimizer="sgd", learning_rate=0.05).case()


@fault(
    "activation",
    structural=True,
    suits=lambda r: plain(r) and curved(r),
    place=lambda recipe: Place(layer="1"),
)
def steps_without_slope(recipe: Recipe, rng: Rng) -> Case:
    """The hidden layers' activation is a step, whose slope is 0, so that they never learn."""
    case = replace(recipe, hidden=(3,) * len(recipe.hidden)).case()
    layers = layers_of(case)
    for i in linears(layers)[:-1]:
        layers[i + 1] = lambda x: sign(x)
    return case


@fault("activation", "learning_rate", suits=lambda recipe: plain(recipe) and descending(recipe))
def exponential_activation(recipe: Recipe, rng: Rng) -> Case:
    """The hidden layers' activation is exp(3 x), which grows without bound."""
    case = recipe.case()
    layers = layers_of(case)
    for i in linears(layers)[:-1]:
        layers[i + 1] = lambda x: exp(3.0 * x)
    return case


# First weights.


@fault("initialization", structural=True, suits=plain)
def zero_weights(recipe: Recipe, rng: Rng) -> Case:
    """All weights start at 0, so that hidden units never differ, or never learn."""
    case = recipe.case()
    draw_weights(case, recipe, lambda place, w: np.zeros_like(w))
    return case


@fault(
    "initialization", structural=True, suits=lambda r: plain(r) and r.data not in ("plane", "iris")
)
def equal_units(recipe: Recipe, rng: Rng) -> Case:
    """All weights start at the same number, so that the units of a layer never differ."""
    case = recipe.case()
    draw_weights(case, recipe, lambda place, w: np.full_like(w, 1.0 / len(w)))
    return case


@fault(
    "initialization",
    structural=True,
    suits=lambda recipe: plain(recipe) and recipe.activation in ("tanh", "sigmoid"),
)
def saturated_from_the_start(recipe: Recipe, rng: Rng) -> Case:
    """Weights into tanh or sigmoid start 100 times too large, so that every unit is at its end."""
    case = recipe.case()
    draw_weights(case, recipe, lambda place, w: 100.0 * w)
    return case


@fault("initialization", structural=True, suits=_deep)
def weights_far_too_small(recipe: Recipe, rng: Rng) -> Case:
    """Weights start 100 times too small, so that signals and gradients fade away."""
    case = recipe.case()
    draw_weights(case, recipe, lambda place, w: 0.01 * w)
    return case


@fault(
    "initialization",
    structural=True,
    suits=lambda r: plain(r) and r.activation not in ("tanh", "sigmoid"),
)
def weights_far_too_large(recipe: Recipe, rng: Rng) -> Case:
    """Weights start 100 times too large, so that signals and gradients grow from layer to layer."""
    case = recipe.case()
    draw_weights(case, recipe, lambda place, w: 100.0 * w)
    return case


@fault("initialization", "activation", structural=True, suits=_rectified, place=middle_layer)
def dead_layer(recipe: Recipe, rng: Rng) -> Case:
    """The biases before a ReLU start at -100, so that the layer never passes anything on."""
    case = recipe.case()
    layer = layers_of(case)[middle(recipe)]
    layer.bias.value = np.full(layer.outputs, -100.0)
    return case


@fault(
    "initialization",
    "activation",
    structural=True,
    suits=_rectified,
    harm="idle",
    place=lambda recipe: Place(layer=str(middle(recipe)), unit=recipe.seed % 8),
)
def dead_unit(recipe: Recipe, rng: Rng) -> Case:
    """One unit's bias before a ReLU starts at -100, so that it never passes anything on."""
    case = recipe.case()
    bias = np.zeros(layers_of(case)[middle(recipe)].outputs)
    bias[recipe.seed % 8] = -100.0
    layers_of(case)[middle(recipe)].bias.value = bias
    return case


@fault("initialization", "activation", structural=True, suits=_rectified, place=middle_layer)
def hardly_a_unit_alive(recipe: Recipe, rng: Rng) -> Case:
    """All units of a ReLU layer but one start with a bias of -100, and never come alive."""
    case = recipe.case()
    bias = np.full(layers_of(case)[middle(recipe)].outputs, -100.0)
    bias[0] = 0.0
    layers_of(case)[middle(recipe)].bias.value = bias
    return case


@fault("initialization", structural=True, place=output_layer)
def output_starts_far_off(recipe: Recipe, rng: Rng) -> Case:
    """The output's bias starts at 1000, which training does not undo."""
    case = recipe.case()
    bias = np.zeros(recipe.outputs)
    bias[0] = 1000.0
    layers_of(case)[-1].bias.value = bias
    if descending(recipe):  # which would undo it in a few steps
        case.optimizer = replace(recipe, learning_rate=recipe.learning_rate / 100).method()
    return case


@fault("initialization", structural=True, suits=_rectified, place=middle_layer)
def one_layer_of_zeros(recipe: Recipe, rng: Rng) -> Case:
    """One ReLU layer starts with weights of 0, and with biases of 0, so that it stays there."""
    case = recipe.case()
    layer = layers_of(case)[middle(recipe)]
    layer.weight.value = np.zeros((layer.inputs, layer.outputs))
    return case


# Architecture.


@fault(
    "architecture",
    structural=True,
    suits=lambda r: plain(r) and classes(r) and r.data in ("blobs", "clusters", "digits"),
    place=middle_layer,
)
def bottleneck(recipe: Recipe, rng: Rng) -> Case:
    """One hidden layer has a single unit, and everything has to pass through it."""
    case = recipe.case()
    layers, at = layers_of(case), middle(recipe)
    following = next(i for i in linears(layers) if i > at)
    layers[at] = Linear(layers[at].inputs, 1)
    layers[following] = Linear(1, layers[following].outputs)
    return case


@fault(
    "architecture",
    structural=True,
    suits=lambda r: r.data in ("xor", "rings", "digits") and r.activation != "maxout",
)
def far_too_small(recipe: Recipe, rng: Rng) -> Case:
    """The hidden layers have one unit each."""
    return replace(recipe, hidden=(1,) * len(recipe.hidden), dropout=0.0).case()


@fault("architecture", structural=True, suits=lambda r: r.activation not in ("maxout", "selu"))
def far_too_deep(recipe: Recipe, rng: Rng) -> Case:
    """Sixty hidden layers follow one another without a shortcut or normalization."""
    deep = replace(recipe, hidden=(12,) * 60, batch_norm=False, dropout=0.0)
    return replace(deep, epochs=max(3, min(recipe.epochs, 1500 // recipe.steps_an_epoch))).case()


@fault("architecture", structural=True, suits=lambda recipe: recipe.activation != "maxout")
def dropout_too_strong(recipe: Recipe, rng: Rng) -> Case:
    """Dropout takes 98 of 100 units away after each hidden layer."""
    return replace(recipe, dropout=0.98).case()


@fault("architecture", structural=True, place=lambda recipe: Place(layer="0"))
def dropout_on_inputs(recipe: Recipe, rng: Rng) -> Case:
    """Dropout takes 95 of 100 inputs away."""
    case = recipe.case()
    case.model = Sequential([Dropout(0.95), *layers_of(case)])
    return case


@fault("architecture", "activation", structural=True, place=behind_output)
def dropout_on_outputs(recipe: Recipe, rng: Rng) -> Case:
    """Dropout stands behind the last layer and takes 9 of 10 answers away."""
    return _added(recipe, Dropout(0.9))


@dataclass(eq=False)
class _MinusMeanOfRows:
    """``x - mean of the batch``, also in predicting."""

    def __call__(self, x: Tensor) -> Tensor:
        return 5.0 * (x - mean(x, 0))


@fault("architecture", "batch", structural=True, place=behind_output, alone=True)
def rows_depend_on_each_other(recipe: Recipe, rng: Rng) -> Case:
    """The mean of the batch is taken from the outputs, so that answers depend on other rows."""
    return _added(recipe, _MinusMeanOfRows())


@fault("architecture", "optimizer", structural=True, suits=plain, place=after_middle)
def gradient_reversed(recipe: Recipe, rng: Rng) -> Case:
    """A layer passes its input on and has the wrong sign in its gradient."""
    return _inserted(recipe, lambda x: 2.0 * stop_gradient(x) - x)


@fault(
    "architecture",
    "optimizer",
    structural=True,
    suits=lambda r: plain(r) and not r.l2,
    harm="idle",
    place=after_middle,
)
def gradient_cut(recipe: Recipe, rng: Rng) -> Case:
    """A stop_gradient behind the middle layer keeps it and the layers before it from learning."""
    return _inserted(recipe, lambda x: stop_gradient(x))


@fault("architecture", "learning_rate", structural=True, suits=descending, place=behind_output)
def gradient_scaled_down(recipe: Recipe, rng: Rng) -> Case:
    """A layer passes its input on and has a gradient a ten-thousandth of what it should be."""
    return _added(recipe, lambda x: 1e-4 * x + stop_gradient((1.0 - 1e-4) * x))


@fault("architecture", structural=True, suits=values, place=behind_output)
def one_unit_normalized(recipe: Recipe, rng: Rng) -> Case:
    """The single output is normalized over itself, so that it is the same for every row."""
    return _added(recipe, LayerNorm(1))


@fault("architecture", structural=True, place=lambda recipe: Place(layer="0"))
def blind_to_columns(recipe: Recipe, rng: Rng) -> Case:
    """The first layer multiplies all columns but one in eight, or all of few, by 0."""
    width = recipe.sample.X.shape[1]
    mask: Array = np.zeros(width, "float32")
    mask[: width // 8] = 1.0
    case = recipe.case()
    case.model = Sequential([lambda x: x * mask, *layers_of(case)])
    return case
