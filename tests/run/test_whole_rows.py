"""Rows that act on each other are computed all at once, never in pieces, on each engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.core.graph import Graph
from chainrule.run.program import prepare_function
from chainrule.step.metrics import metrics_of
from chainrule.step.objective import BY_NAME as LOSSES
from chainrule.step.record import forward, record_totals
from chainrule.transform.mode import for_predicting
from chainrule.transform.rows import pieces_fit

RNG = np.random.default_rng(3)
X = np.sort(RNG.normal(size=(6_000, 3)), axis=0)  # so that pieces have means of their own
Y = (X @ [1.0, -2.0, 0.5])[:, None]
ENGINES = ("native", "reference")


class Centered:
    """Subtract from each column its mean over the rows given."""

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        return x - x.mean(0)


def root(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
    return cr.sqrt(((output - target) ** 2).mean())


def spread(output: cr.Tensor, target: cr.Tensor) -> cr.Tensor:
    return (output - target - (output - target).mean()).mean(1) ** 2


@pytest.mark.filterwarnings("ignore:fit. this model can't be saved")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_layer_that_looks_across_rows_sees_all_of_them(engine: str) -> None:
    layer = nn.Linear(3, 1, dtype="float64")
    layer.weight.value, layer.bias.value = [[1.0], [2.0], [3.0]], [0.0]
    model = nn.Sequential([Centered(), layer])
    run = cr.fit(
        model, (X, Y), loss="mse", optimizer=optim.SGD(1e-300), epochs=1, batch_size=64,
        validation=(X, Y), engine=engine, progress=False,
    )  # fmt: skip
    expected = (X - X.mean(0)) @ [[1.0], [2.0], [3.0]]
    for count in (6_000, 1_024, 1_025, 3_000, 7):
        some = X[:count]
        wanted = (some - some.mean(0)) @ [[1.0], [2.0], [3.0]]
        np.testing.assert_allclose(run.outputs(some), wanted, atol=1e-12)
        np.testing.assert_allclose(run.predictor()(some), wanted, atol=1e-12)
    error = np.mean((expected - Y) ** 2)
    assert run.evaluate((X, Y))["loss"] == pytest.approx(error)
    assert run.history[-1]["val_loss"] == pytest.approx(error)
    frozen = run.predictor()
    layer.weight.value = np.zeros((3, 1))
    np.testing.assert_allclose(frozen(X), expected, atol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", [root, spread])
def test_a_loss_that_looks_across_rows_sees_all_of_them(engine: str, loss: Any) -> None:
    model = nn.Linear(3, 1, dtype="float64")
    model.weight.value, model.bias.value = [[1.0], [2.0], [3.0]], [0.0]
    options: dict[str, Any] = {"optimizer": optim.SGD(1e-300), "epochs": 1, "progress": False}
    error = X @ [[1.0], [2.0], [3.0]] - Y
    wanted = {root: np.sqrt(np.mean(error**2)), spread: np.var(error)}[loss]
    run = cr.fit(
        model, (X, Y), loss=loss, metrics=[spread], validation=(X, Y), engine=engine, **options
    )
    assert run.history[-1]["val_loss"] == pytest.approx(wanted)
    assert run.evaluate((X, Y)) == pytest.approx({"loss": wanted, "spread": np.var(error)})
    held = cr.fit(model, (X, Y), loss=loss, validation=0.9, engine=engine, **options)
    _, rows = cr.data.split(len(X), 0.9, 0)
    again = held.evaluate((X[rows], Y[rows]))
    assert held.history[-1]["val_loss"] == pytest.approx(again["loss"], rel=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_number_that_is_no_sum_is_not_added_up(engine: str) -> None:
    x = cr.input("x", ("n", 3), "float64")
    graph = Graph({"mean": x.mean(), "one": cr.tensor(1.0), "sum": x.sum()}, {"x": x})
    found = prepare_function(graph, ["x"], engine=engine)({"x": X})
    assert found == pytest.approx({"mean": X.mean(), "one": 1.0, "sum": X.sum()})


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_metrics_of_chainrule_are_computed_in_pieces(name: str) -> None:
    aim = LOSSES[name]
    wide = len(aim.levels) or 4
    layers = [nn.Linear(3, wide), nn.BatchNorm(wide), nn.Dropout(0.5), nn.LayerNorm(wide)]
    model = nn.Sequential(layers)
    x = cr.input("x", ("n", 3), "float32")
    output = forward(model, x)
    classes = aim.kind in ("classes", "ordered")
    shape = output.shape[:1] if classes else (*output.shape[:1], 1 if aim.levels else wide)
    y = cr.input("y", shape, "int32" if classes else "f4")
    kinds = ("accuracy",) if classes else ("mse", "mae", "label_accuracy", "r2")
    metrics = metrics_of(kinds, aim)
    _, totals = record_totals(aim, metrics, output, y)
    graph = for_predicting(Graph({**totals, "output": output}, {"x": x, "y": y}))
    assert pieces_fit(graph.outputs.values())
