"""Sparse layers: which edges each pattern makes, their first weights, training, and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn.wiring import PerUnit
from chainrule.ops.sparse import Wiring
from tests.run.agreement import assert_agree, shuffled, training

Array = np.ndarray[Any, Any]


def _mask(layer: nn.SparseLinear) -> Array:
    mask = np.zeros((layer.inputs, layer.outputs), bool)
    mask[layer.wiring.sources, layer.wiring.targets] = True
    return mask


# --- patterns -----------------------------------------------------------------------------------


def test_a_mask_comes_back() -> None:
    mask = np.random.default_rng(0).random((40, 30)) < 0.2
    mask[0] = True
    layer = nn.SparseLinear.from_mask(mask)
    np.testing.assert_array_equal(_mask(layer), mask)
    assert layer.edges == mask.sum()
    assert layer.weight.shape == (layer.edges,)
    np.testing.assert_array_equal(_mask(nn.SparseLinear.from_mask(mask.astype(int))), mask)


def test_a_list_of_edges_comes_back() -> None:
    edges = [(3, 1), (0, 0), (4, 1), (0, 1)]
    layer = nn.SparseLinear.from_edges(edges, inputs=6)
    assert (layer.inputs, layer.outputs, layer.edges) == (6, 2, 4)
    assert set(zip(*np.nonzero(_mask(layer)), strict=True)) == set(edges)
    again = nn.SparseLinear.from_edges(np.array(edges), inputs=6)
    assert again.wiring == layer.wiring


@pytest.mark.parametrize("density", [0.001, 0.05, 0.33, 1.0])
def test_a_density_gives_every_unit_its_share(density: float) -> None:
    layer = nn.SparseLinear.from_density(64, 50, density, seed=3)
    share = max(50, round(density * 64 * 50))
    assert layer.edges == share
    assert set(layer.wiring.fan_in.tolist()) <= {share // 50, share // 50 + 1}
    other = nn.SparseLinear.from_density(64, 50, density, seed=4)
    assert (other.wiring == layer.wiring) == (density == 1.0)
    assert nn.SparseLinear.from_density(64, 50, density, seed=3).wiring == layer.wiring


def test_the_edges_of_a_density_are_the_same_in_every_version() -> None:
    """Saved models keep the seed alone: these numbers must never change."""
    drawn = nn.Density(0.3, seed=7).wiring(10, 4)
    assert drawn.sources.tolist() == SEVENS


SEVENS = [0, 2, 5, 0, 7, 8, 0, 1, 8, 0, 1, 9]


def test_fields_of_neighbors_are_spread_evenly() -> None:
    mask = _mask(nn.SparseLinear.local(10, 4, 3))
    expected = [[0, 1, 2], [2, 3, 4], [5, 6, 7], [7, 8, 9]]
    assert [np.flatnonzero(column).tolist() for column in mask.T] == expected
    assert _mask(nn.SparseLinear.local(5, 1, 5)).all()
    with pytest.raises(cr.OptionError, match="a field of 6 is larger than the 5 inputs"):
        nn.SparseLinear.local(5, 2, 6)


@pytest.mark.parametrize(("shape", "channels"), [((6, 7), 1), ((6, 7, 2), 2)])
def test_fields_of_an_image(shape: Any, channels: int) -> None:
    layer = nn.SparseLinear.local(shape, 3, (3, 2), stride=(2, 1))
    assert (layer.inputs, layer.outputs) == (42 * channels, 2 * 6 * 3)
    mask = _mask(layer).reshape(6, 7, channels, 2, 6, 3)
    for row, column, unit in np.ndindex(2, 6, 3):
        seen = np.zeros((6, 7, channels), bool)
        seen[2 * row : 2 * row + 3, column : column + 2] = True
        np.testing.assert_array_equal(mask[..., row, column, unit], seen)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.SparseLinear.from_edges([(0, 0), (5, 1)], 3, 2), "edge 1, from input 5 to"),
        (lambda: nn.SparseLinear.from_edges([(0, 0), (0, 0)]), "from input 0 to output 0 is given"),
        (lambda: nn.SparseLinear.from_edges([(0, 0), (0, 2)]), r"unit 1 has no input \(1 of 3"),
        (lambda: nn.SparseLinear.from_edges([(0, 0, 1)]), "takes pairs of whole numbers"),
        (lambda: nn.SparseLinear.from_edges([]), "takes pairs of whole numbers"),
        (lambda: nn.SparseLinear.from_mask([[0.5, 1.0]]), "takes a matrix"),
        (lambda: nn.SparseLinear.from_mask([True]), "takes a matrix"),
        (lambda: nn.SparseLinear.from_mask(np.zeros((2, 2), bool)), "one or more integers"),
        (lambda: nn.SparseLinear.from_density(4, 4, 0.0), "density must be above 0 and at most 1"),
        (lambda: nn.SparseLinear.from_density(4, 4, 1.5), "density must be above 0 and at most 1"),
        (lambda: nn.SparseLinear.from_density(4, 4, 0.5, -1), "seed must be an integer of at"),
        (lambda: nn.SparseLinear.local((4, 4), 1, (5, 2)), "larger than the image"),
        (lambda: nn.SparseLinear.local(4, 1, (2, 2)), "needs the shape of an image"),
        (lambda: nn.SparseLinear.local((4,), 1, 2), "shape must hold 3 sizes"),
        (lambda: nn.SparseLinear(4, 4, 0.5), "pattern must be an object such as nn.De"),  # type: ignore[arg-type]
        (lambda: nn.SparseLinear(0, 4, nn.Density(0.5)), "inputs must be a positive integer"),
        (lambda: nn.SparseLinear(5, 4, nn.ImageFields((2, 2), (1, 1))), "has 4 inputs, not 5"),
        (lambda: nn.SparseLinear(5, 4, nn.Edges("!", 3, 1)), "is damaged"),
        (lambda: nn.SparseLinear(5, 4, nn.Edges("eJwD", 3, 1)), "is damaged"),
        (lambda: nn.SparseLinear(5, 4, nn.Edges("AAAA", 3, 3)), "is damaged"),
    ],
)  # fmt: skip
def test_patterns_that_can_not_be(make: Any, message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        make()


def test_rows_of_another_width() -> None:
    layer = nn.SparseLinear.from_density(4, 3, 0.5)
    for shape in ((2, 5), (4,), (2, 2, 4)):
        with pytest.raises(cr.ShapeError, match=r"SparseLinear\(4, 3\) needs rows of 4 features"):
            layer(cr.tensor(np.ones(shape, "float32")))


# --- first weights ------------------------------------------------------------------------------


def test_first_weights_follow_each_units_own_inputs() -> None:
    mask = np.zeros((400, 200), bool)
    mask[:4, :100] = True  # units of 4 inputs, and units of 400
    mask[:, 100:] = True
    layer = nn.SparseLinear.from_mask(mask, weight_init="he_normal")
    nn.initialize(layer, seed=1)
    few, many = layer.weight.value[:400], layer.weight.value[400:]
    assert np.std(few) == pytest.approx(np.sqrt(2 / 4), rel=0.1)
    assert np.std(many) == pytest.approx(np.sqrt(2 / 400), rel=0.02)


def test_a_full_pattern_starts_as_a_dense_layer() -> None:
    wiring = nn.Density(1.0).wiring(7, 5)
    start = nn.GlorotUniform()
    drawn = PerUnit(start, wiring)((35,), np.random.default_rng(0))
    dense = start((7, 5), np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.reshape(5, 7).T, dense)


def test_the_following_activation_has_its_say() -> None:
    layer = nn.SparseLinear.from_density(20, 10, 0.5)
    chosen = nn.SparseLinear.from_density(20, 10, 0.5, weight_init="zeros")
    nn.Sequential([layer, nn.ReLU(), chosen, nn.ReLU()])
    assert layer.weight.initializer.start == nn.ReLU().suited_initializer
    assert not chosen.weight.value.any()
    assert layer.weight.is_weight


# --- training -----------------------------------------------------------------------------------


def _network(dtype: str = "float64") -> nn.Sequential:
    return nn.Sequential(
        [
            nn.SparseLinear.local((6, 6), 2, (3, 3), dtype=dtype),
            nn.ReLU(),
            nn.SparseLinear.from_density(32, 20, 0.2, dtype=dtype),
            nn.Tanh(),
            nn.SparseLinear.from_edges([(i, i % 3) for i in range(20)], dtype=dtype),
        ]
    )


@pytest.mark.parametrize(
    "optimizer", [optim.SGD(0.1), optim.Adam(0.01), optim.SGD(0.1, momentum=0.9)], ids=repr
)
def test_the_engines_agree_on_training_steps(optimizer: Any) -> None:
    rng = np.random.default_rng(0)
    model = _network()
    nn.initialize(model, seed=0)
    x, y = rng.normal(size=(50, 36)), rng.integers(0, 3, 50)
    case = training(model, "cross_entropy", optimizer, x, y)
    program = case.native(16)
    assert not program.code.left_to_reference()
    assert len(program.code.schedule.levels) == 2  # as of a dense network
    for threads in (1, 2):
        assert_agree(case, shuffled(50, 3), 16, 1e-9, threads)


def test_memory_is_in_proportion_to_the_edges() -> None:
    layer = nn.SparseLinear.from_density(512, 512, 0.05)
    x = np.zeros((8, 512), "float32")
    case = training(layer, "mse", optim.Adam(), x, x)
    dense = 512 * 512
    sizes = {name: value.size for name, value in case.state.items()}
    assert layer.edges < 0.0501 * dense
    assert sum(sizes.values()) < 3 * layer.edges + 3 * 512 + 20
    program = case.native(8)
    held = sum(buffer.size for buffer in program.caller.buffers.values())
    assert held + program.code.slots.workspace < 0.5 * dense


def test_a_saved_run_keeps_the_pattern_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 36)).astype("float32"), rng.integers(0, 3, 40)
    run = cr.fit(
        _network("float32"), (X, y), loss="cross_entropy", epochs=2, progress=False,
        engine="native",
    )  # fmt: skip
    back = cr.load(run.save(tmp_path / "run"))
    np.testing.assert_array_equal(back.outputs(X), run.outputs(X))
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    first, second = about["model"]["layers"][0]["pattern"], about["model"]["layers"][2]["pattern"]
    assert first == {
        "type": "ImageFields", "shape": [6, 6], "field": [3, 3], "stride": [1, 1], "units": 2,
    }  # fmt: skip
    assert second == {"type": "Density", "density": 0.2, "seed": 0}


def test_packed_edges_take_about_a_byte_each() -> None:
    wiring = nn.Density(0.05, seed=1).wiring(1000, 400)
    packed = nn.Edges.of(wiring)
    assert packed.wiring(1000, 400) == wiring
    assert len(packed.packed) < 1.3 * wiring.edges
    assert repr(packed) == "Edges(count=20000, size=1)"
    config = nn.to_config(packed)
    assert nn.from_config(json.loads(json.dumps(config))) == packed
    wide = Wiring(2**31 - 1, 2, [5, 2**31 - 2], [0, 1])
    assert nn.Edges.of(wide).wiring(2**31 - 1, 2) == wide
