"""The engine on a GPU is the interpreter.  Skipped without a GPU; GPU_TESTS_ON=cpu tries the tests.

With a GPU: pytest -m gpu.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.run.program import Engine, prepare
from tests.run.agreement import distance, shuffled
from tests.run.test_native import _case
from tests.run.test_native_layers import case as layers_case

pytestmark = [pytest.mark.xla, pytest.mark.gpu]


@pytest.fixture(scope="module", autouse=True)
def device() -> Any:
    jax = pytest.importorskip("jax", reason="JAX is not installed: make xla")
    found = jax.devices()[0]
    if found.platform != os.environ.get("GPU_TESTS_ON", "gpu"):
        pytest.skip(f"JAX finds no GPU, only {found.device_kind}: pip install 'jax[cuda13]'")
    return found


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-9), ("float32", 5e-3)])
def test_layers_are_those_of_the_reference(dtype: str, bound: float) -> None:
    case = layers_case("all", dtype)
    program, reference = prepare(case.graph, case.state, case.data, 10, "xla"), case.reference()
    order = shuffled(case.rows, 2)
    assert distance(program.run(order, 10), reference.run(order, 10)) <= bound * 10
    assert distance(program.state, reference.state) <= bound


def test_random_numbers_are_the_same_to_the_last_bit() -> None:
    graph = cr.Graph({"u": cr.uniform(cr.tensor(7, "int64"), (1001, 33), 5)})
    found = cr.evaluate(graph, engine="xla")["u"]
    np.testing.assert_array_equal(found, cr.evaluate(graph)["u"])


def test_products_are_not_rounded_to_fewer_bits_unless_asked() -> None:
    a = np.random.default_rng(0).normal(size=(512, 512)).astype("float32")
    x = cr.input("x", (512, 512))
    found = cr.evaluate(cr.Graph({"y": x @ x}), {"x": a}, engine="xla")["y"]
    assert np.abs(found - a.astype(float) @ a).max() < 1e-3  # TensorFloat32 is off by 1e-2


def test_bf16_and_all_devices_train() -> None:
    case = _case("tanh", "cross_entropy", "adam", "float32", (8, 16, 3))
    usual = prepare(case.graph, case.state, case.data, 8, "xla")
    options = Engine("xla", devices=1, shard="parameters", precision="bf16")
    brief = prepare(case.graph, case.state, case.data, 8, options)
    order = shuffled(23, 5)
    losses = [program.run(order, 8)["loss"] for program in (usual, brief)]
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def test_what_does_not_fit_is_told_with_sizes() -> None:
    x = cr.input("x", ("n",))
    graph = cr.Graph({"y": cr.broadcast_to(x.sum(), (2**24, 2**23))})
    with pytest.raises(cr.RunError, match=r"memory: it is given 0.0 MB of arrays, and XLA"):
        cr.evaluate(graph, {"x": np.ones(3)}, engine="xla")
