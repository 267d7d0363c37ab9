"""Random numbers drawn natively are the reference's, bit for bit, whatever the threads."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.graph import Graph
from chainrule.run.program import Engine, ReferenceProgram, prepare


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [1, 3, 8, 19, 70])
@pytest.mark.parametrize("threads", [1, 2])
def test_each_row_gets_the_numbers_of_its_place(dtype: str, columns: int, threads: int) -> None:
    x = cr.input("x", ("n", columns), dtype)
    seed = cr.input("seed", (), "int64")
    drawn = cr.uniform(seed, ("n", columns), stream=3, dtype=dtype)
    # A weighting by place tells any permutation of the numbers apart.
    total = (drawn * cr.arange(columns, "int32").astype(dtype) + drawn * x).sum()
    graph = Graph({"total": total.node, "seed": (seed + 1).node}, {"x": x.node, "seed": seed.node})
    data = {"x": np.random.default_rng(0).normal(size=(23, columns)).astype(dtype)}
    state = {"seed": np.array(2**40 + 7)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left to the interpreter
        native = prepare(graph, state, data, 10, Engine("native", threads))
    reference = ReferenceProgram(graph, state, data)
    order = np.arange(23)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    for _ in range(2):
        found, expected = native.run(order, 10), reference.run(order, 10)
        assert found["total"] == pytest.approx(expected["total"], rel=tolerance)
    assert int(native.state["seed"]) == 2**40 + 7 + 6


def test_the_bits_are_those_of_the_reference() -> None:
    drawn = cr.uniform(cr.input("seed", (), "int64"), (5, 13), stream=9)
    w = cr.input("w", (5, 13))
    seed = Graph({"w": drawn.node}).inputs["seed"]
    graph = Graph({"w": drawn.node, "seed": seed}, {"w": w.node, "seed": seed})
    state = {"w": np.zeros((5, 13), "f4"), "seed": np.array(-3)}
    native = prepare(graph, state, {}, 1, Engine("native", 1))
    native.run(np.arange(1), 1)
    np.testing.assert_array_equal(native.state["w"], cr.uniform(-3, (5, 13), stream=9).numpy())
