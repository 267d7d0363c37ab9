"""Reverse mode on whole graphs: the chain rule over every shape a graph can take."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.core.graph import Graph
from chainrule.core.primitive import lookup
from chainrule.core.tensor import Tensor, record
from chainrule.transform.grad import pull_back


def test_higher_orders() -> None:
    x = cr.tensor(np.float64(0.7))
    slope: Tensor = cr.sin(x) * cr.exp(x)
    # d^k/dx^k of sin(x) exp(x) = sqrt(2)^k exp(x) sin(x + k pi / 4)
    for order in range(1, 6):
        slope = cr.grad(slope, x)
        want = math.sqrt(2) ** order * math.exp(0.7) * math.sin(0.7 + order * math.pi / 4)
        assert slope.item() == pytest.approx(want, rel=1e-12)


def test_a_hessian_by_rows() -> None:
    a = np.random.default_rng(0).normal(size=(4, 4))
    x = cr.tensor(np.random.default_rng(1).normal(size=4))
    slope = cr.grad(x @ a @ x, x)
    rows = [cr.grad(slope[i], x).numpy() for i in range(4)]
    np.testing.assert_allclose(rows, a + a.T, rtol=1e-12)


def test_an_input_the_output_does_not_depend_on_is_named() -> None:
    x, w = cr.tensor(3.0), cr.tensor([1.0, 2.0])
    loss = (w * x).sum()
    w = w - 0.1
    for derive in (cr.grad, cr.hessian, cr.jacobian):
        with pytest.raises(cr.GraphError, match=r"the output, .*does not depend on 'w', f32\[2\]"):
            derive(loss, w)  # type: ignore[operator]
    with pytest.raises(cr.GraphError, match=r"test_grad.py:\d+, does not depend on 'bias'"):
        cr.grad(loss, cr.Parameter((2,), lambda shape, rng: np.zeros(shape), name="bias"))
    with pytest.raises(cr.GraphError, match=r"does not depend on inputs\[1\], f32\[\].*test_grad"):
        cr.grad(loss, [x, cr.tensor(2.0)])
    cut = cr.tensor(float(x)) * 2
    with pytest.raises(cr.GraphError, match=r"'x'.* did float\(\), .* break the graph"):
        cr.grad(cut, x)
    with pytest.raises(cr.OptionError, match="unused must be 'error' or 'zero', not 'none'"):
        cr.grad(loss, w, unused="none")  # type: ignore[call-overload]
    assert cr.hessian((x * 2).sum(), x).item() == 0  # the slope depends on nothing, x was used
    assert cr.jacobian(loss, w, unused="zero").numpy().tolist() == [0, 0]
    assert cr.hessian(loss, w, unused="zero").numpy().tolist() == [[0, 0], [0, 0]]


def test_what_the_output_does_not_depend_on_has_slope_zero_for_who_asks_so() -> None:
    x, y = cr.tensor(np.ones((2, 3))), cr.input("y", ("n", 3))
    to_x, to_y = cr.grad(cr.tensor(2.0) * 3, [x, y], unused="zero")
    assert to_x.dtype == np.float64
    np.testing.assert_array_equal(to_x.numpy(), np.zeros((2, 3)))
    assert to_y.shape == y.shape
    floored = cr.grad(cr.floor(x).sum(), x)
    np.testing.assert_array_equal(floored.numpy(), np.zeros((2, 3)))


def test_diamonds_and_a_node_used_twice() -> None:
    x = cr.tensor(np.float64(3.0))
    assert cr.grad(x * x, x).item() == 6
    assert cr.grad(x + x, x).item() == 2
    assert cr.grad(x - x, x).item() == 0
    shared = x * 2
    left, right = shared * shared, shared + 1
    assert cr.grad(left * right + shared, x).item() == pytest.approx(24 * 9 + 8 * 3 + 2)


def test_a_deep_diamond_visits_each_node_once() -> None:
    x = cr.tensor(np.float64(1.0))
    y = x
    for _ in range(60):  # 2**60 paths
        y = y + y
    assert cr.grad(y, x).item() == 2.0**60


def test_slopes_to_what_stands_between() -> None:
    x = cr.tensor(np.float64(0.5))
    y = cr.exp(x)
    z = y * y + x
    to_z, to_y, to_x = cr.grad(z, [z, y, x])
    assert to_z.item() == 1
    assert to_y.item() == pytest.approx(2 * math.exp(0.5))
    assert to_x.item() == pytest.approx(2 * math.exp(1.0) + 1)


def test_one_input_asked_for_twice() -> None:
    x = cr.tensor(2.0)
    assert [s.item() for s in cr.grad(x * x, [x, x])] == [4, 4]
    assert cr.grad(x * x, []) == []


def test_stop_gradient_stops_every_order() -> None:
    x = cr.tensor(2.0)
    held = cr.grad(cr.stop_gradient(x * x) * x, x)
    assert held.item() == 4
    assert cr.grad(held, x).item() == 0


def test_what_cannot_be_differentiated_is_named() -> None:
    x = cr.tensor([1.0, 2.0])
    with pytest.raises(cr.ShapeError, match=r"grad needs a scalar, but the output is f32\[2\]"):
        cr.grad(x, x)
    with pytest.raises(cr.DTypeError, match=r"grad needs a float output, not i64\[\]"):
        cr.grad(cr.tensor([1, 2]).sum(), x)
    n = cr.tensor([1, 2])
    with pytest.raises(cr.DTypeError, match=r"only float tensors have gradients, not i64\[2\]"):
        cr.grad((x * n).sum(), n)
    with pytest.raises(cr.ShapeError, match=r"output's shape \(2,\), not \(3,\)"):
        pull_back(x, cr.tensor([1.0, 2.0, 3.0]), [x])


def test_a_rule_that_fails_names_its_primitive_and_line() -> None:
    def broken(g: Tensor, out: Tensor, x: Tensor) -> tuple[Any]:
        raise ZeroDivisionError("oh")

    x = cr.tensor(1.0)
    y = record(replace(lookup("tanh"), vjp=broken), x)
    with pytest.raises(cr.GraphError, match=r"rule of 'tanh', recorded at .*test_grad.py:.*oh"):
        cr.grad(y, x)


def test_pull_back_is_the_vector_jacobian_product() -> None:
    rng = np.random.default_rng(0)
    a, x, g = rng.normal(size=(3, 4)), cr.tensor(rng.normal(size=4)), rng.normal(size=3)
    (slope,) = pull_back(cr.sin(a @ x), cr.tensor(g), [x])
    jacobian = np.cos(a @ x.numpy())[:, None] * a
    np.testing.assert_allclose(slope.numpy(), g @ jacobian, rtol=1e-12)


@pytest.mark.parametrize("rows", [1, 5, 0])
def test_one_gradient_graph_serves_every_number_of_rows(rows: int) -> None:
    x, w = cr.input("x", ("n", 3), "float64"), cr.input("w", (3, 2), "float64")
    b = cr.input("b", (2,), "float64")
    out = cr.softmax(cr.tanh(x @ w + b))
    loss = (out * x[:, :2]).sum() + cr.sum(x * x, 1).sum() + cr.concat([x, x], 1).sum()
    to_x, to_w, to_b = cr.grad(loss, [x, w, b])
    graph = Graph({"loss": loss.node, "x": to_x.node, "w": to_w.node, "b": to_b.node})
    cr.verify(graph)
    rng = np.random.default_rng(rows)
    given = {
        "x": rng.normal(size=(rows, 3)), "w": rng.normal(size=(3, 2)), "b": rng.normal(size=2)
    }  # fmt: skip
    slopes = cr.evaluate(graph, given)
    for name in given:
        direction = rng.normal(size=given[name].shape)
        sides = [
            cr.evaluate(graph, {**given, name: given[name] + s * 1e-6 * direction})["loss"]
            for s in (1, -1)
        ]
        measured = (sides[0] - sides[1]) / 2e-6
        assert np.sum(slopes[name] * direction) == pytest.approx(measured, rel=1e-6, abs=1e-8)


def test_a_mean_over_any_number_of_rows() -> None:
    x = cr.input("x", ("n",), "float64")
    graph = Graph({"slope": cr.grad(cr.mean(x * x), x).node})
    for rows in (1, 4):
        value = np.arange(1.0, rows + 1)
        np.testing.assert_allclose(cr.evaluate(graph, {"x": value})["slope"], 2 * value / rows)
    assert cr.evaluate(graph, {"x": []})["slope"].shape == (0,)


def test_gathering_rows_of_any_number() -> None:
    table, ids = cr.input("table", ("n", 2), "float64"), cr.input("ids", ("k",), "int64")
    slope = cr.grad((cr.gather(table, ids) ** 2).sum(), table)
    graph = Graph({"slope": slope.node})
    cr.verify(graph)
    value = np.arange(6.0).reshape(3, 2)
    have = cr.evaluate(graph, {"table": value, "ids": [2, 2, 0]})["slope"]
    np.testing.assert_array_equal(have, 2 * value * [[1], [0], [2]])


# --- graphs drawn at random ------------------------------------------------------------------

Step = tuple[int, int, int]
STEPS: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / (1 + b * b),
    lambda a, b: cr.tanh(a),
    lambda a, b: cr.sigmoid(a) * b,
    lambda a, b: cr.sin(a + b),
    lambda a, b: cr.exp(cr.tanh(a)),
    lambda a, b: cr.sqrt(1 + a * a),
    lambda a, b: cr.tanh(a) @ cr.tanh(b),
    lambda a, b: cr.softmax(a) * b,
    lambda a, b: a.T,
    lambda a, b: a.sum(0, keepdims=True) + b,
    lambda a, b: cr.broadcast_to(cr.logsumexp(a, 1, keepdims=True), (3, 3)) - b,
    lambda a, b: cr.pad(a[1:, :2], [(0, 1), (1, 0)]),
    lambda a, b: cr.concat([a[:1], b[1:]]),
    lambda a, b: cr.gather(a, [2, 0, 0]),
    lambda a, b: cr.scatter_add(a, [1, 1, 2], 3),
    lambda a, b: a.reshape(9)[:: -1 + 2].reshape(3, 3),
    lambda a, b: cr.softplus(a) + cr.gelu(b),
    lambda a, b: cr.stop_gradient(cr.floor(cr.tanh(a) + 0.5)) + b,
]


def _build(steps: list[Step], *leaves: Tensor) -> Tensor:
    values = list(leaves)
    for which, i, j in steps:
        values.append(STEPS[which](values[i % len(values)], values[j % len(values)]))
    return cr.tanh(sum(values[1:], values[0]))


_step = st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 30), st.integers(0, 30))


@settings(max_examples=60)
@given(st.lists(_step, min_size=1, max_size=9), st.integers(0, 2**16))
def test_random_graphs(steps: list[Step], seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrays = [rng.uniform(-1, 1, (3, 3)), rng.uniform(-1, 1, (3, 1)) + np.zeros((3, 3))]
    cr.check_grads(lambda *t: _build(steps, *t), arrays, order=1, seed=seed, tolerance=1e-4)
    leaves = [cr.tensor(a) for a in arrays]
    loss = _build(steps, *leaves).sum()
    slopes = cr.grad(loss, leaves)
    second = cr.grad(sum(((s * s).sum() for s in slopes), cr.tensor(np.float64(0))), leaves)
    cr.verify(Graph({str(i): s.node for i, s in enumerate([loss, *slopes, *second])}))


def test_numbers_have_no_gradient_and_the_way_out_is_named() -> None:
    x = cr.tensor(2.0)
    for output, inputs in ((3.0, x), (x * x, 3.0), (x * x, [x, np.ones(2)])):
        with pytest.raises(cr.GraphError, match=r"grad needs tensors, not .*: leave out float"):
            cr.grad(output, inputs)  # type: ignore[call-overload]
    slopes = cr.grad(x * x, {"x": x}.values())  # type: ignore[call-overload]
    assert [s.item() for s in slopes] == [4.0]
