"""Attributions: known answers, sums in plain NumPy, and the property that they add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.tabular.problem import read_problem
from chainrule.tabular.settings import choose_settings
from chainrule.tabular.table_training import fit_table

Array = Any


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def relu_net(seed: int = 0) -> nn.Sequential:
    model = nn.Sequential(
        [nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 3)]
    )
    nn.initialize(model, seed)
    return model


def by_hand(model: nn.Sequential, X: Array) -> Array:
    """Return the outputs for X in float64."""
    for layer in model.layers:
        if isinstance(layer, nn.Linear):
            X = X @ layer.weight.value.astype(float) + layer.bias.value.astype(float)
        else:
            X = np.maximum(X, 0)
    return X


def slopes_by_hand(model: nn.Sequential, X: Array, k: int) -> Array:
    """Return the slope of output k to each feature, by the chain rule in float64."""
    steps: list[Array] = []
    for layer in model.layers:
        if isinstance(layer, nn.Linear):
            X = X @ layer.weight.value.astype(float) + layer.bias.value.astype(float)
            steps.append(layer.weight.value.astype(float))
        else:
            steps.append((X > 0).astype(float))
            X = np.maximum(X, 0)
    back = np.tile(np.eye(3)[k], (len(X), 1))
    for layer, step in zip(reversed(model.layers), reversed(steps), strict=True):
        back = back @ step.T if isinstance(layer, nn.Linear) else back * step
    return back


def test_saliency_is_the_slope() -> None:
    model, x = relu_net(), draw(6)
    found = cr.attribute(model, x, "saliency", output=1)
    np.testing.assert_allclose(
        found.values, slopes_by_hand(model, x[None], 1)[0], rtol=1e-4, atol=1e-6
    )
    assert found.value == pytest.approx(by_hand(model, x[None])[0, 1], rel=1e-5)
    assert found.gap is None


def test_integrated_gradients_are_the_mean_slope_times_the_difference() -> None:
    model, x, b = relu_net(), 2 * draw(6), draw(6, seed=1)
    found = cr.attribute(model, x, baseline=b, output=2)
    places = (np.arange(100_000) + 0.5) / 100_000
    line = b + places[:, None] * (x - b).astype(float)
    expected = (x - b) * slopes_by_hand(model, line, 2).mean(axis=0)
    difference = abs(found.value - found.baseline_value)
    np.testing.assert_allclose(found.values, expected, atol=2e-3 * difference)


@pytest.mark.parametrize("seed", range(5))
def test_they_add_up_to_what_the_output_gained(seed: int) -> None:
    model, x, b = relu_net(seed), 3 * draw(6, seed=seed), draw(6, seed=seed + 9)
    found = cr.attribute(model, x, baseline=b)
    exact = by_hand(model, np.stack([x, b]))[:, found.output]
    assert found.output == by_hand(model, x[None]).argmax()
    assert found.complete
    assert found.values.sum() == pytest.approx(
        exact[0] - exact[1], abs=1e-3 * abs(exact[0] - exact[1]) + 1e-5
    )


def test_a_linear_model_has_the_known_answer() -> None:
    model = nn.Linear(4, 1)
    nn.initialize(model, 0)
    x, b = draw(4), draw(4, seed=1)
    w = model.weight.value[:, 0]
    found = cr.attribute(model, x, baseline=b)
    np.testing.assert_allclose(found.values, w * (x - b), rtol=1e-4, atol=1e-6)


def test_a_product_is_shared_equally() -> None:
    found = cr.attribute(lambda x: (x[:, 0] * x[:, 1] * x[:, 2])[:, None], [2.0, 3.0, -4.0])
    np.testing.assert_allclose(found.values, [-8.0, -8.0, -8.0], rtol=1e-5)


def test_what_does_not_add_up_is_said() -> None:
    """A step has slope 0 everywhere, so the way up it is attributed to nothing."""
    found = cr.attribute(lambda x: cr.floor(x[:, :1]) + x[:, 1:] * 0.001, [2.5, 1.0])
    assert not found.complete
    assert "NOT add up" in str(found)


@pytest.fixture(scope="module")
def wine() -> Any:
    problem = read_problem("wine")
    return fit_table(problem, choose_settings(100, hidden=[16], epochs=10), progress=False), problem


def test_a_row_of_a_table_is_explained_by_its_columns(wine: Any) -> None:
    run, problem = wine
    x = problem.test[0][0]
    found = cr.attribute(run, x)
    assert found.output_name == str(run.pipeline.classes[run.outputs(x[None])[0].argmax()])
    assert found.complete
    assert set(found.by_column) == {e.name for e in run.pipeline.encoders}
    assert sum(found.by_column.values()) == pytest.approx(found.values.sum())
    cells = dict.fromkeys(found.by_column, 1.0)
    assert cr.attribute(run, cells).complete
    assert "<svg" in found.html()
    assert found.output_name in str(found)


def test_category_numbers_have_no_share() -> None:
    rng = np.random.default_rng(0)
    town = rng.integers(0, 5, 80)
    table = {"size": draw(80).tolist(), "town": [f"t{k}" for k in town],
             "kind": np.where(town > 2, "x", "y").tolist()}  # fmt: skip
    problem = read_problem(table, "kind", roles={"town": "embedded"})
    run = fit_table(problem, choose_settings(60, hidden=[16], epochs=3), progress=False)
    found = cr.attribute(run, problem.test[0][0])
    assert found.by_column["town"] == 0
    assert found.complete


def test_pixels_are_compared_with_black() -> None:
    X = np.random.default_rng(0).integers(0, 256, (64, 16)).astype(np.uint8)
    y = (X[:, 0] > 127).astype(int)
    run = cr.fit(
        nn.Sequential([nn.Scale(1 / 255), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)]), (X, y),
        loss="cross_entropy", epochs=2, progress=False,
    )  # fmt: skip
    found = cr.attribute(run, X[0], image_shape=(4, 4))
    outputs = run.outputs(np.stack([X[0], np.zeros(16, np.uint8)]))[:, found.output]
    assert found.value == pytest.approx(outputs[0], rel=1e-5)
    assert found.baseline_value == pytest.approx(outputs[1], rel=1e-5)
    assert found.complete
    assert found.svg().count("<image") == 2
    with pytest.raises(cr.DataError, match="uint8"):
        cr.attribute(run, X[0] / 255)


def test_what_does_not_fit_is_refused(wine: Any) -> None:
    run, problem = wine
    x = problem.test[0][0]
    for options, said in (
        ({"method": "integrated"}, "integrated_gradients"),
        ({"output": 3}, "0 to 2"),
        ({"output": "class_9"}, "no output"),
        ({"tolerance": 0}, "between 0 and 1"),
        ({"names": ["a"]}, "1 entries"),
    ):
        with pytest.raises(cr.OptionError, match=said):
            cr.attribute(run, x, **options)
    with pytest.raises(cr.OptionError, match="model or a run"):
        cr.attribute(3, x)
    with pytest.raises(cr.DataError, match="one row"):
        cr.attribute(run, problem.test[0][:2])
    with pytest.raises(cr.DataError, match="one row"):
        cr.attribute(relu_net(), draw(2, 6))
    with pytest.raises(cr.ShapeError, match="baseline"):
        cr.attribute(relu_net(), draw(6), baseline=draw(5))
