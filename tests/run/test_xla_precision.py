"""Products of numbers rounded to bfloat16, added up in float32, around state in float32."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.cli import main
from chainrule.core.graph import Graph
from chainrule.core.primitive import Primitive
from chainrule.core.tensor import record
from chainrule.data.builtin import load
from chainrule.run.program import Engine, Program, prepare
from tests.run.agreement import Array, Case, distance, shuffled, training
from tests.run.test_native import _case
from tests.run.test_native_layers import case as layers_case

pytestmark = pytest.mark.xla
BF16 = Engine("xla", precision="bf16")
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module", autouse=True)
def jax() -> Any:
    return pytest.importorskip("jax", reason="JAX is not installed: make xla")


def rounded(array: Array) -> Array:
    """Return float32 numbers rounded to 8 bits, to even, as bfloat16 has them, in float64."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
    even = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return even.astype(np.uint32).view(np.float32).astype(np.float64)


def run(case: Case, engine: Engine | str = BF16, batch: int = 16, order: Any = None) -> Program:
    """Run an epoch, or `order`, in batches and return the program."""
    program = prepare(case.graph, case.state, case.data, batch, engine)
    program.run(np.arange(case.rows) if order is None else order, batch)
    return program


def _linear() -> tuple[Case, Array, Array, Array]:
    """Return a step of least squares in float32, with X, Y and the weight; the bias is 0."""
    X, Y = (RNG.normal(size=(64, n)).astype("float32") for n in (200, 3))
    model = nn.Sequential([nn.Linear(200, 3)])
    nn.initialize(model, 0)
    W = nn.parameters(model)["0.weight"].value.copy()
    return training(model, "mse", optim.SGD(0.1), X, Y, ()), X, Y, W


def test_the_products_of_a_step_and_of_its_gradient_are_rounded_and_no_sums() -> None:
    case, X, Y, W = _linear()
    program = run(case, batch=64)
    output = rounded(X) @ rounded(W)
    slope = (2 * (output - Y) / Y.size).astype("float32")
    expected = W - 0.1 * (rounded(X).T @ rounded(slope))
    found = program.state["parameter/0.weight"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
    assert "products in bfloat16" in program.explain()


def test_products_are_added_up_in_float32(jax: Any) -> None:
    """As XLA is told; a processor computes so even if it is not."""
    factor = np.ones((2, 2), jax.numpy.bfloat16)
    wrapped = import_module("chainrule.run.xla.traced").Traced
    told = str(jax.make_jaxpr(lambda a: np.matmul(wrapped(a), wrapped(a)).value)(factor))
    assert "preferred_element_type=float32" in told
    assert told.count("f32[2,2] = dot_general") == 1


def test_it_is_float32_but_for_the_rounding_of_bfloat16() -> None:
    case, _, _, W = _linear()
    ours, theirs = (
        run(case, engine, batch=64).state["parameter/0.weight"] - W for engine in (BF16, "xla")
    )
    gap = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert 1e-5 < gap < 2**-7


def test_products_of_several_axes_and_of_your_own_operations() -> None:
    own = Primitive(
        "shifted_product", infer=lambda a, b: a, product="matmul",
        meaning=lambda a, b: a @ b + np.exp(a),
    )  # fmt: skip
    x, w = cr.input("x", ("n", 5, 8)), cr.input("w", (8, 8))
    total = (record(own, x @ w, w)).sum()
    graph = Graph({"w": w * 1.0, "loss": total.astype("float64")}, {"x": x, "w": w})
    X, W = (RNG.normal(size=s).astype("float32") for s in ((6, 5, 8), (8, 8)))
    program = prepare(graph, {"w": W}, {"x": X}, 6, BF16)
    first = (rounded(X) @ rounded(W)).astype("float32")
    expected = (rounded(first) @ rounded(W) + np.exp(rounded(first))).sum()
    assert program.run(np.arange(6), 6)["loss"] == pytest.approx(expected, rel=1e-2)


def test_state_is_float32_and_masks_are_the_same() -> None:
    case = layers_case("all", "float32", watch=True)
    bf16, usual = run(case), run(case, "xla")
    assert {name: a.dtype for name, a in bf16.state.items()} == {
        name: a.dtype for name, a in usual.state.items()
    }
    assert {a.dtype.name for n, a in bf16.state.items() if n[:2] in ("pa", "m/", "v/")} == {
        "float32"
    }
    assert 0 < distance(bf16.state, usual.state) < 0.1


def test_with_several_devices_and_divided_parameters() -> None:
    case = _case("tanh", "cross_entropy", "sgd", "float32", (8, 16, 3))
    several = Engine("xla", devices="all", shard="parameters", precision="bf16")
    order = shuffled(23, 2)
    assert distance(run(case, several, 8, order).state, run(case, BF16, 8, order).state) < 1e-3


def test_digits_are_learned_as_well() -> None:
    digits = load("digits")
    accuracies = []
    for precision in (None, "bf16"):
        model = nn.Sequential([nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)])
        found = cr.fit(
            model, (digits.X / 16, digits.y), loss="cross_entropy", metrics=["accuracy"], epochs=12,
            validation=0.25, engine="xla", precision=precision, progress=False,
        )  # fmt: skip
        accuracies.append(found.history[-1]["val_accuracy"])
        assert all(p.value.dtype == np.float32 for p in nn.parameters(model).values())
    assert min(accuracies) > 0.93
    assert abs(accuracies[0] - accuracies[1]) < 0.02


def test_what_it_needs() -> None:
    def told(message: str, dtype: str = "float32", **options: Any) -> None:
        made = _case("tanh", "mse", "sgd", dtype)
        with pytest.raises(cr.OptionError, match=message):
            prepare(made.graph, made.state, made.data, 8, Engine(**options))

    for name in ("native", "reference", "auto"):
        told(f"precision='bf16' needs engine='xla', not '{name}'", name=name, precision="bf16")
    told("precision must be 'bf16', not 'fp8'", name="xla", precision="fp8")
    told("products of float32 numbers, and this step has none", "float64", name="xla",
         precision="bf16")  # fmt: skip


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def status(words: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["chainrule", *words.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    assert not status("train iris --hidden 8 --epochs 2 --engine xla --precision bf16 --out r")
    assert 'precision = "bf16"' in (tmp_path / "r" / "config.toml").read_text()
    assert status("train iris --hidden 8 --epochs 2 --precision bf16 --out s") == 2
    assert "precision='bf16' needs engine='xla', not 'auto'" in capsys.readouterr().err
