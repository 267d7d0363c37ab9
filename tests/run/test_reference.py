"""The reference interpreter: values by name in, values by name out, and errors that say where."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.graph import Graph, scope
from chainrule.run.reference import Interpreter


def _zeros(shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    return np.zeros(shape)


def test_one_graph_runs_with_any_number_of_rows() -> None:
    x = cr.input("x", ("n", 3))
    run = Interpreter(Graph({"sum": x.sum(0).node, "mean": x.mean().node, "twice": (x * 2).node}))
    for rows in (1, 5, 2):
        value = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
        out = run({"x": value})
        np.testing.assert_allclose(out["sum"], value.sum(0), rtol=1e-6)
        np.testing.assert_allclose(out["mean"], value.mean(), rtol=1e-5)
        np.testing.assert_array_equal(out["twice"], value * 2)
    out = run({"x": np.zeros((0, 3))})
    assert out["sum"].tolist() == [0, 0, 0]
    assert np.isnan(out["mean"])
    assert out["twice"].shape == (0, 3)


def test_outputs_are_arrays_of_the_declared_spec() -> None:
    x = cr.input("x", (2,))
    graph = Graph({"x": x.node, "first": x[0].node, "total": x.sum().node, "where": (x > 1).node})
    out = cr.evaluate(graph, {"x": [1, 2]})
    for name, node in graph.outputs.items():
        assert isinstance(out[name], np.ndarray)
        assert out[name].dtype == node.spec.dtype
        assert out[name].shape == node.spec.shape


def test_a_value_used_late_is_kept_until_then() -> None:
    x = cr.input("x")
    early = cr.exp(x)
    late = early
    for _ in range(5):
        late = late + 1
    graph = Graph({"late": (late * early + early).node, "early": early.node})
    out = cr.evaluate(graph, {"x": 0.0})
    assert out["late"] == 7.0
    assert out["early"] == 1.0


def test_one_node_may_be_an_input_under_two_names() -> None:
    x = cr.input("x", ())
    graph = cr.Graph({"y": 1 / (x + 2)}, {"x": x, "again": x})
    assert cr.evaluate(graph, {"x": 2.0, "again": 2.0})["y"] == 0.25


def test_parameters_default_to_their_value_and_may_be_given() -> None:
    w = cr.Parameter((2,), _zeros, name="w")
    graph = Graph({"y": (w + 1).node})
    assert cr.evaluate(graph)["y"].tolist() == [1, 1]
    w.value = [1, 2]
    assert cr.evaluate(graph)["y"].tolist() == [2, 3]
    assert cr.evaluate(graph, {"w": [5, 5]})["y"].tolist() == [6, 6]
    assert w.value.tolist() == [1, 2]


X = cr.input("x", ("n", 3))
Z = cr.input("z", ("n",), "int64")
GRAPH = Graph({"y": (X.sum(1) + Z).node})
GOOD = {"x": np.ones((2, 3)), "z": [1, 2]}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"xx": 1}, cr.GraphError, "no input 'xx'. Did you mean 'x'"),
        ({"x": np.ones(3)}, cr.ShapeError, r"'x' must have 2 axes, f32\[n,3\].*\(3,\)"),
        ({"x": np.ones((2, 4))}, cr.ShapeError, "'x' has length 4 along axis 1, .* needs 3"),
        ({"z": [1, 2, 3]}, cr.ShapeError, "'z' has length 3 along axis 0, .* needs 2"),
        ({"z": [1.0, 2.5]}, cr.DTypeError, "'z' must be int64, but was given float64"),
        ({"z": [1.0, np.nan]}, cr.DTypeError, "'z' must be int64, but was given float64"),
        ({"z": ["1", "2"]}, cr.DTypeError, "'z' must contain int64 numbers, not <U1"),
        ({"x": np.ones((2, 3)) * 1j}, cr.DTypeError, "contain float32 numbers, not complex"),
        ({"x": [[None] * 3] * 2}, cr.DTypeError, "'x' must contain float32 numbers, not object"),
    ],
)
def test_inputs_that_do_not_fit(change: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cr.evaluate(GRAPH, {**GOOD, **change})


def test_whole_numbers_may_come_as_floats_and_nothing_as_an_empty_list() -> None:
    assert cr.evaluate(GRAPH, {**GOOD, "z": [1.0, 2.0]})["y"].tolist() == [4, 5]
    assert cr.evaluate(GRAPH, {"x": np.ones((0, 3)), "z": []})["y"].tolist() == []


def test_a_missing_input_is_named() -> None:
    with pytest.raises(cr.GraphError, match=r"input 'z', i64\[n\], has no value"):
        cr.evaluate(GRAPH, {"x": GOOD["x"]})


def test_an_error_while_running_names_the_layer_and_the_line() -> None:
    with scope("embedding"):
        rows = cr.gather(cr.input("table", (4, 2)), cr.input("ids", ("n",), "int64"))
    graph = Graph({"rows": rows.node})
    with pytest.raises(
        cr.ShapeError, match=r"gather in layer 'embedding': index 7 at \(1,\).*test_reference.py:\d"
    ):
        cr.evaluate(graph, {"table": np.zeros((4, 2)), "ids": [0, 7]})


def test_a_length_that_no_input_decides_is_named() -> None:
    length = cr.input("x", ("n",)).shape[0]
    with pytest.raises(cr.ShapeError, match=r"arange: length n does not occur.*Recorded at"):
        cr.arange(length).numpy()


def test_no_warning_escapes_and_infinities_stay_visible() -> None:
    x = cr.tensor([-1.0, 0.0])
    assert cr.log(x).numpy().tolist()[1] == -np.inf
    assert np.isnan(cr.log(x).numpy()[0])
    assert (1 / x).numpy()[1] == np.inf
