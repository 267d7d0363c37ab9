"""Sparse products in machine code: the reference's numbers, the same bits on any threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.graph import Graph
from chainrule.core.spec import Dim
from chainrule.ops.sparse import Wiring, edge_products, sparse_matmul
from chainrule.run.llvm.emit import emit
from chainrule.run.llvm.gemm_plan import Target
from chainrule.run.llvm.sparse_code import rows_of_block
from chainrule.run.program import prepare_function
from tests.run.agreement import Case, assert_agree, shuffled


def _case(rows: int, inputs: int, outputs: int, density: float, dtype: str = "float64") -> Case:
    """Return a step of two sparse layers, there and back, with a bias, slopes and an update."""
    rng = np.random.default_rng(rows)
    mask = rng.random((inputs, outputs)) < density
    mask[0, 0] = True
    there, back = Wiring(inputs, outputs, *np.nonzero(mask)), Wiring(outputs, inputs, [0], [0])
    if outputs > 1:
        back = Wiring(outputs, inputs, *np.nonzero(~mask.T | mask.T[:, ::-1]))
    x = cr.input("x", (Dim("n"), inputs), dtype)
    state = {
        "parameter/a": rng.normal(size=there.edges) / 3,
        "parameter/b": rng.normal(size=back.edges) / inputs,
        "parameter/c": rng.normal(size=outputs),
    }
    state = {name: value.astype(dtype) for name, value in state.items()}
    leaves = {name: cr.input(name, value.shape, dtype) for name, value in state.items()}
    a, b, c = leaves.values()
    h = cr.tanh(sparse_matmul(x, a, there) + c)
    y = sparse_matmul(h, b, back)
    loss = cr.square(y - cr.tanh(x)).mean()
    slopes = cr.grad(loss, list(leaves.values()))
    outputs_of: dict[str, Any] = {"loss": loss.node}
    for (name, leaf), slope in zip(leaves.items(), slopes, strict=True):
        outputs_of[name] = (leaf - 0.1 * slope).node
    inputs_of = {"x": x.node, **{name: leaf.node for name, leaf in leaves.items()}}
    data = {"x": rng.normal(size=(rows, inputs)).astype(dtype)}
    return Case(Graph(outputs_of, inputs_of), state, data)


# rows, inputs, outputs, density, batch: one edge; lone columns; parts of vectors, of blocks
# of rows and of batches; more inputs than one block of rows may keep in the cache
SIZES = [
    (10, 1, 1, 1.0, 4), (10, 5, 1, 1.0, 4), (7, 3, 2, 0.5, 3), (20, 33, 17, 0.3, 20),
    (150, 100, 40, 0.1, 70), (90, 260, 65, 0.05, 90), (5, 4000, 3, 0.05, 5),
]  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("threads", [1, 2])
def test_agrees_with_the_reference(sizes: Any, threads: int) -> None:
    *shape, batch = sizes
    case = _case(*shape)
    assert not case.native(batch).code.left_to_reference()
    assert_agree(case, shuffled(sizes[0], 3), batch, 1e-11, threads)


@pytest.mark.parametrize("sizes", [SIZES[4], SIZES[5]])
def test_any_number_of_threads_computes_the_same_bits(sizes: Any) -> None:
    *shape, batch = sizes
    case, order = _case(*shape, dtype="float32"), shuffled(sizes[0], 3)
    states = []
    for threads in (1, 2, 3):
        program = case.native(batch, threads)
        program.run(order, batch)
        states.append({name: array.tobytes() for name, array in program.state.items()})
    assert states[0] == states[1] == states[2]


@pytest.mark.parametrize("width", [4, 16])
def test_registers_of_other_widths(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    registers = Target(width=width, registers=16)
    monkeypatch.setattr("chainrule.run.llvm.code.host_target", lambda: registers)
    case = _case(90, 260, 65, 0.05)
    assert_agree(case, shuffled(90, 2), 90, 1e-11)
    single = _case(90, 260, 65, 0.05, "float32")
    assert_agree(single, shuffled(90, 2), 90, 1e-4)


def test_products_without_a_batch_and_slopes_alone() -> None:
    """Rows of a fixed number, a single row too, and products of edges that no update follows."""
    rng = np.random.default_rng(0)
    wiring = Wiring(9, 4, *np.nonzero(rng.random((9, 4)) < 0.5))
    for rows in (1, 21):
        fixed = rng.normal(size=(rows, 9))
        w, x = cr.input("w", (wiring.edges,), "float64"), cr.input("x", (Dim("n"), 9), "float64")
        y = sparse_matmul(fixed, w, wiring)
        p = edge_products(fixed, y, wiring) + 2 * w
        graph = Graph({"w": p.node, "z": x.sum().node}, {"w": w.node, "x": x.node})
        case = Case(graph, {"w": rng.normal(size=wiring.edges) / 9}, {"x": rng.normal(size=(3, 9))})
        assert not case.native(3).code.left_to_reference()
        for threads in (1, 2):
            assert_agree(case, shuffled(3, 2), 3, 1e-12, threads)


def test_a_function_of_rows() -> None:
    rng = np.random.default_rng(0)
    wiring = Wiring(12, 10, *np.nonzero(rng.random((12, 10)) < 0.5))
    x, weight = cr.input("x", ("n", 12)), rng.normal(size=wiring.edges).astype("float32")
    graph = Graph({"output": cr.relu(sparse_matmul(x, weight, wiring)).node}, {"x": x.node})
    function = prepare_function(graph, {"x"}, engine="native")
    for rows in (1, 3, 64, 1500):
        X = rng.normal(size=(rows, 12)).astype("float32")
        expected = cr.evaluate(graph, {"x": X})["output"]
        np.testing.assert_allclose(function({"x": X})["output"], expected, rtol=1e-5, atol=1e-6)


def test_code_is_no_longer_for_more_edges() -> None:
    lengths = []
    for density in (0.06, 0.9):
        case = _case(8, 300, 64, density)
        code = case.native(8).code
        parts = (code.kernels, code.schedule, set(case.state), set(case.data), 8, Target())
        lengths.append(len(str(emit(*parts)[0])))
    assert abs(lengths[1] - lengths[0]) < 0.1 * lengths[0]  # a last vector that is short


def test_blocks_of_rows_fit_the_cache() -> None:
    target = Target(width=8, l2=512 * 1024)
    assert rows_of_block(2048, 4, 8, 1000, target) == 32
    assert rows_of_block(100, 4, 8, 1000, target) == 64
    assert rows_of_block(100, 4, 8, 10, target) == 16
    assert rows_of_block(10**6, 4, 8, 1000, target) == 8


def test_rows_that_are_only_reshaped() -> None:
    """Flattened images: the product and its gradient read them where they are."""
    X = np.random.default_rng(0).normal(size=(40, 2, 3)).astype("float32")
    weights = []
    for engine in ("native", "reference"):
        layer = nn.SparseLinear.from_mask(np.eye(6, 4, dtype=bool) | (np.arange(4) > 2))
        model = nn.Sequential([nn.Flatten(), layer])
        cr.fit(
            model, (X, X.reshape(40, 6)[:, :4]), loss="mse", epochs=2, engine=engine, progress=False
        )
        weights.append(layer.weight.value)
    np.testing.assert_allclose(*weights, rtol=1e-4, atol=1e-6)
