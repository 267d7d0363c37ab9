"""Parameters and slots divided among eight devices, which XLA makes of one processor."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.cli import main
from chainrule.core.graph import Graph
from chainrule.run.program import Engine, prepare
from tests.run.agreement import Case, distance, shuffled
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


def split(case: Case, batch: int, devices: Any = "all") -> Any:
    """Return the program of `case` with its state divided."""
    engine = Engine("xla", devices=devices, shard="parameters")
    return prepare(case.graph, case.state, case.data, batch, engine)


def assert_same(case: Case, order: Any, batch: int, bound: float, devices: Any = "all") -> None:
    """Hold several devices to one, in sums and in state; something must be divided."""
    several = split(case, batch, devices)
    assert any("rows" in where.spec for where in several.where.values())
    single = prepare(case.graph, case.state, case.data, batch, "xla")
    ours, theirs = several.run(order, batch), single.run(order, batch)
    assert distance(ours, theirs) <= bound * max(1, len(order) // batch)
    assert distance(several.state, single.state) <= bound


@pytest.mark.parametrize("kind", ["all", "residual", "activity"])
def test_layers_are_those_of_one_device(kind: str) -> None:
    """With ten units on two devices; "all": batch and layer normalization, dropout and noise."""
    made = layers_case(kind, "float64", watch=kind == "all")
    assert_same(made, shuffled(made.rows, 6), 16, 1e-9, 2)


def test_layers_in_float32() -> None:
    assert_same(layers_case("batch norm", "float32"), shuffled(50, 2)[:96], 16, 1e-4, 2)


@pytest.mark.one_in(6)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_are_those_of_one_device(name: str) -> None:
    """Eight devices, with norms of all gradients, of columns, and a last batch of seven rows."""
    made = optimizer_case(OPTIMIZERS[name], sizes=(5, 16, 8))
    assert_same(made, shuffled(made.rows, 6), 16, 1e-9)


def test_the_norm_of_gradients_is_that_of_all_devices() -> None:
    made = _case("relu", "mse", "clip_norm", "float64", (8, 16, 3))
    assert_same(made, shuffled(made.rows, 6), 16, 1e-9)


def test_each_device_holds_a_part(jax: Any) -> None:
    """The shards that lie on a device, and the memory of what the compiled loop returns."""
    made = _case("relu", "mse", "adam", "float64", (64, 128, 128, 8))
    program = split(made, 16)
    state, _ = program._put(np.zeros(len(program.sums)))
    held = dict.fromkeys(jax.devices(), 0)
    for array in state.values():
        for shard in array.addressable_shards:
            held[shard.device] += shard.data.nbytes
    total = sum(array.nbytes for array in made.state.values())
    assert total > 600_000  # weights, and two slots for each
    for size in held.values():
        assert total / 8 <= size < 1.01 * total / 8
    returned = program.codes[16].run.memory_analysis().output_size_in_bytes
    assert total / 8 <= returned < 1.02 * total / 8
    for name, found in program.codes[16].run.output_shardings[0][0].items():
        assert found.is_equivalent_to(program.where[name], made.state[name].ndim), name
    whole = prepare(made.graph, made.state, made.data, 16, Engine("xla", devices="all"))
    assert whole.codes[16].run.memory_analysis().output_size_in_bytes >= total


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((16, 24), (None, "rows")), ((16, 3), ("rows",)), ((24,), ("rows",)), ((7, 3), ()), ((), ()),
     ((0, 3), ()), ((2, 8, 3), (None, "rows"))],
)  # fmt: skip
def test_columns_are_divided_first_and_what_does_not_divide_stays_whole(
    shape: tuple[int, ...], axes: tuple[str | None, ...]
) -> None:
    program = split(_case("relu", "mse", "sgd", "float64", (8, 16, 3)), 8)
    where = program.placement.of_state(shape)
    assert tuple(where.spec) == axes
    assert math.prod(where.shard_shape(shape)) == math.prod(shape) // (8 if axes else 1)


def test_what_it_needs() -> None:
    made = _case("tanh", "mse", "sgd", "float64")

    def told(message: str, **options: Any) -> None:
        with pytest.raises(cr.OptionError, match=message):
            prepare(made.graph, made.state, made.data, 8, Engine(**options))

    told("shard='parameters' needs engine='xla', not 'native'", name="native", shard="parameters")
    told("shard='parameters' needs engine='xla', not 'auto'", shard="parameters")
    told("give devices='all' or a number", name="xla", shard="parameters")
    told("shard must be 'parameters', not 'rows'", name="xla", devices="all", shard="rows")


def test_fit_resume_and_predict(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(100, 6)), rng.normal(size=(100, 1))
    losses = []
    for more in ({}, {"devices": "all", "shard": "parameters"}):
        layers = [nn.Linear(6, 16, dtype="float64"), nn.BatchNorm(16, dtype="float64"), nn.Tanh(),
                  nn.Dropout(0.3), nn.Linear(16, 1, dtype="float64")]  # fmt: skip
        run = cr.fit(nn.Sequential(layers), (X, y), loss="mse", epochs=3, batch_size=16,
                     validation=0.2, engine="xla", progress=False, checkpoint=tmp_path / str(more),
                     **more)  # fmt: skip
        losses.append([record["val_loss"] for record in run.history])
        again = cr.resume(tmp_path / str(more), engine="xla", progress=False, **more)
        np.testing.assert_array_equal(run.predict(X), again.predict(X))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "train iris --hidden 8 --epochs 2 --engine xla --devices all --shard parameters --out r"
    monkeypatch.setattr(sys, "argv", ["chainrule", *words.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "accuracy" in capsys.readouterr().out
    assert 'shard = "parameters"' in (tmp_path / "r" / "config.toml").read_text()


def test_too_little_memory_is_told_with_the_sizes_of_a_part() -> None:
    """Of what lies on a device: an eighth of the parameters and of a slot, and all data."""
    x = cr.input("x", ("n", 1000))
    w, m = (cr.input(name, (1000, 800)) for name in ("parameter/w", "m/w"))
    drawn = cr.uniform((x @ w).sum().astype("int64"), (2**22, 2), 0)
    huge = (drawn @ drawn.transpose(1, 0)).max() + (drawn @ drawn.transpose(1, 0)).sum()
    leaves = {"x": x, "parameter/w": w, "m/w": m}
    graph = Graph({"parameter/w": w * 1.0, "m/w": m * huge, "loss": huge.astype("float64")}, leaves)
    state = {name: np.ones((1000, 800), "float32") for name in ("parameter/w", "m/w")}
    engine = Engine("xla", devices="all", shard="parameters")
    program = prepare(graph, state, {"x": np.ones((256, 1000), "float32")}, 256, engine)
    message = (
        "memory: it is given 0.4 MB of parameters, 0.4 MB of state of the optimizer, 1.0 MB of "
        "data, .* shard='parameters'"
    )
    with pytest.raises(cr.RunError, match=message):
        program.run(np.arange(256), 256)
    assert program.state["parameter/w"].sum() == 800_000  # as it was
