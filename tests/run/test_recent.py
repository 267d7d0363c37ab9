"""Programs with equal graphs share their code in a process, and only those."""

from __future__ import annotations

import os
import signal
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.core.graph import Graph
from chainrule.run.llvm import recent
from chainrule.run.llvm.code import NativeCode
from chainrule.run.llvm.recent import native_code


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "_codes", OrderedDict())


def code(build: Callable[[cr.Tensor], cr.Tensor], capacity: int = 4) -> NativeCode:
    x = cr.input("x", ("n", 3))
    return native_code(Graph({"y": build(x).node}, {"x": x.node}), set(), {"x"}, capacity)


def test_equal_graphs_share_their_code() -> None:
    def build(x: cr.Tensor) -> cr.Tensor:
        return (x * 2.0 + cr.tensor(np.arange(3.0))).sum(axis=1)

    assert code(build) is code(build)
    assert code(build, 5) is not code(build)


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x * cr.tensor([1.0, 2.0, 3.0000002]),
        lambda x: x * cr.tensor([1.0, -0.0, 3.0]),
        lambda x: x + cr.tensor([1.0, 0.0, 3.0]),
        lambda x: (x * cr.tensor([1.0, 0.0, 3.0])).sum(axis=1),
        lambda x: x * cr.tensor(np.array([1.0, 0.0, 3.0])),
    ],
    ids=["a constant", "the sign of zero", "an operation", "more", "a dtype"],
)
def test_what_differs_is_compiled(other: Callable[[cr.Tensor], cr.Tensor]) -> None:
    kinds = [lambda x: x * cr.tensor(np.array([1.0, 0.0, 3.0], np.float32)), other]
    first, second = (code(kind) for kind in kinds)
    assert first is not second


def test_trainings_share_code_but_no_weights() -> None:
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    y = (X[:, 0] > 0).astype(np.int64)

    def train(seed: int) -> cr.Run:
        model = nn.Sequential([nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)])
        return cr.fit(
            model, (X, y), loss="cross_entropy", epochs=2, seed=seed, engine="native",
            progress=False,
        )  # fmt: skip

    first = train(1)
    kept, count = first.outputs(X), len(recent._codes)
    other = train(2)
    other.outputs(X)
    assert len(recent._codes) == count
    np.testing.assert_array_equal(first.outputs(X), kept)
    assert not np.array_equal(other.outputs(X), kept)
    np.testing.assert_array_equal(train(1).outputs(X), kept)


def test_code_keeps_no_parameters() -> None:
    layer = nn.Linear(3, 2)
    made = code(layer)
    assert all("parameter" not in node.params for node in made.graph.nodes)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_waits_for_no_thread_of_its_parent() -> None:
    with recent._lock:  # as if another thread held it
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            code(lambda x: x * 4.5)
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_the_oldest_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST", 2)
    for factor in (1.5, 2.5, 3.5):
        code(lambda x, factor=factor: x * factor)  # type: ignore[misc]
    assert len(recent._codes) == 2
