"""Rules on the layers: what passes them, what is lost in them, and whether gradients are right.

Read next: :mod:`chainrule.doctor.rules.loss_checks`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chainrule.core.tensor import Tensor
from chainrule.core.wording import counted
from chainrule.doctor.finding import Evidence, Finding
from chainrule.doctor.layer_facts import longest_chain
from chainrule.doctor.rule import rule
from chainrule.doctor.specimens import classes, network, numbers, values
from chainrule.doctor.survey import Survey
from chainrule.nn.activations import ReLU, Tanh
from chainrule.nn.layer import Linear, Sequential, named_layers
from chainrule.nn.noise import Dropout
from chainrule.nn.normalize import LayerNorm
from chainrule.ops.arithmetic import stop_gradient
from chainrule.ops.reduce import mean

__all__ = [
    "blind_to_inputs", "bottleneck", "constant_output", "dropout_too_strong", "rows_mixed",
    "too_deep", "too_few_units", "wrong_gradient",
]  # fmt: skip

NARROW = 8  # times as wide as the bottleneck are the layers around it
MOST_DROPPED = 0.8  # the highest rate in the literature, for inputs and hidden units, is 0.5
DEEP = 25  # layers without normalization or shortcut; deeper ones need both to train
ROUNDING = 1e-3  # relative difference between outputs, or gradients, computed in two ways


@rule(
    "architecture",
    sick=lambda: classes(network(4, 32, 1, 32, 3)),
    healthy=lambda: classes(network(4, 32, 16, 3)),
)
def bottleneck(survey: Survey) -> Iterator[Finding]:
    """Find a hidden layer of one or two units between much wider ones."""
    layers = survey.layers
    for layer in layers:
        if layer.last or not layer.alone:
            continue  # a head, or something goes past it
        before = layer.inputs.shape[-1]
        after = layers[layer.feeds[0]].units
        least = min(before, max(layers[k].units for k in layer.feeds))
        if layer.units > 2 or least < NARROW * layer.units:
            continue
        if layer is layers[0] and all(f.units <= 2 for f in layers if not f.last):
            continue  # a small network is meant to be small
        yield Finding(
            "bottleneck", "architecture", "warning",
            f"Layer {layer.path} has {counted(layer.units, 'unit')} between {before} inputs and a "
            f"layer of {after} units: everything the network computes has to pass through it.",
            f"Give layer {layer.path} more units, such as {least}.",
            {"layer": layer.path},
            (Evidence("width of the layers around it over its own", least / layer.units, NARROW,
                      "one or two numbers can't carry what many units need"),),
            {}, 0.85,
        )  # fmt: skip


@rule(
    "architecture",
    sick=lambda: classes(network(12, 1, 3), X=numbers(columns=12)),
    healthy=lambda: classes(network(4, 8, 3)),
)
def too_few_units(survey: Survey) -> Iterator[Finding]:
    """Find hidden layers of one unit each, which give a function of one number."""
    hidden = [f for f in survey.layers if not f.last]
    if not hidden or any(f.units > 1 or not f.alone for f in hidden):
        return
    if hidden[0].inputs.shape[-1] < 2:
        return
    yield Finding(
        "too_few_units", "architecture", "warning",
        f"Every hidden layer has one unit, so the output depends on a single weighted sum of the "
        f"{hidden[0].inputs.shape[-1]} inputs.",
        "Use more hidden units, such as 16.",
        {"layer": hidden[0].path},
        (Evidence("units of the widest hidden layer", 1, 2, "one unit draws one line"),),
        {}, 0.8,
    )  # fmt: skip


@rule(
    "architecture",
    sick=lambda: classes(network(4, 16, 3, between=[ReLU(), Dropout(0.95)])),
    healthy=lambda: classes(network(4, 16, 3, between=[ReLU(), Dropout(0.3)])),
)
def dropout_too_strong(survey: Survey) -> Iterator[Finding]:
    """Find dropout that leaves little of a layer, or that hits the outputs themselves."""
    weighted = [path for path, one in named_layers(survey.model) if hasattr(one, "weight")]
    paths = [path for path, _ in named_layers(survey.model)]
    for path, layer in named_layers(survey.model):
        if not isinstance(layer, Dropout) or layer.rate == 0:
            continue
        last = bool(weighted) and paths.index(path) > paths.index(weighted[-1])
        if layer.rate <= MOST_DROPPED and not last:
            continue
        what = "of the outputs themselves" if last else "of what it is given"
        yield Finding(
            "dropout_too_strong", "architecture", "warning",
            f"Layer {path} drops {100 * layer.rate:.0f} % {what} in each training step, so the "
            "steps see little of what predictions use.",
            "Leave dropout out behind the last layer." if last else "Use a rate of 0.5 at most.",
            {"layer": path},
            (Evidence("dropout rate", layer.rate, 0.0 if last else MOST_DROPPED,
                      "the published range ends at 0.5"),),
            {"output": None} if last else {"dropout": 0.3}, 0.9,
        )  # fmt: skip


@rule(
    "architecture",
    sick=lambda: values(Sequential([Linear(4, 16), ReLU(), Linear(16, 1), _minus_mean])),
    healthy=lambda: values(),
)
def rows_mixed(survey: Survey) -> Iterator[Finding]:
    """Find outputs that depend on which other rows are predicted with them."""
    x, whole = survey.sample[0], survey.outputs
    half = len(x) // 2
    if half < 1:
        return
    parts = np.concatenate([survey.predict(x[:half]), survey.predict(x[half:])])
    size = float(np.abs(whole).max())
    change = float(np.abs(parts - whole).max() / size) if size > 0 else 0.0
    if not change > ROUNDING:
        return
    yield Finding(
        "rows_mixed", "architecture", "fault",
        "The output for a row depends on the other rows that are predicted with it: predicted in "
        f"two halves, outputs change by up to {100 * change:.3g} % of the largest.",
        "Let no layer compute over the first axis; nn.BatchNorm keeps running averages instead.",
        {"layer": survey.place(survey.layers[-1].path, own=True) if survey.layers else ""},
        (Evidence("relative change of outputs", change, ROUNDING, "rounding stays below"),),
        {}, 0.95,
    )  # fmt: skip


def _minus_mean(x: Tensor) -> Tensor:
    return x - mean(x, 0)


@rule(
    "architecture",
    sick=lambda: values(Sequential([Linear(4, 16), ReLU(), Linear(16, 1), LayerNorm(1)])),
    healthy=lambda: values(),
)
def constant_output(survey: Survey) -> Iterator[Finding]:
    """Find outputs that are the same for every row, while the layers before tell rows apart."""
    outputs = survey.outputs.reshape(len(survey.outputs), -1)
    if len(outputs) < 3 or float(np.ptp(outputs, axis=0).max()) > 0 or not survey.layers:
        return
    last = survey.layers[-1]
    if float(np.ptp(last.product, axis=0).max()) == 0:
        return  # lost before, which other rules find
    yield Finding(
        "constant_output", "architecture", "fault",
        f"The output is {float(outputs.flat[0]):.4g} for every row, although the weighted sums of "
        f"layer {last.path} differ: what follows that layer makes them the same.",
        "Leave out what follows the last layer; a normalization of one unit returns a constant.",
        {"layer": survey.place(last.path)},
        (Evidence("spread of the outputs", 0.0, 0.0, "predictions have to differ"),),
        {"output": None}, 0.95,
    )  # fmt: skip


@rule(
    "architecture",
    sick=lambda: classes(Sequential([_first_alone, network(4, 16, 3)])),
    healthy=lambda: classes(),
)
def blind_to_inputs(survey: Survey) -> Iterator[Finding]:
    """Find input columns that vary, while the output does not depend on them."""
    x = survey.sample[0]
    flat = x.reshape(len(x), -1)
    varied = np.flatnonzero(np.ptp(flat.astype(np.float64), axis=0) > 0)
    if len(varied) < 2 or not survey.layers:
        return
    few = varied[np.unique(np.linspace(0, len(varied) - 1, min(24, len(varied))).astype(int))]
    plain = survey.predict(x)
    ignored = []
    for column in few:
        changed = flat.copy()
        changed[:, column] = np.roll(changed[:, column], 1)
        if np.array_equal(survey.predict(changed.reshape(x.shape)), plain):
            ignored.append(int(column))
    share = len(ignored) / len(few)
    lost = not np.ptp(survey.layers[0].inputs, axis=0).any()  # before the first layer
    if share < 0.5 or not (lost or np.ptp(plain, axis=0).any()):
        return
    yield Finding(
        "blind_to_inputs", "architecture", "warning",
        f"The output does not depend on {len(ignored)} of {len(few)} input columns that were "
        f"tried, such as column {survey.column(ignored[0])!r}: permuting it changes no output.",
        "Check what the model does with its input before the first layer.",
        {"layer": survey.place(survey.layers[0].path, step=-1),
         "column": survey.column(ignored[0])},
        (Evidence("share of columns without influence", share, 0.5,
                  "random first weights let every column count"),),
        {}, 0.9,
    )  # fmt: skip


def _first_alone(x: Tensor) -> Tensor:
    return x * np.array([1, 0, 0, 0], np.float32)


@rule(
    "architecture",
    sick=lambda: classes(network(4, *[12] * 40, 3, between=[Tanh()])),
    healthy=lambda: classes(network(4, 16, 16, 16, 3)),
)
def too_deep(survey: Survey) -> Iterator[Finding]:
    """Find a long chain of layers that has lost the signal, or the gradient, on its way."""
    layers = longest_chain(survey.layers)
    if len(layers) <= DEEP:
        return
    spread = [float(f.product.std(axis=0).mean()) for f in (layers[0], layers[-1])]
    sizes = [float(np.abs(f.gradient).mean()) for f in (layers[0], layers[-1])]
    lost = spread[1] / spread[0] if spread[0] > 0 else 0.0
    faded = sizes[0] / sizes[1] if sizes[1] > 0 else 0.0
    yield Finding(
        "too_deep", "architecture", "warning",
        f"{len(layers)} layers follow one another. On the way forward the differences between rows "
        f"change by a factor of {lost:.2g}, on the way back the gradient by one of {faded:.2g}.",
        "Use fewer layers, or shortcuts and normalization around them.",
        {},
        (Evidence("layers with weights", len(layers), DEEP, "deeper networks need shortcuts"),),
        {}, 0.9 if min(lost, faded) < 0.1 or max(lost, faded) > 10 else 0.6,
    )  # fmt: skip


@rule(
    "architecture",
    sick=lambda: classes(Sequential([Linear(4, 16), _reversed, ReLU(), Linear(16, 3)])),
    healthy=lambda: classes(),
)
def wrong_gradient(survey: Survey) -> Iterator[Finding]:
    """Find a gradient that differs from finite differences of the loss: a gradient check."""
    checked = survey.slopes
    wrong = [one for one in checked if not 0.5 < one.ratio < 2]
    if not wrong:
        return
    last = wrong[-1]  # nearest to the loss: what is wrong lies behind it
    way = "has the wrong sign" if last.ratio < 0 else f"is {last.ratio:.3g} times what it should be"
    yield Finding(
        "wrong_gradient", "architecture", "fault",
        f"The gradient of {last.path} {way}: changing the weights along it changes the loss by "
        f"{last.measured:.4g} per unit, and the gradient says {last.claimed:.4g}. A layer behind "
        "it has a gradient that is not that of what it computes.",
        "Look at what follows that layer: a stop_gradient or an operation of your own.",
        {"layer": survey.place(last.path.rpartition(".")[0], own=True)},
        (Evidence("gradient over the measured slope", last.ratio, 0.5,
                  "from 0.5 to 2 allows for curvature and rounding"),),
        {}, 0.97,
    )  # fmt: skip


def _reversed(x: Tensor) -> Tensor:
    return 2.0 * stop_gradient(x) - x
