"""Every registered layer goes to JSON and back; what can't is refused by name."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import layer_config

# One example of every registered kind, with every field away from its default.
EXAMPLES: list[Any] = [
    nn.Linear(3, 2, use_bias=False, weight_init=nn.HeNormal(), dtype="float64"),
    nn.Linear(3, 2, weight_init="glorot_normal", bias_init=nn.Constant(0.5)),
    nn.Flatten(), nn.Scale(0.5),
    nn.Sequential([nn.Linear(2, 2), nn.ReLU(), nn.Sequential([nn.Tanh()])]),
    nn.ReLU(), nn.LeakyReLU(0.3), nn.ELU(0.5), nn.Sigmoid(), nn.Tanh(), nn.GELU(approximate=True),
    nn.SiLU(), nn.Softplus(),
    nn.Zeros(), nn.Constant(0.25), nn.GlorotNormal(), nn.GlorotUniform(), nn.HeNormal(),
    nn.HeUniform(0.5), nn.LeCunNormal(), nn.LeCunUniform(), nn.MaxoutNormal(3), nn.Eye(),
    nn.Orthogonal(2.0), nn.Sparse(3, 0.5), nn.TruncatedNormal(0.1),
    nn.PReLU(3, 0.1, "float64"), nn.SELU(), nn.ReLU6(), nn.Mish(), nn.Softsign(), nn.Identity(),
    nn.HardSigmoid(), nn.HardTanh(), nn.HardSwish(),
    nn.SparseLinear(4, 3, nn.Density(0.5, 2), False, "he_normal", dtype="float64"),
    nn.SparseLinear.from_edges([(1, 0), (3, 1)], weight_init=nn.HeNormal(), bias_init=0.5),
    nn.SparseLinear.local(5, 3, 2), nn.SparseLinear.local((4, 4, 2), 2, (2, 2), 2),
    nn.Density(0.5, 1), nn.LocalFields(3), nn.ImageFields((4, 5), (2, 3), (1, 2), 2),
    nn.SparseLinear.from_edges([(1, 0)]).pattern,
    nn.Network({"f": nn.Linear(4, 4)}, {"x": ["f", "s"], "f": "s"}, join={"s": "add"}),
    nn.Neurons(
        [("a", "h"), ("h", "y"), ("a", "y"), ("b", "z")], ["b", "a"], ["z", "h"], "relu",
        "tanh", {"h": "sigmoid"}, False, "he_normal", "float64",
    ),
    nn.CrossEntropy(0.1), nn.Huber(2.0), nn.Quantile((0.1, 0.9)), nn.Columns(1, 3),
    nn.Several(("mse", nn.Quantile((0.2, 0.8)), "ordinal"), (1, 2, 3), (0.5, 2.0, 1.0)),
    nn.Maxout(3, 2, 4, weight_init="he_normal", bias_init=0.01, dtype="float64"),
    nn.Embedding(4, 2, "float64"), nn.EmbedColumns(3, [(1, 4, 2)], "float64"),
    nn.Dropout(0.25), nn.GaussianNoise(0.5), nn.BatchNorm(3, 0.2, 1e-3, "float64"),
    nn.LayerNorm(3, 1e-3, "float64"),
    nn.RMSNorm(3, 1e-3, "float64"), nn.L1(0.1), nn.L2(0.1), nn.L1L2(0.1, 0.2),
    nn.MemberLinear(2, 3, 4, nn.HeNormal(), 0.5, "float64"), nn.AverageMembers(2, "poisson"),
    nn.CrossFitted([nn.Linear(2, 4), nn.AverageMembers(4)], 4, 2),
    nn.PiecewiseLinear([[0.0, 1.5, 2.0], [], [-1.0, 1.0]]),
    nn.ActivityPenalty(nn.L1(0.3)), nn.Residual([nn.Linear(2, 2)], nn.Linear(2, 2)),
]  # fmt: skip
_NOT_LAYERS = ("initializers", "losses", "regularizers", "several")
LAYERS = [
    e for e in EXAMPLES if callable(e) and type(e).__module__.split(".")[-1] not in _NOT_LAYERS
]


def test_the_examples_cover_the_registry() -> None:
    ours = {
        name for name, kind in layer_config._registry.items() if kind.__module__.startswith("chain")
    }
    assert ours == {type(example).__name__ for example in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: type(e).__name__)
def test_round_trip_through_json(example: Any) -> None:
    text = json.dumps(nn.to_config(example))
    back = nn.from_config(json.loads(text))
    assert type(back) is type(example)
    assert json.dumps(nn.to_config(back)) == text
    for entry in fields(example):
        value = getattr(example, entry.name)
        if entry.init and isinstance(value, (bool, int, float, str, type(None))):
            assert getattr(back, entry.name) == value
    shapes = {name: (p.shape, p.dtype) for name, p in nn.parameters(example).items()}
    assert shapes == {name: (p.shape, p.dtype) for name, p in nn.parameters(back).items()}


def test_a_loaded_sequence_starts_from_the_same_weights() -> None:
    model = nn.Sequential([nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)])
    back = nn.from_config(nn.to_config(model))
    for one in (model, back):
        nn.initialize(one, 7)
    for name, parameter in nn.parameters(model).items():
        np.testing.assert_array_equal(parameter.value, nn.parameters(back)[name].value)


def test_lists_and_dictionaries_go_along() -> None:
    model = {"a": [nn.ReLU(), 3, None], "type": nn.Tanh()}
    assert nn.from_config(json.loads(json.dumps(nn.to_config(model)))) == model


def test_a_lambda_and_an_unregistered_class_are_refused_by_name() -> None:
    with pytest.raises(
        cr.OptionError,
        match=r"lambda.*can't be saved: function is not a registered layer. Write it",
    ):
        nn.to_config(nn.Sequential([lambda x: x]))

    @dataclass
    class Mine:
        size: int

    with pytest.raises(cr.OptionError, match=r"Mine is not a registered layer.*register_layer"):
        nn.to_config([Mine(2)])


@pytest.mark.parametrize(
    ("function", "layer"),
    [(cr.tanh, "Tanh"), (cr.relu, "ReLU"), (cr.leaky_relu, "LeakyReLU"), (cr.softplus, "Softplus")],
)
def test_the_layer_that_does_what_a_function_does_is_named(function: Any, layer: str) -> None:
    with pytest.raises(cr.OptionError, match=rf"Use the layer nn\.{layer}\(\) in its place"):
        nn.to_config([function])


def test_a_class_of_the_same_name_is_not_taken_for_the_registered_one() -> None:
    ReLU = dataclass(type("ReLU", (), {"__call__": lambda self, x: -x}))
    with pytest.raises(cr.OptionError, match="not a registered layer"):
        nn.to_config(ReLU())
    with pytest.raises(cr.OptionError, match="the name 'ReLU' is taken"):
        nn.register_layer(ReLU)


def test_register_layer_lets_ones_own_be_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_config, "_registry", dict(layer_config._registry))

    @nn.register_layer
    @dataclass
    class Doubled:
        inner: Any

        def __call__(self, x: Any) -> Any:
            return 2.0 * self.inner(x)

    back = nn.from_config(json.loads(json.dumps(nn.to_config(Doubled(nn.LeakyReLU(0.5))))))
    assert back == Doubled(nn.LeakyReLU(0.5))
    with pytest.raises(cr.OptionError, match="is not a dataclass"):
        nn.register_layer(type("Plain", (), {}))


def test_an_unknown_type_in_a_file_is_refused_with_the_nearest() -> None:
    with pytest.raises(cr.OptionError, match=r"unknown layer type 'Liner'. Did you mean 'Linear'"):
        nn.from_config({"type": "Liner", "inputs": 2, "outputs": 2})
