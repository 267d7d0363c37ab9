"""Layers and activations equal independent statements in NumPy and SciPy, and refuse misuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from scipy import special

import chainrule as cr
from chainrule import nn
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor

X = np.random.default_rng(0).normal(0, 2, (5, 4))

# name: (the layer, an independent statement in float64)
ACTIVATIONS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "relu": (nn.ReLU(), lambda x: np.where(x > 0, x, 0)),
    "leaky_relu": (nn.LeakyReLU(), lambda x: np.where(x > 0, x, x / 100)),
    "leaky_relu, 0.3": (nn.LeakyReLU(0.3), lambda x: np.where(x > 0, x, 0.3 * x)),
    "elu": (nn.ELU(), lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)),
    "elu, 0.5": (nn.ELU(0.5), lambda x: np.where(x > 0, x, 0.5 * np.exp(np.minimum(x, 0)) - 0.5)),
    "sigmoid": (nn.Sigmoid(), special.expit),
    "tanh": (nn.Tanh(), np.tanh),
    "gelu": (nn.GELU(), lambda x: x * special.ndtr(x)),
    "gelu, approximate": (
        nn.GELU(approximate=True),
        lambda x: x * special.expit(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)),
    ),
    "silu": (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
    "softplus": (nn.Softplus(), lambda x: np.logaddexp(0, x)),
    "prelu": (nn.PReLU(dtype="float64"), lambda x: np.where(x > 0, x, x / 4)),
    "selu": (
        nn.SELU(),
        lambda x: (
            1.0507009873554805
            * np.where(x > 0, x, 1.6732632423543772 * (np.exp(np.minimum(x, 0)) - 1))
        ),
    ),
    "relu6": (nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
    "mish": (nn.Mish(), lambda x: x * np.tanh(np.logaddexp(0, x))),
    "softsign": (nn.Softsign(), lambda x: x / (1 + np.abs(x))),
    "hard_sigmoid": (nn.HardSigmoid(), lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    "hard_tanh": (nn.HardTanh(), lambda x: np.clip(x, -1, 1)),
    "hard_swish": (nn.HardSwish(), lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "identity": (nn.Identity(), lambda x: x),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_equals_its_formula(name: str) -> None:
    layer, formula = ACTIVATIONS[name]
    got = layer(cr.tensor(X))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got.numpy(), formula(X), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", nn.activation_names())
def test_activation_by_name_is_the_layer_of_that_name(name: str) -> None:
    layer = nn.activation(name)
    assert type(layer).__name__.lower() == name.replace("_", "")
    np.testing.assert_allclose(layer(cr.tensor(X)).numpy(), ACTIVATIONS[name][1](X), 1e-13, 1e-15)
    again = nn.activation(name.upper().replace("_", "-"))
    assert nn.to_config(again) == nn.to_config(layer)


def test_unknown_activation_suggests_the_nearest() -> None:
    with pytest.raises(cr.OptionError, match=r"unknown activation 'rellu'.*Did you mean 'relu'"):
        nn.activation("rellu")
    with pytest.raises(cr.OptionError, match=r"write nn.Maxout\(inputs, outputs\) in place of"):
        nn.activation("maxout")


def assigned(layer: nn.Linear, seed: int = 1) -> nn.Linear:
    nn.initialize(layer, seed)
    if layer.bias is not None:
        layer.bias.value = np.random.default_rng(seed).normal(size=layer.outputs)
    return layer


@pytest.mark.parametrize("use_bias", [True, False])
def test_linear_is_a_matrix_product_plus_bias(use_bias: bool) -> None:
    layer = assigned(nn.Linear(4, 3, use_bias=use_bias, dtype="float64"))
    expected = np.einsum("ni,ij->nj", X, layer.weight.value)
    if use_bias:
        assert layer.bias is not None
        expected = expected + layer.bias.value[None, :]
    np.testing.assert_allclose(layer(cr.tensor(X)).numpy(), expected, rtol=1e-13)
    assert list(nn.parameters(layer)) == (["weight", "bias"] if use_bias else ["weight"])


def test_linear_takes_leading_axes() -> None:
    layer = assigned(nn.Linear(4, 3, dtype="float64"))
    many = np.random.default_rng(2).normal(size=(2, 5, 4))
    got = layer(cr.tensor(many)).numpy()
    for i in range(2):
        np.testing.assert_allclose(got[i], layer(cr.tensor(many[i])).numpy(), rtol=1e-13)


def test_sizes_from_numpy_are_plain_integers() -> None:
    layer = nn.Linear(np.int64(4), np.int32(3), dtype=np.float64)  # type: ignore[arg-type]
    assert (type(layer.inputs), type(layer.outputs), layer.dtype) == (int, int, "float64")


@pytest.mark.parametrize("bad", [0, -1, True, 2.0, "3", None])
@pytest.mark.parametrize("place", ["inputs", "outputs"])
def test_linear_refuses_sizes_that_are_no_positive_integer(bad: Any, place: str) -> None:
    sizes = {"inputs": 2, "outputs": 2, place: bad}
    with pytest.raises(cr.OptionError, match=rf"Linear: {place} must be a positive integer"):
        nn.Linear(**sizes)


def test_wrong_width_names_the_layer_and_both_sizes() -> None:
    model = nn.Sequential([nn.Linear(4, 8), nn.ReLU(), nn.Linear(9, 3)])
    with pytest.raises(cr.ShapeError, match=r"layer 2: .*needs 9 features.*\(5, 8\)"):
        model(cr.tensor(X))
    with pytest.raises(cr.ShapeError, match=r"layer 0: .*needs 4 features.*\(5, 3\)"):
        model(cr.tensor(X[:, :3]))
    with pytest.raises(cr.ShapeError, match=r"needs 4 features"):
        nn.Linear(4, 1)(cr.tensor(1.0))


def test_sequential_applies_in_order_and_nests() -> None:
    first, second = assigned(nn.Linear(4, 3), 1), assigned(nn.Linear(3, 2), 2)
    flat = nn.Sequential([first, nn.Tanh(), second])
    nested = nn.Sequential([nn.Sequential([first, nn.Tanh()]), second])
    by_hand = np.tanh(X.astype("f4") @ first.weight.value + first.bias.value)  # type: ignore[union-attr]
    by_hand = by_hand @ second.weight.value + second.bias.value  # type: ignore[union-attr]
    x = cr.tensor(X.astype("f4"))
    np.testing.assert_allclose(flat(x).numpy(), by_hand, rtol=1e-5)
    np.testing.assert_array_equal(flat(x).numpy(), nested(x).numpy())
    assert len(flat) == 3
    assert flat[2] is second


def test_sequential_takes_any_callable_and_refuses_the_rest() -> None:
    doubled = nn.Sequential([lambda x: x * 2.0])
    np.testing.assert_allclose(doubled(cr.tensor(X)).numpy(), 2 * X)
    with pytest.raises(cr.OptionError, match="entry 1 is 'relu', which is not a layer"):
        nn.Sequential([nn.Linear(2, 2), "relu"])  # type: ignore[list-item]


def test_flatten_keeps_rows_in_row_major_order() -> None:
    images = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(nn.Flatten()(cr.tensor(images)).numpy(), images.reshape(2, 12))
    assert nn.Flatten()(cr.input("x", ("n", 3, 4))).shape[1] == 12


@dataclass(eq=False)
class Branches:
    """Parameters in fields, nested lists and dictionaries, and one layer used twice."""

    stem: nn.Linear
    heads: dict[str, list[Any]]
    again: nn.Linear
    scale: Parameter = field(init=False)

    def __post_init__(self) -> None:
        self.scale = Parameter((), nn.Constant(2.0))

    def __call__(self, x: Tensor) -> Tensor:
        return self.again(self.stem(x)) * self.scale


def branches() -> Branches:
    stem = nn.Linear(2, 2)
    heads = {"a": [nn.Linear(2, 1), nn.ReLU(), (nn.Linear(1, 1, use_bias=False),)], "b": [stem]}
    return Branches(stem, heads, stem)


def test_parameters_are_found_by_path_and_shared_ones_once() -> None:
    model = branches()
    found = nn.parameters(model)
    assert list(found) == [
        "stem.weight", "stem.bias", "heads.a.0.weight", "heads.a.0.bias", "heads.a.2.0.weight",
        "scale",
    ]  # fmt: skip
    assert found["stem.weight"] is model.again.weight
    assert nn.parameters([lambda x: x, nn.ReLU()]) == {}


def test_two_parameters_of_one_path_are_refused() -> None:
    """One would be lost, to training and to what is saved."""
    layers = {"a": nn.Sequential([nn.Linear(4, 3)]), "a.0": nn.Linear(3, 3)}
    with pytest.raises(cr.OptionError, match=r"are called 'a\.0\.weight'.* another name"):
        nn.parameters(nn.Network(layers, [("x", "a"), ("a", "a.0")]))


def test_parameters_of_a_sequence_are_numbered() -> None:
    model = nn.Sequential([nn.Linear(2, 3), nn.ReLU(), nn.Sequential([nn.Linear(3, 1)])])
    assert list(nn.parameters(model)) == ["0.weight", "0.bias", "2.0.weight", "2.0.bias"]


def test_a_shared_parameter_collects_both_gradients() -> None:
    layer = assigned(nn.Linear(2, 2, use_bias=False, dtype="float64"))
    x = cr.tensor(X[:, :2])
    got = cr.grad(layer(layer(x)).sum(), layer.weight).numpy()
    w = layer.weight.value
    ones = np.ones((5, 2))
    expected = (X[:, :2] @ w).T @ ones + X[:, :2].T @ (ones @ w.T)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_a_layer_of_ones_own_trains() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(64, 2)).astype("f4")
    run = cr.fit(branches(), (X, X * 3), loss="mse", optimizer="adam", epochs=3, progress=False)
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert run.model.scale.value != 2.0  # type: ignore[attr-defined]


class Plain:
    """A layer as others write them: no dataclass, its parts set in __init__."""

    def __init__(self) -> None:
        self.first = nn.Linear(2, 3)
        self.rest = [nn.ReLU(), nn.Linear(3, 2)]
        self.itself = self

    def __call__(self, x: Tensor) -> Tensor:
        for layer in (self.first, *self.rest):
            x = layer(x)
        return x


def test_a_class_that_is_no_dataclass_has_its_parameters_found_and_trained() -> None:
    model = Plain()
    names = ["first.weight", "first.bias", "rest.1.weight", "rest.1.bias"]
    assert list(nn.parameters(model)) == names
    assert list(nn.parameters(nn.Sequential([model]))) == [f"0.{name}" for name in names]
    x = X[:, :2]
    run = cr.fit(model, (x, 3 * x), loss="mse", optimizer="adam", epochs=9, progress=False)
    assert run.history[-1]["loss"] < run.history[0]["loss"]


def test_parts_that_a_dataclass_makes_beside_its_fields_are_found() -> None:
    @dataclass(eq=False)
    class Made:
        width: int

        def __post_init__(self) -> None:
            self.inner = nn.Linear(2, self.width)

    assert list(nn.parameters(Made(3))) == ["inner.weight", "inner.bias"]
    assert nn.parameters([Made, nn.parameters, len]) == {}


def test_sequential_names_what_to_write_instead() -> None:
    with pytest.raises(cr.OptionError, match=r"layers in a list: Sequential\(\[first"):
        nn.Sequential(nn.Linear(2, 2), nn.ReLU())  # type: ignore[arg-type]
    with pytest.raises(cr.OptionError, match=r"in a list"):
        nn.Sequential(nn.Linear(2, 2))  # type: ignore[arg-type]
    with pytest.raises(cr.OptionError, match=r"entry 1 is the class ReLU; call it .* ReLU\(\)"):
        nn.Sequential([nn.Linear(2, 2), nn.ReLU])
    with pytest.raises(cr.DTypeError, match=r"'float65' is not a dtype. Did you mean 'float64'"):
        nn.Linear(2, 2, dtype="float65")
    with pytest.raises(cr.ShapeError, match=r"^Linear\(4, 1\) needs 4 features"):
        nn.Linear(4, 1)(cr.tensor(1.0))


@pytest.mark.parametrize(
    "make",
    [
        lambda dtype: nn.Linear(2, 2, dtype=dtype),
        lambda dtype: nn.SparseLinear.from_density(2, 2, 0.5, dtype=dtype),
        lambda dtype: nn.Neurons([("a", "b")], dtype=dtype),
        lambda dtype: nn.Maxout(2, 2, dtype=dtype),
        lambda dtype: nn.PReLU(dtype=dtype),
        lambda dtype: nn.BatchNorm(2, dtype=dtype),
        lambda dtype: nn.LayerNorm(2, dtype=dtype),
        lambda dtype: nn.RMSNorm(2, dtype=dtype),
        lambda dtype: nn.Embedding(2, 2, dtype=dtype),
        lambda dtype: nn.EmbedColumns(2, [(0, 2, 2)], dtype=dtype),
    ],
)
def test_parameters_are_floats(make: Any) -> None:
    """Others have no gradient, and would be rounded from their first value on."""
    with pytest.raises(cr.OptionError, match="dtype must be 'float32' or 'float64', not 'int32'"):
        make("int32")


@pytest.mark.parametrize(
    ("module", "name", "nearest"),
    [(cr, "sigmiod", "sigmoid"), (nn, "Relu", "ReLU"), (cr.optim, "adam_", "Adam")],
)
def test_a_misspelled_name_suggests_the_nearest(module: Any, name: str, nearest: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}'. Did you mean '{nearest}'"):
        getattr(module, name)
