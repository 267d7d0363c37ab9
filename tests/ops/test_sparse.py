"""Sparse products against dense ones with a mask, and wirings against what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.ops.sparse import Wiring, edge_products, sparse_matmul

INPUTS, OUTPUTS, ROWS = 7, 5, 6


def _masked(seed: int) -> tuple[Wiring, Any, Any]:
    """Return a wiring, weights of its edges, and the dense matrix that has 0 elsewhere."""
    rng = np.random.default_rng(seed)
    mask = rng.random((INPUTS, OUTPUTS)) < 0.4
    mask[2, :], mask[:, 3] = False, False  # an input and an output without an edge
    mask[0, 0] = True
    wiring = Wiring(INPUTS, OUTPUTS, *np.nonzero(mask))
    weight = rng.normal(size=wiring.edges)
    dense = np.zeros((INPUTS, OUTPUTS))
    dense[wiring.sources, wiring.targets] = weight
    return wiring, weight, dense


@pytest.mark.parametrize("seed", range(3))
def test_products_are_those_of_the_masked_matrix(seed: int) -> None:
    wiring, weight, dense = _masked(seed)
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(ROWS, INPUTS)), rng.normal(size=(ROWS, OUTPUTS))
    close = {"rtol": 1e-13, "atol": 1e-13}
    np.testing.assert_allclose(sparse_matmul(x, weight, wiring).numpy(), x @ dense, **close)
    back = sparse_matmul(y, weight, wiring, transposed=True).numpy()
    np.testing.assert_allclose(back, y @ dense.T, **close)
    at_edges = (x.T @ y)[wiring.sources, wiring.targets]
    np.testing.assert_allclose(edge_products(x, y, wiring).numpy(), at_edges, **close)


@pytest.mark.parametrize("seed", range(3))
def test_slopes_of_slopes_along_both_ways(seed: int) -> None:
    wiring, weight, _ = _masked(seed)
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(ROWS, INPUTS)), rng.normal(size=(ROWS, OUTPUTS))
    cr.check_grads(lambda x, w: sparse_matmul(x, w, wiring) ** 2, [x, weight], order=2)
    cr.check_grads(lambda y, w: sparse_matmul(y, w, wiring, True) ** 2, [y, weight], order=2)
    cr.check_grads(lambda x, y: edge_products(x, y, wiring) ** 2, [x, y], order=2)


def test_edges_are_sorted_and_equal_wirings_are_one() -> None:
    one, other = Wiring(3, 2, [2, 0, 1], [1, 0, 1]), Wiring(3, 2, [0, 1, 2], [0, 1, 1])
    assert one == other
    assert hash(one) == hash(other)
    assert one != Wiring(4, 2, [0, 1, 2], [0, 1, 1])
    assert one.fan_in.tolist() == [1, 2]
    assert one.fan_out.tolist() == [1, 1, 1]
    x = cr.tensor(np.ones((2, 3)))
    graph = cr.Graph({"y": sparse_matmul(x, np.ones(3), one)})
    assert f"wiring=<3 edges 3->2 {one.digest}>" in str(graph)
    cr.verify(graph)


@pytest.mark.parametrize(
    ("sources", "targets", "message"),
    [
        ([0, 3], [0, 1], r"edge 1, from input 3 to output 1, is out of range: .* inputs 0\.\.2"),
        ([0, 1], [0, -1], r"edge 1, from input 1 to output -1, is out of range: .* outputs 0\.\.1"),
        ([0, 1, 0], [1, 0, 1], "the edge from input 0 to output 1 is given twice"),
        ([], [], "a list of one or more integers"),
        ([0.5], [0], "a list of one or more integers"),
        ([0, 1], [0], "as many sources as targets, not 2 sources and 1 targets"),
    ],
)
def test_edges_that_can_not_be(sources: list[int], targets: list[int], message: str) -> None:
    with pytest.raises(cr.OptionError, match=message):
        Wiring(3, 2, sources, targets)


def test_shapes_that_do_not_fit() -> None:
    wiring = Wiring(3, 2, [0, 1], [0, 1])
    x, weight = np.ones((4, 3)), np.ones(2)
    for wrong in (np.ones((4, 2)), np.ones(3), np.ones((2, 4, 3))):
        with pytest.raises(cr.ShapeError, match="the last 3 long"):
            sparse_matmul(wrong, weight, wiring)
    with pytest.raises(cr.ShapeError, match="one weight for each of <2 edges 3->2"):
        sparse_matmul(x, np.ones(3), wiring)
    with pytest.raises(cr.ShapeError, match="must have the same rows"):
        edge_products(x, np.ones((5, 2)), wiring)
    with pytest.raises(cr.ShapeError, match="the last 2 long, at the targets"):
        edge_products(x, x, wiring)
    with pytest.raises(cr.DTypeError, match="must have a float dtype"):
        sparse_matmul(np.ones((4, 3), int), np.ones(2, int), wiring)
