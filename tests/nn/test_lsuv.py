"""First weights from the data: variance 1 after every product, whatever the layers are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

RNG = np.random.default_rng(0)
X = (50 + 7 * RNG.normal(size=(200, 6))).astype("f4")


def deep(activation: Any) -> nn.Sequential:
    layers: list[Any] = [nn.Linear(6, 20)]
    for _ in range(5):
        layers += [activation, nn.Linear(20, 20)]
    return nn.Sequential(layers)


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.ReLU(), nn.Sigmoid(), nn.SELU()], ids=str)
def test_every_product_has_variance_1(activation: Any) -> None:
    model = deep(activation)
    nn.lsuv(model, X)
    signal: Any = cr.tensor(X)
    for layer in model.layers:
        signal = layer(signal)
        if isinstance(layer, nn.Linear):  # biases start at 0
            assert signal.numpy().var() == pytest.approx(1, rel=1e-4)


def test_weights_are_orthogonal_up_to_a_scale_and_the_rest_as_their_layers_say() -> None:
    model = nn.Sequential([nn.Linear(6, 6, bias_init=0.5), nn.PReLU(), nn.Maxout(6, 4)])
    nn.lsuv(model, X, seed=4)
    w = model[0].weight.value.astype(float)  # type: ignore[attr-defined]
    square = w.T @ w
    np.testing.assert_allclose(square, np.eye(6) * square[0, 0], atol=1e-6)
    assert (model[0].bias.value == 0.5).all()  # type: ignore[attr-defined]
    assert model[1].slope.value == 0.25  # type: ignore[attr-defined]
    inner = model[1](model[0](cr.tensor(X))).numpy()  # type: ignore[operator]
    for piece in model[2].weight:  # type: ignore[attr-defined]
        assert (inner @ piece.value).var() == pytest.approx(1, rel=1e-4)


def test_a_seed_gives_the_same_weights_and_training_goes_on_from_them() -> None:
    one, same, other = deep(nn.Tanh()), deep(nn.Tanh()), deep(nn.Tanh())
    for model, seed in ((one, 1), (same, 1), (other, 2)):
        nn.lsuv(model, X, seed=seed)
    first = one[0].weight.value.copy()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(first, same[0].weight.value)  # type: ignore[attr-defined]
    assert not np.array_equal(first, other[0].weight.value)  # type: ignore[attr-defined]
    y = RNG.normal(size=(200, 20)).astype("f4")
    cr.fit(one, (X, y), loss="mse", optimizer=cr.optim.SGD(1e-9), epochs=1, progress=False)
    np.testing.assert_allclose(one[0].weight.value, first, atol=1e-6)  # type: ignore[attr-defined]


def test_a_weight_used_twice_is_set_where_it_is_first_used() -> None:
    shared = nn.Linear(6, 6)
    nn.lsuv(nn.Sequential([shared, nn.ReLU(), shared, nn.Linear(6, 2)]), X)
    assert shared(cr.tensor(X)).numpy().var() == pytest.approx(1, rel=1e-4)


def test_layers_along_edges_and_layers_that_act_in_training_alone() -> None:
    first = nn.SparseLinear(6, 12, nn.Density(0.5))
    last = nn.Linear(12, 3)
    nn.lsuv(nn.Sequential([first, nn.Tanh(), nn.Dropout(0.5), last]), X)
    inner = first(cr.tensor(X))
    assert inner.numpy().var() == pytest.approx(1, rel=1e-4)
    # As it predicts, so without dropout.
    assert last(cr.tanh(inner)).numpy().var() == pytest.approx(1, rel=1e-4)


def test_pixels_count_as_in_training() -> None:
    pixels = RNG.integers(0, 256, (100, 2, 3)).astype(np.uint8)
    models = [nn.Sequential([nn.Flatten(), nn.Linear(6, 3)]) for _ in range(2)]
    for model, X in zip(models, (pixels, pixels / 255), strict=True):
        nn.lsuv(model, X)
    np.testing.assert_allclose(*(model[1].weight.value for model in models), rtol=1e-5)  # type: ignore[attr-defined]


def test_bytes_in_columns_keep_their_value() -> None:
    hot = np.eye(6, dtype=np.uint8)[RNG.integers(0, 6, 100)]
    models = [nn.Linear(6, 3), nn.Linear(6, 3)]
    for model, X in zip(models, (hot, hot.astype("f4")), strict=True):
        nn.lsuv(model, X)
    np.testing.assert_array_equal(*(model.weight.value for model in models))


def test_what_it_can_not_do_is_named() -> None:
    with pytest.raises(cr.DataError, match=r"lsuv: the product with '0.weight' has .* deviation 0"):
        nn.lsuv(nn.Sequential([nn.Linear(6, 2)]), np.zeros((9, 6)))
    with pytest.raises(cr.OptionError, match=r"lsuv: the model has no parameters"):
        nn.lsuv(nn.ReLU(), X)
    with pytest.raises(cr.OptionError, match=r"lsuv: no parameter of the model multiplies data"):
        nn.lsuv(nn.PReLU(), X)
    for bad in (np.array([["a"] * 6]), np.empty((0, 6))):
        with pytest.raises(cr.DataError, match="lsuv: X must be rows of numbers, not"):
            nn.lsuv(nn.Linear(6, 2), bad)
