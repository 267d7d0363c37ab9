"""Rules on how signals pass the untrained network forward, and gradients back.

Read next: :mod:`chainrule.doctor.rules.steps`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from chainrule.data.moments import root_mean_square
from chainrule.doctor.case import Case
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.layer_facts import LayerFacts, longest_chain
from chainrule.doctor.rule import rule
from chainrule.doctor.rules.start import dead_layer
from chainrule.doctor.specimens import classes, network, numbers
from chainrule.doctor.survey import Survey
from chainrule.nn.activations import Sigmoid, Tanh
from chainrule.nn.layer import Layer, Linear, Sequential

__all__ = ["activation_never_bends", "no_nonlinearity", "of_two_slopes", "saturated_layer",
           "saturation", "vanishing_gradients"]  # fmt: skip

FLAT = 0.05  # a slope below this, where a sigmoid's is 0.25 and a tanh's 1 at most
MOSTLY = 0.6  # share of slopes; a unit normal input leaves under a tenth of a tanh's so flat
WIDER = 10.0  # times the size of all other columns, which then hardly change a sign
ROUNDING = 1e-6  # change of a slope, of the largest
FADED = 1e-3  # gradient of the first layer over that of the last


@rule(
    "activation",
    sick=lambda: classes(network(4, 16, 16, 3, between=())),
    healthy=lambda: classes(),
)
def no_nonlinearity(survey: Survey) -> Iterator[Finding]:
    """Layers with nothing but lines between them are one linear layer."""
    hidden, most = _straight(survey)
    if not hidden or any(layer.bends for layer in hidden):
        return
    yield Finding(
        "no_nonlinearity", "activation", "warning",
        f"No activation lies between the {len(hidden) + 1} layers with weights, so together they "
        "are one linear function, whatever their sizes.",
        "Put an activation such as nn.ReLU() after each hidden layer.",
        {"layer": hidden[0].path}, _bends(most), {"activation": "relu"}, 0.75,
    )  # fmt: skip


def _one_wide_column() -> Case:
    return classes(X=numbers() * 0.1 + np.array([0, 0, 20, 0]))


@rule("preprocessing", sick=_one_wide_column, healthy=lambda: classes())
def activation_never_bends(survey: Survey) -> Iterator[Finding]:
    """Find activations whose bends no row comes near, so that the network is linear."""
    hidden, most = _straight(survey)
    if not any(layer.bends for layer in hidden):
        return
    size = np.sqrt(np.square(survey.columns).mean(axis=0))
    column = int(size.argmax()) if len(size) else 0
    rest = np.delete(size, column)
    alone = len(rest) > 0 and float(size[column]) > WIDER * root_mean_square(rest)
    why = "every weighted sum stays on one side of the bends"
    if alone:
        why = f"column {survey.column(column)!r} is so large that it alone decides every sign"
    yield Finding(
        "activation_never_bends", "preprocessing", "warning",
        f"The activations after layer {hidden[0].path} never bend on these rows: {why}. On them "
        "the network is one linear function.",
        "Standardize the inputs: (X - X.mean(0)) / X.std(0).",
        {"layer": hidden[0].path, **({"column": survey.column(column)} if alone else {})},
        _bends(most), {"preprocess": "standardize"}, 0.7,
    )  # fmt: skip


def _straight(survey: Survey) -> tuple[list[LayerFacts], float]:
    """Return the hidden layers if none bends on any row, else none, and the largest bend."""
    hidden = [layer for layer in survey.layers if not layer.last]
    most = max(map(_bend, hidden), default=math.inf)
    return (hidden if most <= ROUNDING else []), most


def _bends(most: float) -> tuple[Evidence, ...]:
    return (Evidence("change of any slope from row to row", most, ROUNDING,
                     "of the largest slope; a line has one slope everywhere"),)  # fmt: skip


def _bend(layer: LayerFacts) -> float:
    """Return how much a slope changes from row to row; infinite where that can't be told."""
    slope = layer.slope
    if slope.ndim != 2 or len(slope) < 8 or not slope.any():
        return math.inf
    return float(np.ptp(slope, axis=0).max() / np.abs(slope).max())


def _steep() -> Layer:
    return Sequential([Linear(4, 16, bias_init=4.0), Tanh(), Linear(16, 3)])


@rule(
    "initialization",
    sick=lambda: classes(_steep()),
    healthy=lambda: classes(network(4, 16, 3, between=[Tanh()])),
)  # fmt: skip
def saturated_layer(survey: Survey) -> Iterator[Finding]:
    """Where an activation is nearly flat for most rows, hardly any gradient passes."""
    for layer in survey.layers:
        flat = saturation(layer)
        if flat <= MOSTLY:
            continue
        size = root_mean_square(layer.inputs)
        if any(found.where["layer"] == layer.path for found in dead_layer(survey)):
            return  # said there, of the same units
        inputs = layer is survey.layers[0] and size > 5
        cause = "preprocessing" if inputs else "initialization"
        biased = layer.bias is not None and root_mean_square(layer.bias) > max(
            1.0, root_mean_square(layer.product)
        )
        if inputs:
            why = f"its inputs are large (root mean square {size:.3g}, where 1 is usual)"
            cure = "Standardize the inputs: (X - X.mean(0)) / X.std(0)."
        elif biased:
            why = "its first biases are larger than its weighted sums"
            cure = "Let biases start at 0."
        else:
            why = "its first weights are too large for its inputs"
            cure = "Leave weight_init at its default, which suits the activation."
        yield Finding(
            "saturated_layer", cause, "warning",
            f"Layer {layer.path} is saturated before training starts, because {why}: for "
            f"{100 * flat:.0f} % of rows and units its activation is nearly flat, and hardly any "
            "gradient passes.",
            cure,
            {"layer": layer.path},
            (Evidence("share of nearly flat slopes", flat, MOSTLY,
                      f"slopes below {FLAT:g} of the largest"),),
            {"preprocess": "standardize"} if inputs
            else {"bias_init": 0.0} if biased else {"init": None}, 0.8,
        )  # fmt: skip
        return  # later layers suffer from this one


def saturation(layer: LayerFacts) -> float:
    """Return the share of rows and units whose slope is nearly flat; 0 where none can be so."""
    seen = layer.product != 0  # ReLU is flat at 0, as on rows of zeros
    if layer.slope.ndim != 2 or layer.last or seen.mean() < 0.2:
        return 0.0  # the outputs of a softmax, behind the last layer, are flat where it is sure
    slope = np.abs(layer.slope[seen])
    top = float(slope.max())
    # ReLU and its variants are flat on one side and steep on the other: not saturated.
    if top == 0 or (slope >= 0.5 * top).mean() > 0.2:
        return 0.0
    return float((slope < FLAT * max(top, 1e-30)).mean())


def of_two_slopes(layer: LayerFacts) -> bool:
    """Whether nearly every slope is one of two, as those of ReLU and its variants are.

    Where sums are small, a sigmoid has one slope for all rows, the steepest it has: 0.25.
    """
    slopes = np.abs(layer.slope)
    steep, flat = slopes >= 0.9 * slopes.max(axis=0), slopes <= 0.1 * slopes.max(axis=0)
    return bool((steep | flat).mean() > 0.95 and flat.any())


def _sigmoids() -> Case:
    return classes(network(4, *[16] * 7, 3, between=[Sigmoid()]))


@rule("activation", sick=_sigmoids, healthy=lambda: classes())
def vanishing_gradients(survey: Survey) -> Iterator[Finding]:
    """Gradients that shrink at each layer leave the first layers untrained."""
    layers = longest_chain(survey.layers)
    sizes = [root_mean_square(f.gradient) for f in layers]
    if len(sizes) < 3 or not sizes[-1] > 0 or not sizes[0] > 0:
        return
    ratio = sizes[0] / sizes[-1]
    if ratio >= FADED:
        return
    hidden = layers[:-1]
    slopes = float(np.median([np.abs(f.slope).mean() for f in hidden]))
    # A sigmoid's slope is at most 0.25; a ReLU's is 0 or 1, whatever its mean.
    saturating = slopes < 0.35 and not all(of_two_slopes(f) for f in hidden)
    yield Finding(
        "vanishing_gradients", "activation" if saturating else "initialization",
        "warning" if saturating or ratio < 1e-6 else "note",
        f"Gradients fade on their way back: at layer {hidden[0].path} they are "
        f"{1 / ratio:,.0f} times smaller than at layer {layers[-1].path}, so the first "
        "layers hardly learn. "
        + (f"The mean slope of the activations is {slopes:.2g}, and each layer multiplies by it."
           if saturating else "The first weights are too small to carry signals through."),
        "Use relu or tanh in the hidden layers, fewer layers, or batch normalization."
        if saturating else "Leave weight_init at its default, which suits the activation.",
        {"layer": hidden[0].path},
        (Evidence("gradient of the first layer over the last", ratio, FADED,
                  "the layers would learn at speeds a thousand times apart"),),
        {"activation": "relu"} if saturating else {"init": None}, 0.8,
    )  # fmt: skip
