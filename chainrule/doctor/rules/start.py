"""Rules on the first weights: whether every unit can learn something of its own.

Read next: :mod:`chainrule.doctor.rules.signal`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from chainrule.core.tensor import Tensor
from chainrule.core.wording import counted
from chainrule.data.moments import root_mean_square
from chainrule.doctor.case import Case
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.layer_facts import LayerFacts
from chainrule.doctor.rule import rule
from chainrule.doctor.specimens import classes, network, values
from chainrule.doctor.survey import Survey
from chainrule.nn.activations import ReLU
from chainrule.nn.layer import Layer, Linear, Sequential, parameters
from chainrule.nn.regularizers import L2
from chainrule.ops.arithmetic import stop_gradient

__all__ = [
    "dead_layer", "identical_units", "no_gradient", "output_starts_far",
    "penalty_outweighs_loss", "weights_mis_scaled",
]  # fmt: skip

LARGE = 30.0  # root mean square of the inputs of a layer
LEAST_GAIN, MOST_GAIN = 0.03, 8.0  # size of the sums of a layer over that of its inputs
FAR_OFF = 10.0  # times as far as the targets are from 0
MANY_DEAD = 0.75  # of a layer's units; of random ReLU units with zero bias, few are dead


def _equal() -> Layer:
    return Sequential([Linear(4, 16, weight_init="zeros"), ReLU(), Linear(16, 3)])


@rule("initialization", sick=lambda: classes(_equal()), healthy=lambda: classes())
def identical_units(survey: Survey) -> Iterator[Finding]:
    """Units with the same weights get the same gradients and stay the same for ever."""
    for layer in survey.layers:
        w = layer.weight
        if w is None or w.ndim != 2 or w.shape[1] < 2 or layer.last:
            continue
        if bool((w == w[:, :1]).all()):
            what = "zero" if not w.any() else "the same for every unit"
            yield Finding(
                "identical_units", "initialization", "fault",
                f"Layer {layer.path}: the first weights are {what}, so all "
                f"{counted(layer.units, 'unit')} compute the same, receive the same gradient and "
                "remain copies of one another.",
                "Draw the weights at random: leave weight_init out.",
                {"layer": layer.path},
                (Evidence("spread of the weights between units", float(np.ptp(w, axis=1).max()),
                          0.0, "units must differ to learn different things"),),
                {"init": None}, 0.98,
            )  # fmt: skip


def _dead() -> Case:
    return classes(Sequential([Linear(4, 16, bias_init=-10.0), ReLU(), Linear(16, 3)]))


@rule("initialization", sick=_dead, healthy=lambda: classes())
def dead_layer(survey: Survey) -> Iterator[Finding]:
    """Units whose activation has slope 0 for every row receive no gradient."""
    for layer in survey.layers:
        if layer.slope.ndim != 2 or layer.last or not layer.connected:
            continue
        dead = layer.dead
        sums = layer.product if layer.bias is None else layer.product + layer.bias
        # Where inputs are large, they are the cause, which has a rule of its own.
        if dead <= MANY_DEAD or root_mean_square(layer.inputs) > LARGE:
            yield from _units_dead_by_bias(layer)
            continue
        stepped = dead == 1 and float(sums.min()) < 0 < float(sums.max())
        if stepped:
            why = "although their weighted sums have both signs: the activation has no slope"
            cure = "Use an activation with a slope, such as relu or tanh."
        else:
            by_bias = layer.bias is not None and float(layer.product.max()) > 0
            why = "so no gradient reaches their weights" + (
                f"; their biases, {float(np.median(layer.bias)):.3g} in the median, outweigh "
                "their inputs" if by_bias and layer.bias is not None else "")  # fmt: skip
            cure = ("Let biases start at 0 or 0.01 and weights at their default, or use "
                    "leaky_relu.")  # fmt: skip
        yield Finding(
            "dead_layer", "activation" if stepped else "initialization",
            "fault" if dead == 1 else "warning",
            f"Layer {layer.path}: {100 * dead:.0f} % of {counted(layer.units, 'unit')} are dead "
            f"before training starts. Their activation is flat for every row, {why}.",
            cure,
            {"layer": survey.place(layer.path) if stepped else layer.path},
            (Evidence("share of dead units", dead, MANY_DEAD,
                      "with zero biases few units are dead by chance"),
             Evidence("largest weighted sum with its bias", float(sums.max()), 0.0,
                      "a ReLU passes what is above 0")),
            {"activation": "relu"} if stepped else {"bias_init": 0.0, "init": None}, 0.9,
        )  # fmt: skip


def _units_dead_by_bias(layer: LayerFacts) -> Iterator[Finding]:
    """Find single units whose bias alone keeps them dead."""
    if layer.bias is None or layer.bias.shape != (layer.units,):
        return
    dead = (layer.slope == 0).all(axis=0) & (layer.product.max(axis=0) > 0)
    if not dead.any() or (layer.bias[dead] >= 0).all():
        return
    unit = int(np.flatnonzero(dead)[layer.bias[dead].argmin()])
    yield Finding(
        "dead_layer", "initialization", "note",
        f"Layer {layer.path}: {counted(int(dead.sum()), 'unit')} of {layer.units}, such as unit "
        f"{unit}, are dead before training starts, because of a bias of {layer.bias[unit]:.3g}.",
        "Let biases start at 0 or 0.01.",
        {"layer": layer.path, "unit": unit},
        (Evidence("largest weighted sum with its bias",
                  float((layer.product[:, unit] + layer.bias[unit]).max()), 0.0,
                  "a ReLU passes what is above 0"),),
        {"bias_init": 0.0, "init": None}, 0.6,
    )  # fmt: skip


def _scaled(factor: float) -> Layer:
    model = network(4, 16, 16, 3)
    for parameter in parameters(model).values():
        if parameter.ndim == 2:
            parameter.value = factor * parameter.draw(np.random.default_rng(0))
    return model


@rule(
    "initialization",
    sick=lambda: classes(_scaled(40.0)),
    healthy=lambda: classes(_scaled(1.5)),
)
def weights_mis_scaled(survey: Survey) -> Iterator[Finding]:
    """Find first weights whose size does not suit the number of inputs of a unit."""
    for layer in survey.layers:
        w = layer.weight
        if w is None or w.ndim != 2 or not w.any() or bool((w == w[:, :1]).all()):
            continue
        gain = root_mean_square(w) * math.sqrt(w.shape[0])
        if LEAST_GAIN <= gain <= MOST_GAIN:
            continue
        large = gain > MOST_GAIN
        yield Finding(
            "weights_mis_scaled", "initialization", "warning",
            f"The first weights of layer {layer.path} are too {'large' if large else 'small'}: for "
            f"inputs of size 1 its weighted sums have a size of {gain:.3g}, where 1 to 2 is usual, "
            f"and signals {'grow' if large else 'shrink'} by such a factor at each layer.",
            "Leave weight_init at its default, which suits the activation.",
            {"layer": layer.path},
            (Evidence("root mean square of the weights times the square root of the inputs", gain,
                      MOST_GAIN if large else LEAST_GAIN, "He's initialization has 1.4"),),
            {"init": None}, 0.93,
        )  # fmt: skip
        return


def _far() -> Layer:
    return Sequential([Linear(4, 16), ReLU(), Linear(16, 1, bias_init=5000.0)])


@rule("initialization", sick=lambda: values(_far()), healthy=lambda: values())
def output_starts_far(survey: Survey) -> Iterator[Finding]:
    """Find a last layer whose biases put the first outputs far from every target."""
    layer = survey.layers[-1] if survey.layers else None
    if layer is None or layer.bias is None:
        return
    bias = root_mean_square(layer.bias)
    if survey.takes == "values":
        usual = 1.0 + root_mean_square(survey.targets)
    else:
        usual = 1.0
    if bias <= FAR_OFF * usual:
        return
    yield Finding(
        "output_starts_far", "initialization", "warning",
        f"The biases of the last layer, {layer.path}, start at {bias:.4g}, far from "
        + (f"the targets, whose size is {usual - 1:.4g}" if survey.takes == "values"
           else "0, so the untrained network is sure of wrong answers")
        + ": the first steps only undo this.",
        "Let biases start at 0.",
        {"layer": layer.path},
        (Evidence("size of the biases over that of the targets", bias / usual, FAR_OFF,
                  "first outputs should be near the targets"),),
        {"bias_init": 0.0}, 0.93,
    )  # fmt: skip


class _Detached:
    def __init__(self) -> None:
        self.first, self.last = Linear(4, 16), Linear(16, 3)

    def __call__(self, x: Tensor) -> Tensor:
        return self.last(stop_gradient(ReLU()(self.first(x))))


@rule("architecture", sick=lambda: classes(_Detached()), healthy=lambda: classes())
def no_gradient(survey: Survey) -> Iterator[Finding]:
    """Find parameters that no gradient reaches, while it reaches others."""
    gradients = survey.gradients
    if not any(g.any() for g in gradients.values()):
        return
    dead = {layer.path for layer in survey.layers if layer.connected and not layer.slope.any()}
    for path, gradient in gradients.items():
        layer = path.rpartition(".")[0]
        if gradient.any() or not path.endswith("weight") or layer in dead:
            continue
        twins = [f for f in survey.layers if f.path == layer]
        if twins and twins[0].gradient.any():
            continue  # its inputs are zero; the weight may be reached by other rows
        after = [survey.layers[k] for k in twins[0].feeds] if twins else survey.layers
        if any(f.weight is not None and not f.weight.any() and f.gradient.any() for f in after):
            continue  # weights that start at zero let gradients pass after the first step
        yield Finding(
            "no_gradient", "architecture", "fault",
            f"No gradient reaches {path}: the loss does not depend on it, or a stop_gradient lies "
            "between, so it keeps its random first values.",
            "Connect the layer to the output, or remove it; to keep it fixed on purpose, freeze "
            "it with optim.freeze.",
            {"layer": survey.place(layer, own=True)},
            (Evidence("largest gradient", 0.0, 0.0, "other parameters have one"),),
            {}, 0.9,
        )  # fmt: skip


@rule(
    "loss",
    sick=lambda: classes(regularizer=L2(10.0)),
    healthy=lambda: classes(regularizer=L2(1e-4)),
)
def penalty_outweighs_loss(survey: Survey) -> Iterator[Finding]:
    """Find a penalty that is larger than the loss, so that it decides the training."""
    if survey.case.regularizer is None or not survey.penalty > survey.loss > 0:
        return
    ratio = survey.penalty / survey.loss
    yield Finding(
        "penalty_outweighs_loss", "loss", "warning",
        f"The penalty on the weights starts at {survey.penalty:.4g}, {ratio:.3g} times the loss "
        f"({survey.loss:.4g}), so training will shrink the weights rather than fit the data.",
        f"Make the penalty about {min(0.01, 0.1 / ratio):.1g} times as strong.",
        {},
        (Evidence("penalty over loss", ratio, 1.0, "a penalty should be a correction"),),
        {}, min(0.9, 0.5 + 0.1 * ratio),
    )  # fmt: skip
