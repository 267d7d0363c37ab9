"""Where barriers stand, and where a new state is written while the old one is still wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.core.graph import Graph
from chainrule.optim import Optimizer
from chainrule.run.llvm.code import NativeCode
from tests.run.agreement import Case, distance, network, shuffled, training


def _code(optimizer: Optimizer, sizes: tuple[int, ...] = (4, 8, 8, 3)) -> NativeCode:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, sizes[0])), rng.integers(0, sizes[-1], 9)
    case = training(network(sizes, "relu"), "cross_entropy", optimizer, x, y)
    return NativeCode(case.graph, set(case.state), set(case.data), 4)


@pytest.mark.parametrize(
    "optimizer", [optim.SGD(0.1), optim.SGD(0.1, momentum=0.9), optim.Adam()], ids=repr
)
def test_the_threads_meet_twice_in_a_step_of_a_plain_network(optimizer: Optimizer) -> None:
    code = _code(optimizer)
    assert len(code.schedule.levels) == 2
    assert not code.schedule.copies
    # Every product of the second level ends in the update of its weight: nothing else is stored.
    for kernel in code.schedule.levels[1]:
        if kernel.kind in ("matmul", "sum_rows"):
            assert kernel.stores
            assert set(kernel.stores) <= set(code.schedule.in_place)


def test_a_norm_of_all_gradients_is_waited_for() -> None:
    plain, clipped = _code(optim.SGD(0.1)), _code(optim.chain(optim.ClipNorm(1.0), optim.SGD(0.1)))
    assert len(plain.schedule.levels) < len(clipped.schedule.levels) <= 4
    assert not clipped.schedule.copies
    value = _code(optim.chain(optim.ClipValue(1.0), optim.SGD(0.1)))
    assert len(value.schedule.levels) == 2


A, B, C, S, T, U, V, W = "abcstuvw"
Step = Callable[[dict[str, cr.Tensor]], dict[str, cr.Tensor]]
STEPS: dict[str, Step] = {
    "each from the other's old value": lambda v: {A: v[A] + 0.5 * v[B], B: v[B] - 0.5 * v[A]},
    "exchanged": lambda v: {A: v[B], B: v[A]},
    "rotated and turned": lambda v: {A: v[B], B: v[C], C: cr.tanh(v[A])},
    "the old value is kept": lambda v: {A: v[A] + 0.9 * (v[A] - v[B]), B: v[A]},
    "one pass, each from the other": lambda v: {
        A: cr.tanh(v["x"].T @ v["x"]) + v[B],
        B: cr.tanh(v["x"].T @ v["x"]) * v[A],
    },
    "one pass over sums, each from the other": lambda v: {
        U: v["x"].sum(0) + v[V],
        V: v["x"].sum(0) * v[U],
    },
    "passes over columns": lambda v: {
        A: v[B] / (1 + cr.square(v[A]).sum(1, keepdims=True)),
        B: v[A] - v[B].mean(1, keepdims=True),
    },
    "moved": lambda v: {U: v[W].reshape(6), W: v[V].reshape(1, 6), V: cr.broadcast_to(v[S], (6,))},
    "a product with itself": lambda v: {A: cr.tanh(v[A] @ v[A])},
    "products of old values": lambda v: {A: cr.tanh(v[A] @ v[B]), B: cr.tanh(v[B] @ v[A])},
    "a product turned": lambda v: {A: cr.tanh(v[A].T @ v[B]), B: v[B] + 0.1 * v[A]},
    "an old value after its update": lambda v: {
        A: cr.tanh(v[A] @ v[B]) + v[A],
        B: cr.tanh(v["x"].T @ (v["x"] @ v[A])),
    },
    "one value for two": lambda v: {A: v[A] + v[B], B: v[A] + v[B]},
    "a sum of the new value": lambda v: {A: v[A] * 0.5, S: (v[A] * 0.5).sum()},
    "less its own sum": lambda v: {A: v[A] - 0.1 * v[A].sum(), S: v[A].sum()},
    "less its own means": lambda v: {A: v[A] - v[A].mean(1, keepdims=True) - v[A].mean(0)},
    "numbers exchanged": lambda v: {S: v[T] * 1.5, T: v[S] - 1.0},
    "a number kept": lambda v: {S: v[T], T: v[T] + v["x"].sum()},
    "a number spread": lambda v: {A: cr.broadcast_to(v[S], (6, 6)), S: v[A].max() * 0.5},
    "a constant": lambda v: {A: cr.tensor(np.eye(6)), S: cr.tensor(np.float64(3.0))},
    "rows of the batch": lambda v: {A: cr.tanh(v["x"].T @ v["x"]) + v[A], S: v["x"].mean()},
    "chained": lambda v: {
        A: cr.tanh(v[A] + v["x"].sum(0)),
        B: cr.tanh(v[A] + v["x"].sum(0)) @ v[B],
    },
}  # fmt: skip


def _case(step: Step) -> Case:
    rng = np.random.default_rng(1)
    state: dict[str, Any] = {name: rng.normal(size=(6, 6)) / 2 for name in (A, B, C)}
    state |= {name: rng.normal(size=6) for name in (U, V)} | {W: rng.normal(size=(1, 6))}
    state |= {S: np.array(0.25), T: np.array(-1.5)}
    leaves = {name: cr.input(name, value.shape, "float64") for name, value in state.items()}
    leaves["x"] = cr.input("x", ("n", 6), "float64")
    changed = leaves | step(leaves)
    outputs = {name: changed[name].node for name in state}
    outputs["loss"] = (leaves["x"].sum() + changed[A].sum() + changed[S]).node
    inputs = {name: leaf.node for name, leaf in leaves.items()}
    return Case(Graph(outputs, inputs), state, {"x": rng.normal(size=(9, 6))})


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", STEPS)
def test_every_new_state_is_computed_from_old_ones(name: str) -> None:
    case = _case(STEPS[name])
    for threads in (1, 2, 3):
        native, reference = case.native(4, threads), case.reference()
        for epochs in (1, 3):
            order = shuffled(9, epochs)
            ours, theirs = native.run(order, 4), reference.run(order, 4)
            assert distance(ours, theirs) < 1e-10, threads
            assert distance(native.state, reference.state) < 1e-10, threads


@pytest.mark.parametrize(
    ("name", "copied"),
    [
        ("one value for two", set()),
        ("a sum of the new value", set()),
        ("a product with itself", {A}),
        ("each from the other's old value", {A}),
    ],
)
def test_only_what_is_still_wanted_is_copied(name: str, copied: set[str]) -> None:
    case = _case(STEPS[name])
    code = NativeCode(case.graph, set(case.state), set(case.data), 4)
    assert set(code.schedule.copies) == copied
