"""Batches divided among eight devices, which XLA makes of one processor: the result of one device.

Batch normalization, norms of gradients and sums are over the whole batch, and a last batch that
can't be divided is computed by every device.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.run import engines
from chainrule.run.program import Engine, prepare
from tests.run.agreement import Case, distance, shuffled, training
from tests.run.test_native import _case
from tests.run.test_native_layers import case as layers_case
from tests.run.test_native_optimizers import OPTIMIZERS
from tests.run.test_native_optimizers import case as optimizer_case

pytestmark = pytest.mark.xla
DEVICES = 8


@pytest.fixture(scope="module", autouse=True)
def jax() -> Any:
    found = pytest.importorskip("jax", reason="JAX is not installed: make xla")
    assert len(found.devices()) == DEVICES
    return found


def assert_same(case: Case, order: Any, batch: int, bound: float, devices: Any = "all") -> None:
    """Hold several devices to one, in sums and in state."""
    several = prepare(case.graph, case.state, case.data, batch, Engine("xla", devices=devices))
    single = prepare(case.graph, case.state, case.data, batch, "xla")
    ours, theirs = several.run(order, batch), single.run(order, batch)
    assert distance(ours, theirs) <= bound * max(1, len(order) // batch)
    assert distance(several.state, single.state) <= bound


def _words() -> Case:
    """Return a training with a table that rows of the batch select from."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 11, (50, 4)), rng.integers(0, 3, 50)
    layers = [nn.Embedding(11, 5, "float64"), nn.Flatten(), nn.Linear(20, 3, dtype="float64")]
    model = nn.Sequential(layers)
    nn.initialize(model, 0)
    return training(model, "cross_entropy", optim.Adam(0.01), x, y)


# "all": batch and layer normalization, dropout and noise.
@pytest.mark.parametrize("kind", ["all", "activity", "words", "clipped", "at once"])
def test_eight_devices_are_one(kind: str) -> None:
    if kind in ("all", "activity"):
        case = layers_case(kind, "float64", watch=kind == "all")
    elif kind == "words":
        case = _words()
    elif kind == "clipped":
        case = _case("relu", "mse", "clip_norm", "float64")
    else:
        case = optimizer_case(OPTIMIZERS["all at once"])
    # Whole batches of 16, and one of two rows or of seven, which can't be divided.
    assert_same(case, shuffled(case.rows, 6), 16, 1e-9)


@pytest.mark.parametrize("devices", [2, 4])
def test_some_devices_in_float32(devices: int) -> None:
    assert_same(layers_case("dropout", "float32"), shuffled(50, 4), 16, 1e-5, devices)


def test_the_rows_of_a_batch_are_divided_and_not_computed_by_each(jax: Any) -> None:
    case = _case("relu", "mse", "sgd", "float64")
    several = engines.load("xla").XlaProgram(case.graph, case.state, case.data, 16, "all")
    text = several.codes[16].run.as_text()
    assert "f64[2,9]" in text  # two of 16 rows, 9 units
    assert "f64[16,9]" not in text
    assert "all-reduce" in text
    assert several.explain().startswith("XLA on 8 devices (cpu)")


@pytest.mark.parametrize("shard", [None, "parameters"])
def test_data_are_sent_to_all(shard: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of two batches, each device its rows, and all of them the rest."""
    xla = engines.load("xla")
    monkeypatch.setattr(import_module(xla.XlaProgram.__module__), "PIECE_BYTES", 1000)
    case = _case("relu", "cross_entropy", "adam", "float64", (5, 16, 3))
    program = xla.XlaProgram(case.graph, case.state, case.data, 8, "all", False, shard)
    assert 8 < program._at_once(8) < 23
    reference = case.reference()
    order = shuffled(23, 3)
    assert distance(program.run(order, 8), reference.run(order, 8)) < 1e-9
    assert distance(program.state, reference.state) < 1e-9


def test_a_batch_must_be_divisible() -> None:
    case = _case("tanh", "mse", "sgd", "float64")
    with pytest.raises(cr.OptionError, match="batch_size=7 can't be divided among 8 devices"):
        prepare(case.graph, case.state, case.data, 7, Engine("xla", devices="all"))


def test_fit_on_all_devices() -> None:
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(100, 6)), rng.normal(size=(100, 1))
    losses = []
    for devices in (None, "all", 4):
        layers = [nn.Linear(6, 8, dtype="float64"), nn.BatchNorm(8, dtype="float64"), nn.Tanh(),
                  nn.Dropout(0.3), nn.Linear(8, 1, dtype="float64")]  # fmt: skip
        run = cr.fit(nn.Sequential(layers), (X, y), loss="mse", epochs=3, batch_size=16,
                     validation=0.2, engine="xla", devices=devices, progress=False)  # fmt: skip
        losses.append([record["val_loss"] for record in run.history])
        assert np.isfinite(run.predict(X)).all()
    np.testing.assert_allclose(losses[1:], [losses[0]] * 2, rtol=1e-9)
