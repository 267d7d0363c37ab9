"""Maxout and PReLU: layers that learn their activation, against their equations and each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 5))


def assigned(layer: Any) -> Any:
    nn.initialize(layer, 3)
    for parameter in nn.parameters(layer).values():
        parameter.value = RNG.normal(size=parameter.value.shape)
    return layer


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_maxout_is_the_largest_of_its_pieces(pieces: int) -> None:
    layer = assigned(nn.Maxout(5, 4, pieces, dtype="float64"))
    w = np.stack([p.value for p in layer.weight])
    b = np.stack([p.value for p in layer.bias])
    expected = (np.einsum("ni,kij->knj", X, w) + b[:, None]).max(axis=0)
    np.testing.assert_allclose(layer(cr.tensor(X)).numpy(), expected, rtol=1e-13)
    assert list(nn.parameters(layer)) == [
        f"{kind}.{i}" for kind in ("weight", "bias") for i in range(pieces)
    ]
    assert [p.is_weight for p in nn.parameters(layer).values()] == [True] * pieces + [
        False
    ] * pieces


def test_the_slopes_of_maxout() -> None:
    layer = nn.Maxout(3, 2, 3, dtype="float64")
    parts = [(3, 2)] * 3 + [(2,)] * 3
    values = [RNG.normal(size=shape) for shape in [(4, 3), *parts]]

    def function(x: Any, *rest: Any) -> Any:
        layer.weight, layer.bias = list(rest[:3]), list(rest[3:])
        return layer(x)

    cr.check_grads(function, values, order=2)


def test_two_pieces_can_be_relu_leaky_relu_and_the_absolute_value() -> None:
    layer = nn.Maxout(1, 1)
    x = cr.tensor([[-2.0], [3.0]])
    layer.weight[0].value = [[1.0]]
    for slope, expected in ((0.0, [0, 3]), (0.1, [-0.2, 3]), (-1.0, [2, 3])):
        layer.weight[1].value = [[slope]]
        np.testing.assert_allclose(layer(x).numpy().ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pieces": 1}, "Maxout: pieces must be an integer of at least 2, not 1"),
        ({"inputs": 0}, "Maxout: inputs must be a positive integer, not 0"),
        ({"outputs": 2.0}, "Maxout: outputs must be a positive integer, not 2.0"),
    ],
)
def test_maxout_refuses_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        nn.Maxout(**{"inputs": 2, "outputs": 2} | options)


def test_wrong_widths_are_named() -> None:
    with pytest.raises(cr.ShapeError, match=r"layer 0: Maxout\(4, 2\) needs 4 features.*\(40, 5\)"):
        nn.Sequential([nn.Maxout(4, 2)])(cr.tensor(X))
    with pytest.raises(cr.ShapeError, match=r"PReLU\(4\) needs 4 units.*\(40, 5\)"):
        nn.PReLU(4)(cr.tensor(X))


def test_prelu_has_one_slope_or_one_for_each_unit() -> None:
    each = nn.PReLU(5, dtype="float64")
    each.slope.value = [0.1, 0.2, 0.3, 0.4, -0.5]
    np.testing.assert_allclose(
        each(cr.tensor(X)).numpy(), np.where(X > 0, X, X * each.slope.value), rtol=1e-14
    )
    assert nn.PReLU().slope.value.shape == ()
    assert not each.slope.is_weight
    for bad in (0, 1.5, True):
        with pytest.raises(cr.OptionError, match="PReLU: units must be a positive integer"):
            nn.PReLU(bad)  # type: ignore[arg-type]
    with pytest.raises(cr.OptionError, match="PReLU: start must be in"):
        nn.PReLU(start=float("inf"))


@pytest.mark.parametrize("units", [None, 4])
def test_the_slopes_of_prelu(units: int | None) -> None:
    layer = nn.PReLU(units, dtype="float64")
    slope = RNG.normal(size=(() if units is None else units))

    def function(x: Any, a: Any) -> Any:
        layer.slope = a
        return layer(x)

    cr.check_grads(function, [RNG.normal(size=(3, 4)), np.asarray(slope)], order=2)


def test_a_network_of_both_learns_and_comes_back(tmp_path: Path) -> None:
    """|x| - |z| by four units: Maxout represents it exactly, and finds it."""
    x = RNG.uniform(-1, 1, (256, 2)).astype("f4")
    y = abs(x[:, :1]) - abs(x[:, 1:])
    model = nn.Sequential([nn.Maxout(2, 4), nn.Linear(4, 4), nn.PReLU(4), nn.Linear(4, 1)])
    run = cr.fit(
        model, (x, y), loss="mse", optimizer=optim.Adam(0.02), epochs=60, engine="native",
        progress=False,
    )  # fmt: skip
    assert run.evaluate((x, y))["r2"] > 0.99
    assert (model[2].slope.value != 0.25).all()  # type: ignore[attr-defined]
    back = cr.load(run.save(tmp_path / "a"))
    np.testing.assert_array_equal(back.predict(x), run.predict(x))
