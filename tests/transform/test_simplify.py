"""Simplification: each rule by what it leaves, and values that do not change by a bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import chainrule as cr
from chainrule.core.graph import Graph
from chainrule.core.verify import verify
from chainrule.transform.simplify import RULES, simplify
from tests.run.agreement import Case
from tests.run.test_native_random import cases

X, Y = cr.input("x", (2, 3)), cr.input("y", (2, 3))
N = cr.input("n", ("n", 3))
ZERO, ONE = cr.tensor(0.0), cr.tensor(1.0)


def body(graph: Graph) -> list[str]:
    """Return the right-hand sides of a graph's printed lines, and what it returns."""
    lines = str(graph).splitlines()[1:]
    return [line.split(" = ", 1)[1].split("#")[0].strip() for line in lines[:-1]] + [
        lines[-1].strip()
    ]


# What is recorded, and the text that is left of it.
GOLDEN: dict[str, tuple[Any, list[str]]] = {
    "plus nothing": (X + 0.0, ["return out=x"]),
    "nothing plus": (0.0 + X, ["return out=x"]),
    "less nothing": (X - 0.0, ["return out=x"]),
    "times one": (1.0 * X, ["return out=x"]),
    "by one": (X / 1.0, ["return out=x"]),
    "to the power of one": (X**1.0, ["return out=x"]),
    "squared": (X**2.0, ["mul(x, x)", "return out=%1"]),
    "one broadcast stays": (
        cr.input("s", ()) * cr.tensor(np.ones((2, 3), np.float32)),
        ["constant(value=[[1.,1.,1.], [1.,1.,1.]])", "mul(s, %1)", "return out=%2"],
    ),
    "constants": (cr.exp(ZERO) + 2 * ONE, ["constant(value=3.)", "return out=%0"]),
    "a gate with one outcome": (cr.where(X > 0, Y, Y), ["return out=y"]),
    "stop_gradient": (cr.stop_gradient(X), ["return out=x"]),
    "reshapes": (
        X.reshape(6).reshape(3, 2),
        ["reshape(x, shape=(3,2))", "return out=%1"],
    ),
    "there and back": (X.reshape(6).reshape(2, 3), ["return out=x"]),
    "turned twice": (X.T.T, ["return out=x"]),
    "turned where nothing is": (cr.input("r", (1, 1)).T, ["return out=r"]),
    "a sum of one": (
        cr.input("r", (2, 1)).sum(1),
        ["reshape(r, shape=(2,))", "return out=%1"],
    ),
    "broadcast late": (
        X + cr.broadcast_to(cr.input("v", (3,)), (2, 3)),
        ["add(x, v)", "return out=%2"],
    ),
    "plus a negative": (X + -Y, ["sub(x, y)", "return out=%2"]),
    "less a negative": (X - cr.neg(Y), ["add(x, y)", "return out=%2"]),
    "minus minus": (cr.neg(cr.neg(X)), ["return out=x"]),
    "a difference turned": (-(X - Y), ["sub(y, x)", "return out=%2"]),
    "a sign through a product": (X + (-Y) * X, ["mul(y, x)", "sub(x, %2)", "return out=%3"]),
    "a sign through a sum": (
        X.sum() - (-Y).sum(),
        [
            "sum(x, axes=(0,1), keepdims=False)",
            "sum(y, axes=(0,1), keepdims=False)",
            "add(%1, %3)",
            "return out=%4",
        ],
    ),
    "the same twice": (cr.exp(X) * cr.exp(X), ["exp(x)", "mul(%1, %1)", "return out=%2"]),
    "x times nothing stays, for NaN and infinity": (
        X * 0.0,
        ["constant(value=0.)", "mul(x, %1)", "return out=%2"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_left(name: str) -> None:
    recorded, left = GOLDEN[name]
    graph = simplify(Graph({"out": recorded.node}))
    verify(graph)
    assert _renumbered(body(graph)) == _renumbered(left)


def _renumbered(lines: list[str]) -> list[str]:
    """Return `lines` with nodes numbered in the order in which they are mentioned."""
    text, numbers = "\n".join(lines), {}
    out, i = [], 0
    while i < len(text):
        if text[i] == "%":
            end = i + 1
            while end < len(text) and text[end].isdigit():
                end += 1
            out.append("%" + str(numbers.setdefault(text[i:end], len(numbers))))
            i = end
        else:
            out.append(text[i])
            i += 1
    return "".join(out).split("\n")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_rule_has_a_golden_text_that_needs_it(
    rule: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = tuple(r for r in RULES if r is not rule)
    monkeypatch.setattr("chainrule.transform.simplify.RULES", others)
    changed = [
        name
        for name, (recorded, left) in GOLDEN.items()
        if _renumbered(body(simplify(Graph({"out": recorded.node})))) != _renumbered(left)
    ]
    assert changed


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_values_stay_bit_for_bit(case: Case) -> None:
    simple = simplify(case.graph)
    verify(simple)
    assert len(simple) <= len(case.graph)
    assert simple.inputs == case.graph.inputs
    assert list(simple.outputs) == list(case.graph.outputs)
    before = cr.evaluate(case.graph, {**case.state, **case.data})
    after = cr.evaluate(simple, {**case.state, **case.data})
    for name, value in before.items():
        assert after[name].dtype == value.dtype
        np.testing.assert_array_equal(after[name], value)  # 0.0 equals -0.0


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(case=cases())
def test_twice_is_once(case: Case) -> None:
    once = simplify(case.graph)
    assert str(simplify(once)) == str(once)


def test_special_values_pass_through() -> None:
    graph = Graph({"a": (X * 1.0 + 0.0).node, "b": (X * 0.0).node, "c": (X - X).node})
    x = np.array([[np.nan, np.inf, -np.inf], [0.0, -0.0, 1e-45]], np.float32)
    before, after = cr.evaluate(graph, {"x": x}), cr.evaluate(simplify(graph), {"x": x})
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])


def test_the_graph_given_is_left_as_it_was() -> None:
    graph = Graph({"out": (X * 1.0 + 0.0).node})
    text = str(graph)
    simplify(graph)
    assert str(graph) == text
