"""Random steps: whatever operations are put together, native code gives what the reference gives.

What has no form for any number of rows is compiled for each number of rows.  Any
exception is a bug, and so is a difference above 1e-8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.core.graph import Graph, Node
from chainrule.core.spec import Dim
from chainrule.run.program import Engine, prepare
from tests.run.agreement import Case, distance, shuffled

ROWS = Dim("n")
LENGTHS = [1, 2, 3, 4, 5, 8, 9, 17, 65]
# Bounded on any argument, so that three steps can't turn a rounding into a difference.
UNARY: list[Callable[[Any], Any]] = [
    cr.tanh, cr.sigmoid, cr.sin, cr.cos, cr.erf, cr.abs, cr.relu, cr.softplus, cr.sign,
    cr.stop_gradient,
    lambda x: -x,
    lambda x: cr.exp(cr.tanh(x)),
    lambda x: cr.expm1(cr.minimum(x, 1.0)),
    lambda x: cr.log(cr.abs(x) + 0.1),
    lambda x: cr.log1p(cr.square(cr.sin(x))),
    lambda x: cr.sqrt(cr.abs(x) + 0.01),
    lambda x: cr.floor(cr.tanh(x) * 3.7 + 0.123) * 0.5,
    lambda x: cr.leaky_relu(x, 0.1),
    lambda x: cr.elu(cr.clip(x, -2.0, 2.0)),
    lambda x: cr.gelu(cr.tanh(x)),
    lambda x: (x > 0.1).astype("float64") - 0.5,
    lambda x: x.astype("float32").astype("float64"),
    lambda x: 0.5 * x + 1.0 - 0.0 * x,
]  # fmt: skip
BINARY: list[Callable[[Any, Any], Any]] = [
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: cr.tanh(x) * y,
    lambda x, y: x / (1 + y * y),
    cr.maximum,
    cr.minimum,
    lambda x, y: cr.where(x < y, x, 0.5 * y),
    lambda x, y: cr.where((x < y) | (x > 2.0), cr.sin(x), y),
    lambda x, y: (cr.abs(cr.sin(x)) + 0.5) ** cr.tanh(y),
    lambda x, y: (~((x <= y) & (y < 1.0))).astype("float64"),
]


class Builder:
    """Draws operations and keeps what they gave, as long as it is something to go on from."""

    def __init__(self, draw: Callable[[Any], Any]):
        self.draw = draw
        width = draw(st.sampled_from(LENGTHS))
        self.rng = np.random.default_rng(draw(st.integers(0, 1000)))
        self.rows = draw(st.integers(1, 11))
        self.data = {
            "x": self.rng.normal(size=(self.rows, width)),
            "z": self.rng.normal(size=self.rows),
            "c": self.rng.integers(0, 3, self.rows),
        }
        self.leaves = {
            name: cr.input(name, (ROWS, *array.shape[1:]), array.dtype)
            for name, array in self.data.items()
        }
        self.state: dict[str, Any] = {}
        self.weights: dict[str, cr.Tensor] = {}
        self.pool: list[cr.Tensor] = [self.leaves["x"], self.leaves["z"]]

    def weight(self, *shape: int) -> cr.Tensor:
        """Return a parameter of `shape`, one drawn before where there is one."""
        known = [w for w in self.weights.values() if w.shape == shape]
        if known and self.draw(st.booleans()):
            return self.draw(st.sampled_from(known))
        name = f"parameter/{len(self.weights)}"
        self.state[name] = self.rng.normal(size=shape) / 2
        self.weights[name] = cr.input(name, shape, "float64")
        return self.weights[name]

    def value(self, matrix: bool = False) -> cr.Tensor:
        """Return one of the values so far."""
        found = [v for v in self.pool if v.ndim == 2] if matrix else self.pool
        return self.draw(st.sampled_from(found[-6:]))

    def step(self) -> None:
        kind = self.draw(st.sampled_from(list(KINDS)))
        result = KINDS[kind](self)
        if result is not None:
            self.pool.append(result)

    def case(self, steps: int) -> Case:
        """Return the graph of one training step on what was drawn."""
        for _ in range(steps):
            self.step()
        ends = self.pool[-3:]
        loss = sum((cr.tanh(v).mean() for v in ends[1:]), cr.tanh(ends[0]).mean())
        gradients = cr.grad(loss, list(self.weights.values()), unused="zero")
        outputs: dict[str, Node] = {"loss": loss.node, "total": ends[-1].sum().node}
        for (name, w), g in zip(self.weights.items(), gradients, strict=True):
            outputs[name] = (w - 0.1 * cr.tanh(g)).node
        inputs = {name: leaf.node for name, leaf in (self.leaves | self.weights).items()}
        return Case(Graph(outputs, inputs), self.state, self.data)


def _binary(b: Builder) -> cr.Tensor | None:
    x = b.value()
    other = b.draw(st.sampled_from(["pool", "weight", "column", "scalar", "self"]))
    columns = x.shape[-1] if x.ndim == 2 and isinstance(x.shape[-1], int) else 1
    if other == "pool":
        fits = [v for v in b.pool if _broadcast(x, v)]
        y = b.draw(st.sampled_from(fits or [x]))
    elif other == "weight" and x.ndim == 2:
        y = b.weight(columns)
    elif other == "column" and x.ndim == 2:
        y = b.weight(1, 1) if b.draw(st.booleans()) else x.sum(1, keepdims=True)
    else:
        y = x if other == "self" else b.weight()
    pair = (x, y) if b.draw(st.booleans()) else (y, x)
    return b.draw(st.sampled_from(BINARY))(*pair)


def _broadcast(x: cr.Tensor, y: cr.Tensor) -> bool:
    # (n,) beside (n, k) would need n to be k.
    if x.ndim != y.ndim:
        return not (x.ndim and y.ndim)
    return all(a == b or 1 in (a, b) for a, b in zip(x.shape, y.shape, strict=True))


def _reduce(b: Builder) -> cr.Tensor:
    x, keep = b.value(), b.draw(st.booleans())
    axis = b.draw(st.sampled_from([None, *range(x.ndim)]))
    how = b.draw(st.sampled_from(["sum", "mean", "max"]))
    return getattr(x, how)(axis, keepdims=keep)


def _product(b: Builder) -> cr.Tensor | None:
    x = b.value(matrix=True)
    k = x.shape[1]
    if not isinstance(k, int):
        return None
    m = b.draw(st.sampled_from(LENGTHS))
    kind = b.draw(st.sampled_from(["plain", "plain", "right", "gram", "left", "both"]))
    if kind == "plain":
        return cr.tanh(x @ b.weight(k, m))
    if kind == "right":
        return x @ b.weight(m, k).T * 0.3
    rows = [v for v in b.pool if v.ndim == 2 and v.shape[0] == x.shape[0]]
    if kind == "gram":
        return cr.tanh(x.T @ b.draw(st.sampled_from(rows)))
    if kind == "left" and isinstance(x.shape[0], int):
        return cr.tanh(b.weight(m, x.shape[0]) @ x)
    return cr.tanh((b.weight(m, k) @ x.T).T)


def _composite(b: Builder) -> cr.Tensor:
    x = b.value(matrix=True)
    if not isinstance(x.shape[1], int):
        return x
    how = b.draw(st.sampled_from(["softmax", "log_softmax", "var", "one_hot", "norm", "argmax"]))
    if how == "one_hot" and x.shape == (ROWS, 3):
        return x * cr.one_hot(b.leaves["c"], 3, "float64")
    if how == "argmax":
        return cr.argmax(cr.sin(x * 3), 1).astype("float64")
    if how == "norm":
        return x / (1 + cr.norm(x, 1, keepdims=True))
    if how == "var":
        return (x - x.mean(1, keepdims=True)) / cr.sqrt(cr.var(x, 1, keepdims=True) + 0.1)
    return cr.softmax(x) if how == "softmax" else 0.1 * cr.log_softmax(x)


def _move(b: Builder) -> cr.Tensor | None:
    x = b.value()
    if x.ndim == 2 and x.shape[1] == 1:
        return x.reshape(x.shape[0])
    if x.ndim == 1:
        return x.reshape(x.shape[0], 1) if isinstance(x.shape[0], Dim) else x.reshape(1, -1)
    return None


def _part(b: Builder) -> cr.Tensor | None:
    x = b.value(matrix=True)
    k = x.shape[1]
    how = b.draw(st.sampled_from(["slice", "slice", "step", "pad", "join", "turn", "rows", "fold"]))
    if not isinstance(k, int):
        return None
    low, high = sorted(b.draw(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1))))
    if how == "slice":
        return x[:, low : high + 1]
    if how == "step":
        return x[:, low :: b.draw(st.integers(1, 3))]
    if how == "pad":
        return cr.cos(cr.pad(x, [(0, 0), (low % 4, high % 5)]))
    if how == "join":
        near = [v for v in b.pool if v.ndim == 2 and v.shape[0] == x.shape[0]]
        parts = b.draw(st.lists(st.sampled_from(near[-4:]), min_size=1, max_size=3))
        return cr.concat([x, *parts], 1) if sum(int(v.shape[1]) for v in parts) < 99 else None
    if how == "fold" and k % 2 == 0:
        inner = b.draw(st.sampled_from([d for d in (2, k // 2) if k % d == 0]))
        y = x.reshape(x.shape[0], k // inner, inner)
        if b.draw(st.booleans()):
            kind = b.draw(st.sampled_from(["sum", "max", "mean"]))
            return getattr(y, kind)(b.draw(st.sampled_from([1, 2, (0, 1), (0, 2)]))) * 0.5
        return (
            cr.softmax(y).reshape(x.shape[0], k)
            if b.draw(st.booleans())
            else (y[:, :, :1] * y).transpose(0, 2, 1).reshape(x.shape[0], k)
        )
    if isinstance(x.shape[0], Dim):
        return None
    return cr.sin(x).T if how == "turn" else x[: 1 + x.shape[0] // 2]


def _pick(b: Builder) -> cr.Tensor:
    numbers = b.leaves["c"]
    if b.draw(st.booleans()):
        return cr.gather(b.weight(3, b.draw(st.sampled_from(LENGTHS))), numbers)
    per_row = [v for v in b.pool if v.shape[:1] == (ROWS,)]
    return cr.tanh(cr.scatter_add(b.draw(st.sampled_from(per_row)), numbers, 3))


KINDS: dict[str, Callable[[Builder], cr.Tensor | None]] = {
    "unary": lambda b: b.draw(st.sampled_from(UNARY))(b.value()),
    "binary": _binary,
    "reduce": _reduce,
    "product": _product,
    "composite": _composite,
    "move": _move,
    "part": _part,
    "pick": _pick,
}


@st.composite
def cases(draw: Callable[[Any], Any]) -> Case:
    """Return a random training step of up to ten operations and its gradient."""
    return Builder(draw).case(draw(st.integers(1, 10)))


def check(case: Case, batch: int, threads: int) -> bool:
    """Compare one epoch, and two more, on both engines; return whether all is native code."""
    native, reference = case.native(batch, threads), case.reference()
    for epochs in (1, 2):
        order = shuffled(case.rows, epochs)
        ours, theirs = native.run(order, batch), reference.run(order, batch)
        assert distance(ours, theirs) < 1e-8
        assert distance(native.state, reference.state) < 1e-8
    left = native.code.left_to_reference()
    if left:
        check_by_rows(case, batch, threads)
    return not left


def check_by_rows(case: Case, batch: int, threads: int) -> None:
    """What the usual code leaves to the interpreter is compiled for each number of rows."""
    engine = Engine("native", threads)
    native = prepare(case.graph, case.state, case.data, batch, engine)
    reference = case.reference()
    order = shuffled(case.rows, 2)
    assert distance(native.run(order, batch), reference.run(order, batch)) < 1e-8
    assert distance(native.state, reference.state) < 1e-8


@pytest.mark.thorough
def test_random_steps() -> None:
    taken: list[bool] = []

    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    @given(case=cases(), batch=st.integers(1, 6), threads=st.integers(1, 3))
    def any_step(case: Case, batch: int, threads: int) -> None:
        taken.append(check(case, batch, threads))

    any_step()
    # Were most left to the interpreter, nothing would have been shown.
    assert sum(taken) > 0.8 * len(taken)


def _weight_case(change: Callable[[cr.Tensor], cr.Tensor], *shape: int) -> Case:
    """Return a step whose weight `w` becomes ``change(w)``."""
    w, x = cr.input("w", shape, "float64"), cr.input("x", (ROWS, 2), "float64")
    graph = Graph({"w": change(w).node, "loss": x.sum().node}, {"w": w.node, "x": x.node})
    rng = np.random.default_rng(0)
    return Case(graph, {"w": rng.normal(size=shape)}, {"x": rng.normal(size=(5, 2))})


# Found by longer runs of the test above.
CHANGES: dict[str, tuple[Callable[[cr.Tensor], cr.Tensor], tuple[int, ...]]] = {
    "one number as both operands": (lambda w: cr.tanh((w + 1) @ (w * 2)), (1, 1)),
    "a constant of one number": (lambda w: cr.tanh(w @ cr.tensor([[2.0]], "float64")), (3, 1)),
    "a product turned": (lambda w: cr.tanh((w @ w).T), (4, 4)),
    "numbers counted": (lambda w: w - cr.tanh(cr.arange(3, "float64").reshape(1, 3) @ w), (3, 3)),
    "a sum for each row": (lambda w: w - w.sum(1, keepdims=True), (5, 3)),
    "a sum for each row, as a vector": (lambda w: w - w.sum(1), (5, 5)),
    "turned and added": (lambda w: w + 0.5 * w.T, (4, 4)),
    "both turned": (lambda w: cr.tanh(w.T @ w.T), (3, 3)),
    "sum of the weight": (lambda w: w / (1 + cr.abs(w.sum())), (7,)),
    "the largest": (lambda w: w - w.max(), (17,)),
    "joined": (lambda w: w - cr.concat([w[:2], w[2:]]), (5,)),
    "rows picked": (lambda w: w - w[[1, 0, 1]], (3, 2)),
    "dropout": (lambda w: w * cr.uniform(3, (4, 4), dtype="float64"), (4, 4)),
}


def test_lanes_beyond_the_last_column_stay_out_of_sums() -> None:
    """LLVM took 0 / 0 in them for 0 and dropped the selection that keeps them out."""
    x, m = cr.input("x", ("n", 5), "float64"), cr.input("m", (5,), "float64")
    g = x / m
    total = (cr.tanh(g) + g.sum(1, keepdims=True)).sum()
    graph = Graph({"m": (m * 1.5).node, "loss": total.node}, {"m": m.node, "x": x.node})
    rng = np.random.default_rng(0)
    check(Case(graph, {"m": rng.normal(size=5)}, {"x": rng.normal(size=(7, 5))}), 3, 1)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CHANGES)
def test_what_becomes_of_a_weight(name: str, threads: int) -> None:
    change, shape = CHANGES[name]
    assert check(_weight_case(change, *shape), 2, threads)
