"""A loop by hand takes linear time, remembers no more than it may, and keeps its history."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core import handle, recall
from chainrule.run import reference
from chainrule.transform import grad as grad_module

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3))
Y = X @ [[1.0], [-2.0], [0.5]] + 0.1


def _descend(steps: int, momentum: float, ask: str, seen: Callable[[], None]) -> cr.Tensor:
    """Take `steps` of gradient descent by hand, asking for the loss "early", "late" or not."""
    W, speed = cr.tensor(np.zeros((3, 1))), cr.tensor(np.zeros((3, 1)))
    for _ in range(steps):
        loss = ((X @ W - Y) ** 2).mean()
        if ask == "early":
            float(loss)
        g = cr.grad(loss, W)
        if momentum:
            speed = momentum * speed + g
            W = W - 0.05 * speed
        else:
            W = W - 0.05 * g
        if ask == "late":
            float(loss)
        seen()
    return W


def _in_numpy(steps: int, momentum: float) -> Any:
    W = speed = np.zeros((3, 1))
    for _ in range(steps):
        g = 2 * X.T @ (X @ W - Y) / len(X)
        speed = momentum * speed + g
        W = W - 0.05 * (speed if momentum else g)
    return W


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("ask", ["early", "late", "never"])
def test_no_step_of_a_loop_by_hand_looks_at_the_steps_before_the_last(
    momentum: float, ask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = []
    count = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal count
        nodes = reachable(*args, **options)
        count += len(nodes)
        return nodes

    def seen() -> None:
        nonlocal count
        work.append(count)
        count = 0

    reachable = grad_module.reachable
    for module in (grad_module, recall):
        monkeypatch.setattr(module, "reachable", counted)
    W = _descend(60, momentum, ask, seen)
    assert max(work[5:]) == min(work[5:]) < 150
    np.testing.assert_allclose(W.numpy(), _in_numpy(60, momentum), rtol=1e-12)


def test_what_is_evaluated_starts_from_what_was() -> None:
    ran = []

    def counted(graph: cr.Graph, values: Any) -> Any:
        ran.append(len(graph.nodes))
        return cr.evaluate(graph, values)

    x = cr.tensor(2.0)
    for _ in range(20):
        x = x * 1.5 + 1
        assert recall.value_of(x.node, counted) == x.numpy()
    assert max(ran) == min(ran) <= 5
    known = len(ran)
    recall.value_of(x.node, counted)
    assert len(ran) == known


def test_gradients_reach_through_a_loop_whose_values_are_known() -> None:
    def final(rate: cr.Tensor) -> cr.Tensor:
        w = cr.tensor(np.float64(3.0))
        for _ in range(4):
            loss = (w - 1) ** 2
            w = w - rate * cr.grad(loss, w)
            float(w)
        return (w - 1) ** 2

    rate = cr.tensor(np.float64(0.1))
    # w - 1 = 2 (1 - 2 rate)^4
    assert float(final(rate)) == pytest.approx(4 * 0.8**8)
    assert float(cr.grad(final(rate), rate)) == pytest.approx(-4 * 8 * 2 * 0.8**7)


def test_what_depends_on_a_parameter_is_computed_anew() -> None:
    p = cr.Parameter((2,), lambda shape, rng: np.ones(shape), name="p")
    twice = p * 2
    assert twice.numpy().tolist() == [2, 2]
    p.value = [3.0, 4.0]
    assert twice.numpy().tolist() == [6, 8]
    assert (twice + 1).numpy().tolist() == [7, 9]


def test_a_value_given_away_is_a_copy() -> None:
    x = cr.tensor([1.0, 2.0]) * 2
    x.numpy()[:] = 7
    assert x.numpy().tolist() == [2, 4]
    assert (x + 1).numpy().tolist() == [3, 5]


def test_no_more_is_remembered_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "MOST_BYTES", 10_000)
    small = cr.tensor(1.0) + 1
    float(small)
    for k in range(20):
        large = cr.tensor(np.ones(500)) * k
        large.numpy()
    held = sum(value.nbytes for value in recall._values.values())
    assert held <= 10_000
    assert small.node in recall._values  # the largest are forgotten first
    assert large.numpy().tolist() == [19] * 500
    node = small.node
    del small
    gc.collect()
    assert node in recall._values
    before = len(recall._values)
    del node
    gc.collect()
    assert len(recall._values) < before


def test_one_long_evaluation_keeps_no_more_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "MOST_BYTES", 10_000)
    asked = []

    def counted(graph: cr.Graph, values: Any) -> Any:
        found = cr.evaluate(graph, values)
        asked.append(sum(value.nbytes for value in found.values()))
        return found

    x = cr.tensor(np.ones(300))
    for _ in range(100):
        x = x + 1
    assert recall.value_of(x.node, counted)[0] == 101
    assert asked[0] <= 2 * 10_000


def test_the_evaluator_is_the_reference() -> None:
    assert handle._evaluate is reference.evaluate
