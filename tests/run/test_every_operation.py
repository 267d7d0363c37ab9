"""Every operation and every layer runs natively on any number of axes, and as the reference does.

The uses come from the registry, so that a new operation is tested, or fails here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.errors import ChainruleError
from chainrule.core.primitive import registry
from chainrule.run.llvm.code import NativeCode
from chainrule.transform.mode import for_predicting
from tests.nn.test_config import LAYERS
from tests.run.agreement import Case, assert_agree, shuffled
from tests.run.operations import ROWS, Array, N, drawn_uses, graph_of, reference, run_native

BOUND = {"float32": 1e-4, "float64": 1e-9}


def assert_native(graph: cr.Graph, given: Mapping[str, Array]) -> None:
    """Hold all outputs of `graph`, on one and on three threads, to those of the interpreter."""
    rows = {name for name, node in graph.inputs.items() if node.spec.shape[:1] == (N,)}
    code = NativeCode(graph, set(), rows, 8)
    assert not code.left_to_reference()
    alone, several = (run_native(code, given, ROWS, threads) for threads in (1, 3))
    for name, expected in reference(graph, given).items():
        bound = BOUND.get(expected.dtype.name, 0)
        shape = expected.shape
        np.testing.assert_allclose(
            alone[name].reshape(shape), expected, rtol=bound, atol=bound, err_msg=name
        )
        np.testing.assert_array_equal(several[name], alone[name])


@pytest.mark.thorough
@pytest.mark.parametrize("name", sorted(n for n, p in registry.items() if not p.leaf))
def test_an_operation_is_native_on_every_number_of_axes(name: str) -> None:
    tried = 0
    for use, dtype in drawn_uses(name):
        try:
            graph, given = graph_of(use, dtype)
        except cr.DTypeError:
            graph, given = graph_of(use, "bool" if name.startswith("logical") else "float64")
        try:
            reference(graph, given)
        except ChainruleError:
            continue  # it has no value there, as for an index out of range
        tried += 1
        try:
            assert_native(graph, given)
        except (AssertionError, KeyError, ValueError) as error:
            raise AssertionError(f"{use} of {dtype}: {error}") from error
    assert tried


def _shapes() -> Iterator[tuple[tuple[int, ...], str]]:
    for inner, last in itertools.product([(), (3,), (2, 3)], [None, 1, 2, 3, 4, 5, 6, 16, 32]):
        for dtype in ("float64", "float32", "int64"):
            yield (inner if last is None else (*inner, last)), dtype


@pytest.mark.thorough
@pytest.mark.parametrize("layer", LAYERS, ids=lambda e: type(e).__name__)
def test_a_layer_is_native_on_every_number_of_axes(layer: Any) -> None:
    """One shape of each number of axes that the layer takes, with its gradient."""
    nn.initialize(layer, 0)
    rng, met = np.random.default_rng(0), set()
    for shape, dtype in _shapes():
        if len(shape) in met:
            continue
        x = cr.input("x", (N, *shape), dtype)
        values = {"x": np.abs(rng.normal(size=(ROWS, *shape))).astype(dtype)}
        try:
            y = layer(x)
            slope = {"slope": cr.grad(cr.sin(y).sum(), x)} if dtype != "int64" else {}
            graph = for_predicting(cr.Graph({"y": y} | slope))
            reference(graph, values)
        except (ChainruleError, IndexError):
            continue
        met.add(len(shape))
        parameters = {
            name: node.params["parameter"].value
            for name, node in graph.inputs.items()
            if node.primitive.name == "parameter"
        }
        assert_native(graph, values | parameters)
    assert met


@pytest.mark.parametrize("rows", [(N,), (5,)], ids=str)
def test_what_is_empty_is_native(rows: tuple[Any, ...]) -> None:
    x, y = cr.input("x", (*rows, 3), "float64"), cr.input("y", (*rows, 0, 3), "float64")
    z, w = cr.input("z", (*rows, 0), "float64"), cr.input("w", (0, 4), "float64")
    v = cr.input("v", (3, 2), "float64")
    outputs = {
        "no terms": z @ w, "no results": (x @ v[:, :0]), "none of one axis": y @ v,
        "a sum of none": cr.exp(z).sum(1), "sums of no columns": cr.exp(z).sum(0),
        "gradient": cr.grad(cr.sin(y @ v).sum(), v), "joined": cr.concat([x, cr.exp(z)], 1),
        "padded": cr.pad(x[:, 1:1], [(0, 0), (1, 1)]),
    }  # fmt: skip
    lengths = ROWS
    given = {
        "x": np.ones((lengths, 3)), "y": np.ones((lengths, 0, 3)), "z": np.ones((lengths, 0)),
        "w": np.ones((0, 4)), "v": np.ones((3, 2)),
    }  # fmt: skip
    assert_native(cr.Graph(outputs, {"x": x, "y": y, "z": z, "w": w, "v": v}), given)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_index_out_of_the_rows_of_a_batch_is_an_error_that_names_it(threads: int) -> None:
    x, i = cr.input("x", (N, 3), "float64"), cr.input("i", (N,), "int64")
    graph = cr.Graph({"y": cr.gather(x * 2, i)}, {"x": x, "i": i})
    code = NativeCode(graph, set(), {"x", "i"}, 8)
    given = {"x": np.ones((ROWS, 3)), "i": np.array([0, 1, 5, 2, 3])}
    assert len(code.schedule.levels) == 2  # a barrier, as any thread may have computed the row
    with pytest.raises(cr.ShapeError, match="index 5 is out of range for 5 rows"):
        run_native(code, given, ROWS, threads)
    given["i"][2] = -5
    assert_native(graph, given)


def test_rows_are_picked_from_the_batch_in_the_order_of_a_shuffled_epoch() -> None:
    rng = np.random.default_rng(0)
    state = {"w": rng.normal(size=3)}
    data = {"x": rng.normal(size=(11, 3)), "i": rng.integers(-2, 2, 11)}
    x, i = cr.input("x", (N, 3), "float64"), cr.input("i", (N,), "int64")
    w = cr.input("w", (3,), "float64")
    loss = cr.sin(cr.gather(x, i) * w + cr.gather(x * w, i)).sum()
    outputs = {"loss": loss, "w": w - 0.1 * cr.grad(loss, w)}
    case = Case(cr.Graph(outputs, {"x": x, "i": i, "w": w}), state, data)
    assert not case.native(3).code.left_to_reference()
    for threads in (1, 3):
        assert_agree(case, shuffled(11, 4), 3, 1e-12, threads)
