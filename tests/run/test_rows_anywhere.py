"""Graphs in which rows stand on any axis, or on two, run natively and agree."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.spec import Dim
from chainrule.run.llvm import by_rows
from chainrule.run.program import Engine, prepare, prepare_function

Make = Callable[[cr.Tensor, cr.Tensor], cr.Tensor]

NAMED: dict[str, Make] = {
    "a column less a row": lambda x, y: x[:, 1:2] - x[:, 0],
    "a product of rows with rows": lambda x, y: x @ x.T,
    "an outer product": lambda x, y: y[:, None] * y[None, :],
    "distances": lambda x, y: cr.exp(-cr.square(x[:, None, :] - x[None, :, :]).sum(2)),
    "means of an outer product": lambda x, y: (y[:, None] * y[None, :]).mean(1),
    "a column, turned twice": lambda x, y: x.T[0],
    "columns, turned and joined": lambda x, y: cr.concat([x.T, x.T[0:1]], 0).T,
    "ranks": lambda x, y: (y[:, None] < y[None, :]).astype("float64").sum(1),
    "attention": lambda x, y: cr.softmax(x @ x.T) @ x,
    "one row of rows": lambda x, y: (y[None, :] * 2).reshape(y.shape),
    "the largest of each": lambda x, y: cr.max(x.T * 2, 0),
}


def _agrees(made: cr.Tensor, x: cr.Tensor, y: cr.Tensor, rows: int) -> None:
    """Hold values, and a gradient, of native code to the reference interpreter."""
    rng = np.random.default_rng(rows)
    values = {"x": rng.normal(size=(rows, 3)), "y": rng.normal(size=rows)}
    outputs = {"out": made} if made.shape[:1] == x.shape[:1] else {}
    outputs["total"] = cr.tanh(made).sum()
    outputs["slope"] = cr.grad(outputs["total"], x, unused="zero")
    graph = cr.Graph(outputs, {"x": x, "y": y})
    found = prepare_function(graph, {"x", "y"}, engine="native")(values)
    for name, expected in cr.evaluate(graph, values).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-9, err_msg=name)


def _leaves() -> tuple[cr.Tensor, cr.Tensor]:
    return cr.input("x", ("n", 3), "float64"), cr.input("y", ("n",), "float64")


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("rows", [1, 5])
def test_rows_on_another_axis_agree(name: str, rows: int) -> None:
    x, y = _leaves()
    _agrees(NAMED[name](x, y), x, y, rows)


def test_a_result_with_a_column_for_each_row_is_computed_whole() -> None:
    x, y = _leaves()
    graph = cr.Graph({"out": y[:, None] - y, "sum": x.sum()}, {"x": x, "y": y})
    function = prepare_function(graph, {"x", "y"}, engine="native")
    for many in (np.linspace(0, 1, 1100), np.ones(1), np.zeros(0)):  # more than pieces have
        found = function({"x": np.ones((len(many), 3)), "y": many})
        np.testing.assert_array_equal(found["out"], many[:, None] - many)
        assert found["sum"] == 3 * len(many)
    with pytest.raises(cr.ShapeError, match="y"):
        function({"x": np.ones((2, 3)), "y": np.ones(3)})


def test_numbers_of_rows_that_differ_are_refused() -> None:
    x, z = cr.input("x", ("n", 3)), cr.input("z", ("m", 3))
    function = prepare_function(cr.Graph({"out": x @ z.T}), {"x", "z"}, engine="native")
    with pytest.raises(cr.ShapeError, match="different numbers of rows: x 5, z 2"):
        function({"x": np.ones((5, 3)), "z": np.ones((2, 3))})


def test_the_memory_of_few_numbers_of_rows_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_rows, "MOST_CALLERS", 2)
    x, _ = _leaves()
    function = by_rows.FunctionByRows(cr.Graph({"out": x @ x.T}))
    for rows in (1, 2, 3, 1):
        values = np.random.default_rng(rows).normal(size=(rows, 3))
        np.testing.assert_allclose(function({"x": values})["out"], values @ values.T, rtol=1e-12)
    assert list(function.codes.callers) == [3, 1]


def test_a_function_by_rows_is_frozen_and_pickled() -> None:
    x, _ = _leaves()
    w = cr.Parameter(3, nn.Constant(1.0), "float64")
    graph = cr.Graph({"out": x @ x.T * (x * w).sum(1)})
    values = {"x": np.random.default_rng(0).normal(size=(4, 3))}
    expected = cr.evaluate(graph, values)["out"]
    function = prepare_function(graph, {"x"}, engine="native")
    np.testing.assert_allclose(function(values)["out"], expected, rtol=1e-12)
    frozen = prepare_function(graph, {"x"}, engine="native", frozen=True)
    copied = pickle.loads(pickle.dumps(frozen))
    w.value = np.full(3, 2.0)
    for kept in (frozen, copied):
        np.testing.assert_allclose(kept(values)["out"], expected, rtol=1e-12)
    again = prepare_function(graph, {"x"}, engine="native")(values)["out"]
    np.testing.assert_allclose(again, 2 * expected, rtol=1e-12)


def _drawn(rng: np.random.Generator, x: cr.Tensor, y: cr.Tensor) -> cr.Tensor:
    """A random graph of what moves, joins, multiplies and reduces rows on any axis."""
    pool = [x, y, x.T, y[:, None], y[None, :]]
    for _ in range(int(rng.integers(2, 6))):
        a, b = (pool[i] for i in rng.integers(0, len(pool), 2))
        ways: list[Callable[[], Any]] = [
            lambda a=a: cr.tanh(a), lambda a=a: a.T, lambda a=a: 2 * a, lambda a=a, b=b: a - b,
            lambda a=a, b=b: cr.where(a > b, a, 0.5 * b), lambda a=a, b=b: a @ b,
            lambda a=a: a.sum(int(rng.integers(-1, a.ndim))), lambda a=a: a[None],
            lambda a=a: a.mean(-1, keepdims=True), lambda a=a: cr.max(a, 0),
            lambda a=a: a[..., None],
            lambda a=a, b=b: cr.concat([a, b], int(rng.integers(0, a.ndim))),
            lambda a=a: a[0:1], lambda a=a: a[:, 0], lambda a=a: a[[0, 0]],
            lambda a=a: cr.softmax(a), lambda a=a: a.reshape(-1), lambda a=a: cr.square(a),
        ]  # fmt: skip
        try:
            made = ways[int(rng.integers(0, len(ways)))]()
        except (cr.ShapeError, cr.DTypeError, IndexError, ValueError):
            continue
        if made.ndim <= 3 and sum(isinstance(d, Dim) for d in made.shape) <= 2:
            pool.append(made)
    return pool[-1]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("seed", range(80))
def test_random_graphs_with_rows_anywhere_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = _leaves()
    _agrees(_drawn(rng, x, y), x, y, int(rng.integers(1, 6)))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_step_over_pairs_of_rows_trains_with_a_last_batch_of_fewer(threads: int) -> None:
    x, y = _leaves()
    w = cr.input("w", (3, 1), "float64")
    score = x @ w
    lead = cr.where(y[:, None] > y, score - score.T, 0.0)  # of each row over each other
    loss = cr.softplus(-lead).sum()
    outputs = {"loss": loss, "w": w - 0.01 * cr.grad(loss, w), "watch/lead": lead.sum()}
    graph = cr.Graph(outputs, {"x": x, "y": y, "w": w})
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(16, 3)), "y": rng.normal(size=16)}
    state = {"w": rng.normal(size=(3, 1))}
    engines = (Engine("native", threads), Engine("reference"))
    native, reference = (prepare(graph, state, data, 6, engine=e) for e in engines)
    order = np.random.default_rng(1).permutation(16)
    sums: list[dict[str, float]] = [{}, {}]
    for _ in range(5):  # 15 steps, of which 2 are watched
        sums = [p.run(order, 6, s) for p, s in zip((native, reference), sums, strict=True)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-12)
    np.testing.assert_allclose(native.state["w"], reference.state["w"], rtol=1e-12)
    with pytest.raises(cr.OptionError, match=r"1\.\.6"):
        native.run(order, 7)
    with pytest.raises(cr.RunError, match=r"outside 0\.\.15"):
        native.run(np.array([16]), 6)
    assert "matmul" in native.explain()
