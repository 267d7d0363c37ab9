"""Rules on the first weights: whether every unit can learn something of its own.

Read next: :mod:`chainrule.doctor.rules.signal`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chainrule.core.tensor import Tensor
from chainrule.core.wording import counted
from chainrule.data.moments import root_mean_square
from chainrule.doctor.case import Case
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.rule import rule
from chainrule.doctor.specimens import classes
from chainrule.doctor.survey import Survey
from chainrule.nn.activations import ReLU
from chainrule.nn.layer import Layer, Linear, Sequential
from chainrule.nn.regularizers import L2
from chainrule.ops.arithmetic import stop_gradient

__all__ = ["dead_layer", "identical_units", "no_gradient", "penalty_outweighs_loss"]

LARGE = 30.0  # root mean square of the inputs of a layer
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
        # Where inputs are large, they are the cause, which has a rule of its own.
        if dead <= MANY_DEAD or root_mean_square(layer.inputs) > LARGE:
            continue
        low = float(layer.product.max())
        yield Finding(
            "dead_layer", "initialization", "fault" if dead == 1 else "warning",
            f"Layer {layer.path}: {100 * dead:.0f} % of {counted(layer.units, 'unit')} are dead "
            "before training starts. Their activation is flat for every row, so no gradient "
            "reaches their weights.",
            "Let biases start at 0 or 0.01 and weights at their default, or use leaky_relu.",
            {"layer": layer.path},
            (Evidence("share of dead units", dead, MANY_DEAD,
                      "with zero biases few units are dead by chance"),
             Evidence("largest weighted sum", low, 0.0, "a ReLU passes what is above 0")),
            {"bias_init": 0.0, "init": None}, 0.9,
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
        yield Finding(
            "no_gradient", "architecture", "fault",
            f"No gradient reaches {path}: the loss does not depend on it, or a stop_gradient lies "
            "between, so it keeps its random first values.",
            "Connect the layer to the output, or remove it; to keep it fixed on purpose, freeze "
            "it with optim.freeze.",
            {"layer": layer},
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
