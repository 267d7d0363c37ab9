"""What shares a pass over memory: golden kernels of small networks, and what is not stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import optim
from chainrule.core.graph import Graph
from chainrule.core.spec import Dim
from chainrule.run.plan.fuse import Kernel, Kernels, fuse, reduction_kind
from chainrule.run.plan.passes import PASSES
from chainrule.run.plan.view import Unsupported, view_of
from tests.run.agreement import network, targets, training

N = Dim("n")


def _kernels(outputs: dict[str, cr.Tensor]) -> Kernels:
    graph = Graph({name: value.node for name, value in outputs.items()})
    for rewrite in PASSES:
        graph = rewrite(graph)
    return fuse(graph)


def _line(kernel: Kernel) -> str:
    rows, columns = kernel.view
    work = " ".join(node.primitive.name for node in kernel.nodes)
    return f"{kernel.kind} {rows}x{columns}: {work}"


def _step(sizes: tuple[int, ...], activation: str, loss: str) -> list[str]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, sizes[0])).astype(np.float32)
    y = targets(loss, 9, sizes[-1], "float32", rng)
    model = network(sizes, activation, "float32")
    graph = training(model, loss, optim.SGD(0.1), x, y, []).graph
    for rewrite in PASSES:
        graph = rewrite(graph)
    return [_line(kernel) for kernel in fuse(graph).order]


def test_the_kernels_of_a_step() -> None:
    """Bias, activation and loss end the products forward; mask and update those backward."""
    assert sorted(_step((4, 8, 3), "relu", "mse")) == sorted(
        [
            "rows nx4: input",
            "matmul nx8: matmul add relu",
            "matmul nx3: matmul add sub",
            "rows nx3: sum div",
            "total nx1: sum",
            "rows nx3: div mul add",
            "matmul nx8: matmul where",
            "sum_rows nx3: sum mul sub",
            "matmul 8x3: matmul mul sub",
            "sum_rows nx8: sum mul sub",
            "matmul 4x8: matmul mul sub",
        ]
    )


@pytest.mark.parametrize(("loss", "passes"), [("mse", 2), ("cross_entropy", 1), ("one-hot", 1)])
def test_a_loss_takes_few_passes_over_its_rows(loss: str, passes: int) -> None:
    kernels = _step((4, 8, 3), "tanh", loss)
    assert len([k for k in kernels if k.startswith("rows nx3")]) <= passes
    # A deeper network adds one product forward and two backward, and the sum for a bias.
    deeper = _step((4, 8, 8, 3), "tanh", loss)
    assert len(deeper) == len(kernels) + 4
    assert (
        sum(k.startswith("matmul") for k in deeper)
        == sum(k.startswith("matmul") for k in kernels) + 3
    )


def test_the_mask_of_a_relu_is_computed_again_from_its_output() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4)), rng.normal(size=(9, 3))
    graph = training(network((4, 8, 3), "relu"), "mse", optim.SGD(0.1), x, y).graph
    for rewrite in PASSES:
        graph = rewrite(graph)
    kernels = fuse(graph)
    stored = {node.primitive.name for kernel in kernels.order for node in kernel.stores}
    assert "less" not in stored
    assert "relu" in stored


def test_everything_stored_has_one_home_and_is_written_before_it_is_read() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4)), rng.integers(0, 3, 9)
    graph = training(network((4, 8, 8, 3), "gelu"), "cross_entropy", optim.Adam(), x, y).graph
    for rewrite in PASSES:
        graph = rewrite(graph)
    kernels = fuse(graph)
    place = {kernel: i for i, kernel in enumerate(kernels.order)}
    for kernel in kernels.order:
        for node in kernel.nodes:
            assert kernels.home[node] is kernel
            for source in (s for i in node.inputs for s in kernels.sources(i)):
                home = kernels.home.get(source, kernel)
                assert place[home] <= place[kernel]
                assert home is kernel or source in home.stores


X, W, V = cr.input("x", ("n", 4)), cr.input("w", (4, 5)), cr.input("v", (5,))
SMALL: dict[str, tuple[cr.Tensor, list[str]]] = {
    "epilogue": (cr.tanh(X @ W + V), ["rows nx4: input", "matmul nx5: matmul add tanh"]),
    "softmax": (cr.softmax(X), ["rows nx4: max sub exp sum div"]),
    "a sum over rows comes first": (
        (X - X.mean(0)).sum(1),
        ["sum_rows nx4: sum div", "rows nx4: sub sum"],
    ),
    "of a weight": (cr.exp(W) + V, ["each 4x5: exp add"]),
    "leaves again": ((W + V) * 2.0, ["each 4x5: mul"]),
    "a number": (cr.exp(W).sum() + 1.0, ["each 4x5: exp", "total 4x5: sum"]),
    "several widths": (
        cr.exp(X) / cr.sqrt(X.sum(1, keepdims=True)),
        ["rows nx4: exp sum sqrt div"],
    ),
    "turned": (
        cr.tanh(X @ W) @ W.T,
        ["rows nx4: input", "matmul nx5: matmul tanh", "matmul nx4: matmul"],
    ),
    "parts taken": (
        cr.tanh(X @ W)[:, 1:3] * 2 + X[:, 2:],
        ["rows nx4: input", "matmul nx5: matmul tanh", "rows nx2: mul add"],
    ),
    "parts joined": (
        cr.relu(cr.concat([X, cr.tanh(X @ W)], 1)) @ cr.concat([W, W, W])[:9],
        [
            "rows nx4: input", "matmul nx5: matmul tanh", "rows nx9: relu", "each 12x5: concat",
            "each 9x5: slice", "matmul nx5: matmul",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_what_joins_what(name: str) -> None:
    recorded, expected = SMALL[name]
    assert [_line(kernel) for kernel in _kernels({"out": recorded}).order] == expected


@pytest.mark.parametrize(
    ("shape", "view"),
    [((), (1, 1)), ((5,), (1, 5)), ((N,), (N, 1)), ((N, 2, 3), (N, 6)), ((2, 3, 4), (6, 4))],
)
def test_everything_is_seen_as_rows_by_columns(shape: Any, view: Any) -> None:
    assert view_of(shape) == view


def test_rows_must_come_first() -> None:
    assert view_of((3, N)) is None
    assert view_of((N, N)) is None


@pytest.mark.parametrize(
    ("shape", "axes", "kind"),
    [
        (("n", 4), (0,), "rows"),
        (("n", 4), (1,), "columns"),
        (("n", 4), (0, 1), "all"),
        (("n", 2, 3), (1, 2), "columns"),
        (("n", 1), (0,), "rows"),
        ((4, 5), (0,), "rows"),
        ((4, 5), (1,), "columns"),
        ((2, 3, 4), (0, 1), "rows"),
        ((7,), (0,), "all"),
    ],
)
def test_along_what_a_reduction_goes(shape: Any, axes: tuple[int, ...], kind: str) -> None:
    assert reduction_kind(cr.input("x", shape).sum(axes).node) == kind


NOT_NATIVE: dict[str, Callable[[], cr.Tensor]] = {
    "a column for each row": lambda: X @ X.T,
    "turned batch": lambda: cr.exp(X.T),
}


@pytest.mark.parametrize("name", NOT_NATIVE)
def test_what_has_no_native_form_is_a_kernel_of_its_own_with_a_reason(name: str) -> None:
    kernels = _kernels({"out": NOT_NATIVE[name]()})
    left = [k for k in kernels.order if k.kind == "reference"]
    assert left
    assert all(len(k.nodes) == 1 and k.reason for k in left)
    with pytest.raises(Unsupported, match="sum"):
        reduction_kind(cr.input("x", (2, 3, 4)).sum(1).node)
