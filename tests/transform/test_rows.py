"""Rows stand alone where it is said that they do: computed in pieces, the results are the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.transform.rows import rows_stand_alone

W = np.random.default_rng(0).normal(size=(3, 4))
APART: dict[str, Callable[[Any], Any]] = {
    "a layer": lambda x: cr.tanh(x @ W + 1.0),
    "softmax": lambda x: cr.softmax(x),
    "moves": lambda x: x.reshape(-1, 3, 1).transpose(0, 2, 1)[:, :, ::2],
    "a sparse layer": lambda x: cr.sparse_matmul(x, W[0, :2], cr.Wiring(3, 2, [0, 2], [1, 0])),
    "joins": lambda x: cr.concat([x, cr.pad(x, ((0, 0), (1, 1)))], 1),
    "rows of a table": lambda x: cr.gather(cr.tensor(W), (x[:, 0] > 0).astype("int64")),
    "the largest": lambda x: x.max(1) + cr.argmax(x, 1),
}
TOGETHER: dict[str, Callable[[Any], Any]] = {
    "a mean over rows": lambda x: x - x.mean(0),
    "softmax of a column": lambda x: cr.softmax(x, 0),
    "a product of all rows": lambda x: (x @ x.T).max(1),
    "row numbers": lambda x: x[:, 0] + cr.arange(x.shape[0]),
    "rows chosen": lambda x: cr.gather(x, (x[:, 0] * 0).astype("int64")),
    "random numbers": lambda x: x[:, 0] + cr.uniform(0, x.shape[:1]),
}


def in_pieces(function: Callable[[Any], Any]) -> tuple[bool, bool]:
    """Whether it is said that rows stand alone, and whether pieces give the whole."""
    x = cr.input("x", ("n", 3), "float64")
    graph = cr.Graph({"y": function(x)})
    rows = np.random.default_rng(1).normal(size=(7, 3))
    whole = cr.evaluate(graph, {"x": rows})["y"]
    pieces = [cr.evaluate(graph, {"x": rows[i : i + 2]})["y"] for i in range(0, 7, 2)]
    return rows_stand_alone(graph.outputs.values()), np.allclose(np.concatenate(pieces), whole)


@pytest.mark.parametrize("name", APART)
def test_apart(name: str) -> None:
    assert in_pieces(APART[name]) == (True, True)


@pytest.mark.parametrize("name", TOGETHER)
def test_together(name: str) -> None:
    assert in_pieces(TOGETHER[name]) == (False, False)
