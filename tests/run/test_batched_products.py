"""Products of matrices with leading axes: compiled, they agree and train as the reference does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.run.llvm.code import NativeCode
from chainrule.run.plan.levels import loads
from tests.run.agreement import Case, assert_agree, shuffled, training
from tests.run.operations import MATMULS, N, Shapes, Use, graph_of, reference, run_native

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(23, 5, 6)), RNG.integers(0, 3, 23)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shapes", MATMULS, ids=str)
def test_products_and_their_gradients_agree(shapes: Shapes, threads: int) -> None:
    graph, given = graph_of(Use("matmul", shapes, {}), "float64")
    code = NativeCode(graph, set(), {k for k in given if graph.inputs[k].spec.shape[0] is N}, 8)
    assert not code.left_to_reference()
    found = run_native(code, given, 5, threads)
    for name, expected in reference(graph, given).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("turned", [(False, True), (True, False), (True, True)])
@pytest.mark.parametrize("leading", [(N,), (N, 2), (4,), (2, 3)], ids=str)
def test_turned_factors_agree(leading: tuple[Any, ...], turned: tuple[bool, bool]) -> None:
    """A thread that multiplies part of a matrix starts inside of it."""
    shapes = [(5, 7)[::-1] if turned[0] else (5, 7), (7, 3)[::-1] if turned[1] else (7, 3)]
    leaves = [cr.input(f"x{i}", (*leading, *s), "float64") for i, s in enumerate(shapes)]
    swap = (*range(len(leading)), len(leading) + 1, len(leading))
    a, b = (x.transpose(*swap) if t else x for x, t in zip(leaves, turned, strict=True))
    out = cr.tanh(a @ b + 1)
    graph = cr.Graph({"out": out}, {"x0": leaves[0], "x1": leaves[1]})
    lengths = [4 if d is N else d for d in leading]
    given = {f"x{i}": RNG.normal(size=(*lengths, *s)) for i, s in enumerate(shapes)}
    code = NativeCode(graph, set(), set(given) if N in leading else set(), 4)
    assert not code.left_to_reference()
    for threads in (1, 2, 3, 5):
        found = run_native(code, given, 4, threads)
        np.testing.assert_allclose(found["out"], reference(graph, given)["out"], rtol=1e-12)


class Attention(nn.Layer):
    """Attention with two heads over the five parts of each row."""

    def __init__(self, width: int, dtype: str) -> None:
        self.maps = [nn.Linear(width, width, dtype=dtype) for _ in range(4)]

    def __call__(self, x: cr.Tensor) -> cr.Tensor:
        rows, parts, width = x.shape

        def heads(y: cr.Tensor) -> cr.Tensor:
            return y.reshape(rows, parts, 2, -1).transpose(0, 2, 1, 3)

        query, key, value = (heads(one(x)) for one in self.maps[:3])
        mixed = cr.softmax(query @ key.transpose(0, 1, 3, 2)) @ value
        return x + self.maps[3](mixed.transpose(0, 2, 1, 3).reshape(rows, parts, width))


def _transformer(dtype: str) -> Case:
    model = nn.Sequential(
        [
            nn.Linear(6, 8, dtype=dtype), nn.Tanh(), Attention(8, dtype),
            nn.LayerNorm(8, dtype=dtype), nn.Linear(8, 4, dtype=dtype), nn.ReLU(), nn.Flatten(),
            nn.Linear(20, 3, dtype=dtype),
        ]
    )  # fmt: skip
    nn.initialize(model, 3)
    return training(model, "cross_entropy", optim.Adam(0.01), X.astype(dtype), Y)


def test_attention_trains_as_on_the_reference() -> None:
    case = _transformer("float64")
    assert not case.native(7).code.left_to_reference()
    assert_agree(case, shuffled(23, 5), 7, 1e-9)
    assert_agree(case, shuffled(23, 2), 7, 1e-9, threads=3, capacity=9)


@pytest.mark.thorough
def test_any_number_of_threads_gives_the_same_bits() -> None:
    case, order, states = _transformer("float32"), shuffled(23, 3), []
    for threads in (1, 2, 3):
        program = case.native(7, threads)
        program.run(order, 7)
        states.append({name: value.tobytes() for name, value in program.state.items()})
    assert states[0] == states[1] == states[2]


def test_products_of_a_row_follow_one_another_without_a_barrier() -> None:
    x = cr.input("x", (N, 4, 6), "float32")
    w = cr.input("w", (6, 6), "float32")
    scores = cr.exp(x @ w) @ x.transpose(0, 2, 1)
    graph = cr.Graph({"out": cr.exp(scores) @ x}, {"x": x, "w": w})
    code = NativeCode(graph, set(), {"x"}, 8)
    assert len(code.schedule.levels) == 1
    products = [k for k in code.kernels.order if k.kind == "matmul"]
    assert len(products) == 3
    assert any(loads(code.kernels, k) & set(products[0].stores) for k in products[1:])


def test_the_gradient_of_a_shared_weight_is_one_product_with_its_update() -> None:
    case = _transformer("float32")
    kernels = case.native(7).code.kernels.order
    sums = [k for k in kernels if k.anchor and k.anchor.primitive.name == "row_products"]
    assert len(sums) == 6  # one for each weight that multiplies the parts of a row
    assert all(len(k.nodes) > 4 for k in sums)


def test_a_part_of_a_matrix_is_updated_once_by_each_thread() -> None:
    x, w = cr.input("x", (4, 7, 6), "float64"), cr.input("w", (4, 6, 5), "float64")
    r = cr.input("r", (N,), "float64")
    loss = cr.sin(x @ w).sum() * r.sum()
    outputs = {"loss": loss, "x": x, "w": w - 0.1 * cr.grad(loss, w)}
    state = {"x": RNG.normal(size=x.shape), "w": RNG.normal(size=w.shape)}  # type: ignore[arg-type]
    case = Case(cr.Graph(outputs, {"x": x, "w": w, "r": r}), state, {"r": RNG.normal(size=9)})
    for threads in (1, 2, 3):
        assert case.native(3, threads).code.schedule.in_place
        assert_agree(case, shuffled(9, 2), 3, 1e-9, threads)
