"""What the catalogue says of activations is what the functions do, measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.catalogue import Activation

TABLE = cr.activations()
NAMES = [record.name for record in TABLE]
EXP = {"exp", "expm1", "log", "log1p", "tanh", "sigmoid", "erf"}


def column(*values: float) -> cr.Tensor:
    return cr.tensor(np.array(values, np.float64)[:, None])


def slopes(record: Activation, *at: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    x = column(*at)
    return cr.grad(record.example()(x).sum(), x).numpy().ravel()


def test_every_activation_is_listed_once() -> None:
    assert sorted(NAMES) == sorted([*nn.activation_names(), "maxout"])
    for record in TABLE:
        assert type(record.example()).__name__ == record.layer


@pytest.mark.parametrize("record", TABLE, ids=NAMES)
def test_range(record: Activation) -> None:
    if record.name == "maxout":  # any convex function of straight lines; the example is |x|
        return
    y = record.example()(column(*np.linspace(-40, 40, 80_001), -1e6, 1e6)).numpy()
    low, high = y.min(), y.max()
    for end, reached in ((record.low, low), (-record.high, -high)):
        if end == -np.inf:
            assert reached < -1000
        else:
            assert reached >= end - 1e-6
            assert reached == pytest.approx(end, abs=1e-5)


@pytest.mark.parametrize("record", TABLE, ids=NAMES)
def test_mean_of_outputs_for_standard_normal_inputs(record: Activation) -> None:
    if record.name == "maxout":  # of its first units, whose pieces are standard normal
        layer = nn.Maxout(64, 2000)
        nn.initialize(layer)
        rows = np.random.default_rng(0).normal(size=(500, 64)).astype("f4")
        assert layer(cr.tensor(rows)).numpy().mean() == pytest.approx(record.mean, abs=0.01)
        return
    x = np.linspace(-10, 10, 40_001)
    weight = np.exp(-x * x / 2)
    y = record.example()(column(*x)).numpy().ravel()
    mean = (weight * y).sum() / weight.sum()
    assert mean == pytest.approx(record.mean, abs=1e-4)
    assert record.zero_centered == (abs(mean) < 1e-6)


@pytest.mark.parametrize("record", TABLE, ids=NAMES)
def test_saturation_and_death(record: Activation) -> None:
    left, right = np.abs(slopes(record, -1000.0, 1000.0))
    sides = {(False, False): "no", (True, False): "left", (True, True): "both"}
    assert sides[left < 1e-5, right < 1e-5] == record.saturates
    # In float64 a slope that only fades is not yet 0 at 8.
    assert (slopes(record, -8.0, 8.0) == 0).any() == record.dies


@pytest.mark.parametrize("record", TABLE, ids=NAMES)
def test_cost(record: Activation) -> None:
    x = cr.input("x", ("n", 1))
    used = {node.primitive.name for node in cr.Graph({"y": record.example()(x)}).nodes}
    assert bool(used & EXP) == record.uses_exp
    layers = [nn.Maxout(50, 40)] if record.name == "maxout" else [nn.Linear(50, 40)]
    weights = sum(p.value.size for p in nn.parameters(layers).values() if p.is_weight)
    assert weights == record.parameter_factor * 50 * 40


@pytest.mark.parametrize("record", TABLE, ids=NAMES)
def test_initializer_is_the_one_a_layer_before_it_gets(record: Activation) -> None:
    if record.name == "maxout":
        given = nn.Maxout(3, 2).weight[0].initializer
    else:
        model = nn.Sequential([nn.Linear(3, 2), nn.activation(record.name)])
        given = model[0].weight.initializer  # type: ignore[attr-defined]
    assert type(nn.initializer(record.initializer)) is type(given)


def test_it_prints_as_a_table_and_goes_to_json() -> None:
    lines = str(TABLE).splitlines()
    assert lines[0].split()[:3] == ["name", "equation", "range"]
    assert [line.split()[0] for line in lines[1 : 1 + len(TABLE)]] == NAMES
    assert lines[-1].startswith("identity: ")
    relu = json.loads(json.dumps(TABLE.named("relu").to_json(), allow_nan=False))
    assert (relu["low"], relu["high"], relu["dies"], relu["zero_centered"]) == (
        0,
        None,
        True,
        False,
    )
    with pytest.raises(cr.OptionError, match="Did you mean 'relu'"):
        TABLE.named("rellu")


def test_what_the_notes_say() -> None:
    by_name = {record.name: record for record in TABLE}
    for name, centered, saturates, dies, exp in (
        ("sigmoid", False, "both", False, True),
        ("tanh", True, "both", False, True),
        ("relu", False, "left", True, False),
        ("leaky_relu", False, "no", False, False),
        ("elu", False, "left", False, True),
        ("maxout", False, "no", False, False),
    ):
        r = by_name[name]
        assert (r.zero_centered, r.saturates, r.dies, r.uses_exp) == (
            centered,
            saturates,
            dies,
            exp,
        )
    assert by_name["elu"].mean < by_name["relu"].mean  # closer to zero mean
    assert by_name["maxout"].parameter_factor == 2
    assert NAMES[0] == "relu"
