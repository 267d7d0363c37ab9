"""Cases that once went wrong: layouts, reductions, ranges and races that plain networks miss."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.graph import Graph
from chainrule.core.spec import Dim
from chainrule.run.llvm.native import NativeFunction, NativeProgram
from chainrule.run.program import Engine, ReferenceProgram, prepare, prepare_function
from chainrule.run.reference import evaluate

RNG = np.random.default_rng(0)
ONE = Engine(threads=1)
X3 = RNG.normal(size=(7, 2, 3)).astype("f4")
X2 = RNG.normal(size=(7, 4)).astype("f4")


def agrees(output: cr.Tensor, data: dict[str, np.ndarray]) -> NativeFunction:
    graph = Graph({"y": output.node})
    native = NativeFunction(graph, set(data))
    expected = evaluate(graph, data)["y"]
    np.testing.assert_allclose(native(data)["y"], expected, rtol=1e-5, atol=1e-6)
    return native


@pytest.mark.parametrize("axes", [1, 2, (1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("kind", ["sum", "max"])
def test_reductions_over_some_inner_axes(axes: object, keepdims: bool, kind: str) -> None:
    x = cr.input("x", ("n", 2, 3))
    agrees(getattr(x, kind)(axes, keepdims=keepdims), {"x": X3})
    agrees(x - getattr(x, kind)(axes, keepdims=True), {"x": X3})


@pytest.mark.parametrize("axes", [0, (0, 1), (0, 2), (0, 1, 2)])
def test_reductions_over_rows_and_inner_axes(axes: object) -> None:
    x = cr.input("x", ("n", 2, 3))
    total = x.sum(axes)
    graph = Graph({"t": (total * total).sum().node})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = prepare(graph, {}, {"x": X3}, 7, ONE).run(np.arange(7), 7)["t"]
    expected = ReferenceProgram(graph, {}, {"x": X3}).run(np.arange(7), 7)["t"]
    assert found == pytest.approx(expected, rel=1e-5)


def test_row_numbers_and_winners_along_rows() -> None:
    x = cr.input("x", ("n", 4))
    rows = cr.arange(Dim("n"), "float32")
    assert agrees(x * rows.reshape(("n", 1)), {"x": X2}).code.left_to_reference() == []
    graph = Graph({"w": (cr.argmax(x, 0) * [1, 10, 100, 1000]).sum().node})
    program = prepare(graph, {}, {"x": X2}, 7, ONE)
    assert program.run(np.arange(7), 7)["w"] == evaluate(graph, {"x": X2})["w"]


LINEAR = {
    "mean": lambda o, y: o.mean(),
    "sum": lambda o, y: o.sum(),
    "rows": lambda o, y: o.sum(1),
}


@pytest.mark.parametrize("loss", LINEAR)
def test_losses_linear_in_the_last_layer(loss: str) -> None:
    ends = []
    for engine in ("native", "reference"):
        net = nn.Sequential([nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)])
        options = {"epochs": 3, "batch_size": 3, "progress": False, "engine": engine}
        cr.fit(net, (X2, np.zeros((7, 2))), loss=LINEAR[loss], optimizer="sgd", **options)
        ends.append(net[0].weight.value)
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-5, atol=1e-7)


def test_a_vector_repeated_to_a_matrix_is_a_matrix() -> None:
    v, w = cr.input("v", (6,)), cr.input("w", (6, 6))
    new = cr.tanh(cr.broadcast_to(v, (6, 6)) @ w)
    graph = Graph({"w": new.node, "v": v.node}, {"w": w.node, "v": v.node})
    state = {"w": RNG.normal(size=(6, 6)).astype("f4"), "v": RNG.normal(size=6).astype("f4")}
    programs = [NativeProgram(graph, state, {}, 1, 1), ReferenceProgram(graph, state, {})]
    for program in programs:
        program.run(np.arange(1), 1)
    np.testing.assert_allclose(programs[0].state["w"], programs[1].state["w"], rtol=1e-5)


def test_a_number_read_as_operand_is_not_overwritten_too_soon() -> None:
    a, b, s, x = (
        cr.input(name, shape)
        for name, shape in (("a", (50_000, 1)), ("b", (50_000, 1)), ("s", (1, 1)), ("x", ("n", 1)))
    )
    outputs = {"a": cr.tanh(b @ s) * x.sum(), "b": b, "s": s * 0.5}
    inputs = {"a": a.node, "b": b.node, "s": s.node, "x": x.node}
    graph = Graph({name: t.node for name, t in outputs.items()}, inputs)
    state = {
        "a": np.zeros((50_000, 1), "f4"),
        "b": RNG.normal(size=(50_000, 1)).astype("f4"),
        "s": np.ones((1, 1), "f4"),
    }
    data = {"x": np.ones((4, 1), "f4")}
    expected = ReferenceProgram(graph, state, data)
    expected.run(np.arange(4), 1)
    for _ in range(4):
        program = NativeProgram(graph, state, data, 1, 3)
        program.run(np.arange(4), 1)
        np.testing.assert_allclose(program.state["a"], expected.state["a"], rtol=1e-5)


ORDER = """
import sys
import numpy as np
import chainrule as cr
from chainrule.core.graph import Graph
from chainrule.run.llvm.native import NativeProgram
from chainrule.run.program import ReferenceProgram
leaves = {n: cr.input(n, ("n", 3 if n == "x" else 300)) for n in sys.argv[1]}
x, z, w = leaves["x"], leaves["z"], cr.input("w", (3, 300))
new = w + 0.1 * x.T @ z
graph = Graph({"w": new.node}, {"x": x.node, "z": z.node, "w": w.node})
rng = np.random.default_rng(0)
data = {"x": rng.normal(size=(40, 3)).astype("f4"), "z": rng.normal(size=(40, 300)).astype("f4")}
state = {"w": np.zeros((3, 300), "f4")}
ours, theirs = NativeProgram(graph, state, data, 8, 1), ReferenceProgram(graph, state, data)
for program in (ours, theirs):
    program.run(np.arange(40), 8)
np.testing.assert_allclose(ours.state["w"], theirs.state["w"], rtol=1e-4, atol=1e-5)
"""


def test_code_on_disk_fits_the_order_in_which_leaves_were_made(tmp_path: Path) -> None:
    environment = {**os.environ, "CHAINRULE_CACHE": str(tmp_path)}
    for order in ("xz", "zx", "xz"):
        command = [sys.executable, "-c", ORDER, order]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_rows_of_the_wrong_shape_are_refused() -> None:
    x = cr.input("x", ("n", 3))
    function = prepare_function(Graph({"y": (x * 2).node}), ["x"])
    with pytest.raises(cr.ShapeError, match="'x' has length 2"):
        function({"x": np.ones((4, 2), "f4")})
    with pytest.raises(cr.GraphError, match="neither a scalar nor an array of rows"):
        prepare_function(Graph({"y": x.sum(0).node}), ["x"])


def test_steps_are_watched_alike_however_many_one_call_takes() -> None:
    x = cr.input("x", ("n", 4))
    watched = cr.tensor(1.0).node
    odd = cr.gather(x, [0]).sum()  # left to the interpreter, which stops every step
    for total in (x.sum(), x.sum() + odd):
        graph = Graph({"total": total.node, "watch/steps": watched}, {"x": x.node})
        counts = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for program in (
                prepare(graph, {}, {"x": X2}, 1, ONE),
                ReferenceProgram(graph, {}, {"x": X2}),
            ):
                calls = [program.run(np.arange(7), 1)["watch/steps"] for _ in range(4)]
                single = prepare(graph, {}, {"x": X2}, 1, ONE)
                each = [single.run(np.arange(1), 1).get("watch/steps", 0.0) for _ in range(28)]
                counts += [calls, [sum(each)]]
        assert [sum(c) for c in counts] == [3.0] * 4


def test_negated_bytes_are_summed_as_they_wrap() -> None:
    x = cr.input("x", ("n",), "uint8")
    graph = Graph({"t": (-x).sum().node})
    data = {"x": np.array([1, 2], np.uint8)}
    program = prepare(graph, {}, data, 2, ONE)
    assert program.run(np.arange(2), 2)["t"] == 509 == evaluate(graph, data)["t"]
