"""cr.explain of networks: every number against NumPy, or against cr.grad, to be checked by hand."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import OptionError
from chainrule.insight.explain.layerwise import NetworkExplanation
from chainrule.insight.explain.neuron import Neuron

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4))
Y = np.array([0, 2, 1, 1, 0, 2])


def network(hidden: Any = None) -> nn.Sequential:
    layers = [nn.Linear(4, 5, dtype="float64"), hidden or nn.Tanh(),
              nn.Linear(5, 3, dtype="float64")]  # fmt: skip
    model = nn.Sequential(layers)
    nn.initialize(model, seed=3)
    for name, parameter in nn.parameters(model).items():
        if name.endswith("bias"):
            parameter.value = np.random.default_rng(len(name)).normal(size=parameter.shape)
    return model


def by_hand(model: nn.Sequential, x: Any, y: Any) -> dict[str, Any]:
    """Return forward and backward of Linear, tanh, Linear, cross-entropy in plain NumPy."""
    W1, b1, W2, b2 = (p.value for p in nn.parameters(model).values())
    z1 = x @ W1 + b1
    a1 = np.tanh(z1)
    z2 = a1 @ W2 + b2
    e = np.exp(z2 - z2.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    n = len(x)
    d2 = (p - np.eye(3)[y]) / n
    d1 = d2 @ W2.T
    dz = d1 * (1 - a1**2)
    return {
        "loss": -np.log(p[np.arange(n), y]).mean(), "z1": z1, "a1": a1, "z2": z2, "d2": d2,
        "d1": d1, "dz": dz, "W1": W1, "b1": b1, "W2": W2, "dW1": x.T @ dz, "db1": dz.sum(0),
        "dx": dz @ W1.T, "dW2": a1.T @ d2,
    }  # fmt: skip


def test_layers_hold_what_numpy_computes() -> None:
    model = network()
    e = cr.explain(model, X, Y, loss="cross_entropy")
    hand = by_hand(model, X, Y)
    assert isinstance(e, NetworkExplanation)
    assert e.loss == pytest.approx(hand["loss"], rel=1e-12)
    assert [step.path for step in e.layers] == ["0", "1", "2"]
    assert [step.layer for step in e.layers] == ["Linear(4, 5)", "Tanh", "Linear(5, 3)"]
    for path, value, slope in (("0", "z1", "dz"), ("1", "a1", "d1"), ("2", "z2", "d2")):
        assert e[path].output == pytest.approx(hand[value], rel=1e-12)
        assert e[path].gradient == pytest.approx(hand[slope], rel=1e-9, abs=1e-15)
    assert e[0].gradients["weight"] == pytest.approx(hand["dW1"], rel=1e-9)
    assert e[0].gradients["bias"] == pytest.approx(hand["db1"], rel=1e-9)
    assert e[2].gradients["weight"] == pytest.approx(hand["dW2"], rel=1e-9)
    assert e.input_gradient == pytest.approx(hand["dx"], rel=1e-9)
    text = str(e)
    assert "mean of 6 rows" in text
    assert re.search(r"x +input +6×4 ", text)
    assert "0.weight  4×5" in text
    assert json.loads(json.dumps(e.to_dict()))["layers"][1]["path"] == "1"


@pytest.mark.parametrize(("unit", "row"), [(0, 0), (4, 5), (2, 3)])
def test_a_neuron_holds_what_numpy_computes(unit: int, row: int) -> None:
    model = network()
    neuron = cr.explain(model, X, Y, loss="cross_entropy").neuron(0, unit, row)
    hand = by_hand(model, X, Y)
    assert neuron.inputs == pytest.approx(X[row])
    assert neuron.weights == pytest.approx(hand["W1"][:, unit])
    assert neuron.bias == pytest.approx(hand["b1"][unit])
    assert neuron.total == pytest.approx(hand["z1"][row, unit])
    assert neuron.function == "Tanh"
    assert neuron.activation == pytest.approx(hand["a1"][row, unit])
    assert neuron.slope == pytest.approx(1 - hand["a1"][row, unit] ** 2)
    [out] = neuron.outgoing
    assert (out.layer, out.units.tolist()) == ("2", [0, 1, 2])
    assert out.weights == pytest.approx(hand["W2"][unit])
    assert out.gradients == pytest.approx(hand["d2"][row])
    assert neuron.other == neuron.skipping == 0
    assert neuron.gradient == pytest.approx(hand["d1"][row, unit])
    assert neuron.total_gradient == pytest.approx(hand["dz"][row, unit])
    # Over the rows, the parts add up to the gradient that training uses.
    e = cr.explain(model, X, Y, loss="cross_entropy")
    parts = [e.neuron(0, unit, k).weight_gradients for k in range(6)]
    assert np.sum(parts, axis=0) == pytest.approx(hand["dW1"][:, unit])


def consistent(neuron: Neuron) -> None:
    """Check that every number of a neuron follows from the others it shows."""
    total = neuron.inputs @ neuron.weights + (neuron.bias or 0)
    assert neuron.total == pytest.approx(total, rel=1e-4, abs=1e-6)
    fed = sum(float((out.weights * out.gradients).sum()) for out in neuron.outgoing)
    assert neuron.gradient == pytest.approx(fed + neuron.other, rel=1e-4, abs=1e-7)
    back = neuron.gradient * neuron.slope + neuron.skipping
    assert neuron.total_gradient == pytest.approx(back, rel=1e-4, abs=1e-7)
    assert neuron.weight_gradients == pytest.approx(neuron.inputs * neuron.total_gradient)
    json.dumps(neuron.to_dict(), allow_nan=False)


HIDDEN = {
    "relu": lambda: nn.ReLU(), "gelu": lambda: nn.GELU(), "elu": lambda: nn.ELU(),
    "several": lambda: nn.Sequential([nn.Linear(5, 7), nn.LeakyReLU(), nn.Dropout(0.5),
                                      nn.Linear(7, 5), nn.Sigmoid()]),
    "residual": lambda: nn.Residual([nn.Linear(5, 5), nn.ReLU()]),
    "normalized": lambda: nn.Sequential([nn.BatchNorm(5), nn.ReLU()]),
    "layer norm": lambda: nn.LayerNorm(5),
    "rms norm": lambda: nn.RMSNorm(5),
}  # fmt: skip


@pytest.mark.parametrize("kind", HIDDEN)
def test_neurons_of_other_networks_are_consistent(kind: str) -> None:
    model = nn.Sequential([nn.Linear(4, 5), HIDDEN[kind](), nn.Linear(5, 3)])
    nn.initialize(model, seed=1)
    e = cr.explain(model, X.astype("float32"), Y, loss="cross_entropy")
    for step in e.layers:
        if "weight" in step.parameters and step.parameters["weight"].ndim == 2:
            units = step.output.shape[1]
            for unit in range(units):
                consistent(e.neuron(step.path, unit, unit % 6))
    biases = {f"{s.path}.{n}": g for s in e.layers for n, g in s.gradients.items() if n == "bias"}
    for path, gradient in biases.items():
        layer = path.rpartition(".")[0]
        if e[layer].parameters["bias"].ndim == 1 and "Linear" in e[layer].layer:
            rows = [e.neuron(layer, 0, k).total_gradient for k in range(6)]
            assert sum(rows) == pytest.approx(float(gradient[0]), rel=1e-4, abs=1e-6)


def test_a_shortcut_is_told() -> None:
    model = nn.Sequential([nn.Linear(4, 5), nn.Residual([nn.Linear(5, 5)]), nn.Linear(5, 3)])
    nn.initialize(model, seed=1)
    neuron = cr.explain(model, X, Y, loss="cross_entropy").neuron(0, 2)
    assert [out.layer for out in neuron.outgoing] == ["1.body.0"]
    assert neuron.other != 0
    assert "from other paths, as the loss or a shortcut" in str(neuron)


def test_sparse_layers_open_too() -> None:
    model = nn.Sequential([
        nn.SparseLinear(4, 6, nn.Density(0.5)), nn.Tanh(), nn.SparseLinear(6, 3, nn.Density(0.7)),
    ])  # fmt: skip
    nn.initialize(model, seed=2)
    e = cr.explain(model, X, Y, loss="cross_entropy")
    for unit in range(6):
        neuron = e.neuron(0, unit)
        consistent(neuron)
        assert neuron.inputs == pytest.approx(X[0][neuron.sources])
        assert len(neuron.outgoing) == 1
    for unit in range(3):
        consistent(e.neuron(2, unit))


def test_a_neuron_prints_what_can_be_added_up() -> None:
    text = cr.explain(network(), X[0], 2, loss="cross_entropy").neuron(0, 1).tell(digits=10)
    lines = text.splitlines()
    first = next(k for k, line in enumerate(lines) if "value × weight" in line) + 1
    rows = [[float(word) for word in line.split()] for line in lines[first : first + 4]]
    for _, value, weight, product in rows:
        assert value * weight == pytest.approx(product, rel=1e-8)
    told = {line.strip().rsplit(None, 1)[0]: float(line.split()[-1]) for line in lines
            if line.strip() and line.split()[-1].lstrip("-")[0].isdigit()}  # fmt: skip
    assert sum(row[3] for row in rows) == pytest.approx(told["weighted sum"], rel=1e-8)
    assert told["weighted sum"] + told["+ bias"] == pytest.approx(told["= total"], rel=1e-8)
    assert math.tanh(told["= total"]) == pytest.approx(told["Tanh of it"], rel=1e-8)
    down = told["= gradient of the activation"] * told["× slope of Tanh there"]
    assert told["= gradient of the total and of the bias"] == pytest.approx(down, rel=1e-7)


def test_one_row_alone_and_other_losses() -> None:
    model = network()
    one = cr.explain(model, X[1], Y[1], loss="cross_entropy")
    hand = by_hand(model, X[1:2], Y[1:2])
    assert one.loss == pytest.approx(hand["loss"])
    assert "one row" in str(one)
    values = cr.explain(model, X, RNG.normal(size=(6, 3)), loss="mse")
    assert values.neuron(2, 0).function == ""
    assert values.neuron(2, 0).other == pytest.approx(float(values[2].gradient[0, 0]))


def test_a_model_of_ones_own_is_one_layer() -> None:
    weight = cr.Parameter((4, 3), lambda shape, g: g.normal(size=shape), "float64", "weight")

    class Own:
        def __init__(self) -> None:
            self.weight = weight

        def __call__(self, x: cr.Tensor) -> cr.Tensor:
            return cr.tanh(x @ self.weight)

    e = cr.explain(Own(), X, Y, loss="cross_entropy")
    assert [step.path for step in e.layers] == [""]
    assert set(e.layers[0].parameters) == {"weight"}
    consistent(e.neuron("", 1, 2))


def test_a_large_network_shows_layers_first_and_the_largest_on_opening() -> None:
    model = nn.Sequential([nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(),
                           nn.Linear(512, 10)])  # fmt: skip
    nn.initialize(model, seed=0)
    x = RNG.random(784).astype("float32")
    e = cr.explain(model, x, 3, loss="cross_entropy")
    assert len(str(e).splitlines()) < 25
    neuron = e.neuron(2, 7)
    consistent(neuron)
    text = str(neuron)
    assert "504 others" in text
    assert all(len(line) <= 80 for line in (str(e) + text).splitlines())


def test_a_run_knows_its_loss_and_its_features() -> None:
    problem = cr.tabular.read_problem("iris")
    settings = cr.tabular.choose_settings(
        problem.rows["train"], task="classification", hidden=(4,), epochs=2
    )
    run = cr.tabular.fit_table(problem, settings, progress=False)
    x, y = (np.asarray(part[:3]) for part in problem.test)
    e = cr.explain(run, x, y)
    assert e.loss_name == "cross_entropy"
    assert run.pipeline is not None
    name = run.pipeline.feature_names[0]
    assert name in str(e.neuron(0, 1))
    assert name not in str(e.neuron(2, 1))


def test_what_does_not_fit_is_refused() -> None:
    e = cr.explain(network(), X, Y, loss="cross_entropy")
    with pytest.raises(OptionError, match="there is no unit 5: they are numbered 0 to 4"):
        e.neuron(0, 5)
    with pytest.raises(OptionError, match="there is no row 6"):
        e.neuron(0, 0, 6)
    with pytest.raises(OptionError, match="unit must be a whole number"):
        e.neuron(0, 1.5)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="layer '1' has no weighted sum"):
        e.neuron(1, 0)
    with pytest.raises(OptionError, match="there is no layer '9'"):
        e[9]
    with pytest.raises(OptionError, match="loss='cross_entropy'"):
        cr.explain(network(), X, Y)
    with pytest.raises(OptionError, match="give rows, their targets"):
        cr.explain(network(), X)  # type: ignore[call-overload]
