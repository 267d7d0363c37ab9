"""Operations that move elements: compiled, they give what the reference gives, forward and back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.graph import Graph
from chainrule.run.program import prepare_function
from tests.run.agreement import Case, assert_agree, shuffled

Leaves = dict[str, cr.Tensor]
ROWS = 11


def step(loss: Callable[[Leaves], cr.Tensor], wide: int, dtype: str = "float64") -> Case:
    """Return a training step on `loss` of data x, ids and pairs and parameters w and b."""
    rng = np.random.default_rng(0)
    state = {
        "parameter/w": rng.normal(size=(6, wide)).astype(dtype) / 2,
        "parameter/b": rng.normal(size=(wide,)).astype(dtype),
    }
    data = {
        "x": rng.normal(size=(ROWS, 6)).astype(dtype),
        "ids": rng.integers(-6, 6, ROWS),
        "pairs": rng.integers(0, 6, (ROWS, 2)).astype("int32"),
    }
    leaves = {name: cr.input(name, array.shape, dtype) for name, array in state.items()}
    given = {name: cr.input(name, ("n", *a.shape[1:]), a.dtype) for name, a in data.items()}
    short = {name.partition("/")[2]: leaf for name, leaf in leaves.items()}
    total = loss(short | given)
    outputs = {"loss": total.node}
    slopes = cr.grad(total, list(leaves.values()), unused="zero")
    for (name, w), g in zip(leaves.items(), slopes, strict=True):
        outputs[name] = (w - 0.1 * g).node
    return Case(Graph(outputs, {k: v.node for k, v in (leaves | given).items()}), state, data)


def hidden(v: Leaves) -> cr.Tensor:
    return cr.tanh(v["x"] @ v["w"] + v["b"])


def cube(v: Leaves, inner: int = 2) -> cr.Tensor:
    return hidden(v).reshape(-1, v["w"].shape[1] // inner, inner)  # type: ignore[operator]


LOSSES: dict[str, Callable[[Leaves], cr.Tensor]] = {
    "slice": lambda v: cr.sin(hidden(v)[:, 1:4]).mean(),
    "neighbours": lambda v: (hidden(v)[:, 1:] * hidden(v)[:, :-1]).mean(),
    "every second": lambda v: cr.sin(hidden(v)[:, 1::2]).mean(),
    "one column": lambda v: (hidden(v) * hidden(v)[:, 2:3]).mean(),
    "one column as a vector": lambda v: cr.square(hidden(v)[:, -1]).mean(),
    "columns of data": lambda v: cr.sin(v["x"][:, 1:4] @ v["w"][2:5]).mean(),
    "pad": lambda v: cr.cos(cr.pad(hidden(v), [(0, 0), (2, 1)])).mean(),
    "join": lambda v: cr.sin(cr.concat([v["x"], hidden(v), v["x"][:, :1]], 1)).mean(),
    "join long ones": lambda v: cr.sin(
        cr.concat([hidden(v), v["x"], cr.sin(hidden(v))], 1)
    ).mean(),
    "join and softmax": lambda v: cr.square(
        cr.softmax(cr.concat([v["x"], hidden(v)], 1))
    ).sum(1).mean(),
    "join one": lambda v: cr.sin(cr.concat([hidden(v)], 1)).mean(),
    "skip connection": lambda v: cr.sin(
        cr.concat([v["x"], hidden(v)], 1) @ cr.concat([v["w"], v["w"][:2].T @ v["w"][:2]])
    ).mean(),
    "parts of a weight": lambda v: cr.sin(
        v["x"] @ v["w"][:, 1:3] + v["b"][1:3] * v["w"][2:4, :1].sum()
    ).mean(),
    "turned": lambda v: cr.sin(v["x"] @ (v["w"][:, :6] + 0.5 * v["w"][:, :6].T)).mean(),
    "another shape": lambda v: cr.sin(v["x"] @ v["w"].reshape(-1, 6).T).mean(),
    "inner slices": lambda v: cr.sin(cube(v)[:, 1:, :1] + cube(v)[:, :-1, 1:]).mean(),
    "inner turned": lambda v: (cube(v).transpose(0, 2, 1).reshape(-1, v["b"].shape[0])
                               * cr.sin(hidden(v))).mean(),
    "rows picked": lambda v: cr.sin(cr.gather(v["w"], v["ids"])).mean(),
    "numbers picked": lambda v: (cr.gather(v["b"], v["pairs"]) * v["x"][:, :2]).mean(),
    "matrices picked": lambda v: cr.sin(
        cr.gather(v["w"].reshape(6, -1, 2), v["pairs"][:, 1])
    ).mean(),
    "rows picked of data that were computed": lambda v: cr.sin(
        cr.gather(v["w"] * v["b"], (v["x"][:, 0] > 0).astype("int32") * 4 - 1)
    ).mean(),
    "rows always the same": lambda v: cr.sin(v["x"] @ v["w"][[1, 0, 1, 5, 4, -1]]).mean(),
    "picked, joined and multiplied": lambda v: cr.sin(
        cr.concat([cr.gather(v["w"], v["ids"])[:, :3], v["x"][:, 3:]], 1) @ v["w"]
    ).mean(),
    "a table of one row": lambda v: cr.sin(
        cr.gather(v["w"][:1] + 1, (v["x"][:, 0] > 9).astype("int32"))
    ).mean() + cr.sin(cr.gather(v["w"][1, :1], (v["x"][:, :2] > 9).astype("int32"))).mean(),
    "rows added": lambda v: cr.sin(cr.scatter_add(v["x"], v["ids"], 6) @ v["w"]).mean(),
    "two rows each": lambda v: (cr.sin(cr.gather(v["w"], v["pairs"]))
                                * v["b"]).reshape(-1, 2 * v["b"].shape[0]).mean(),
    "numbers added": lambda v: (
        cr.scatter_add(hidden(v)[:, 0], v["ids"], 6).reshape(6, 1) * v["w"]
    ).mean(),
    "inner repeats": lambda v: cr.sin(cube(v, 4) * cube(v, 4)[:, :, 1:2]).mean(),
    "inner softmax": lambda v: cr.square(cr.softmax(cube(v, 4))).mean(),
    "inner softmax of the middle": lambda v: cr.square(cr.softmax(cube(v, 4), 1)).mean(),
    "long inner softmax": lambda v: cr.square(
        cr.softmax((3 * hidden(v)).reshape(-1, 2, v["b"].shape[0] // 2))
    ).mean(),
    "layer normalization of three axes": lambda v: cr.sin(
        (cube(v) - cube(v).mean(2, keepdims=True)) / cr.sqrt(cr.var(cube(v), 2, keepdims=True) + 1)
        * v["b"][:2] + v["w"][0, :2]
    ).mean(),
    "largest of each": lambda v: (cube(v, 4).max(2) * cube(v, 4).sum(2) + cube(v, 4).max(1)[:, :1]
                                  ).mean(),
    "means of rows and inner axes": lambda v: cr.sin(
        cube(v).mean((0, 2)).sum() + (cube(v).mean((0, 1)) * v["b"][:2]).sum()
    ) + cr.sin(cube(v).max(0)).mean(),
    "a weight's sums": lambda v: cr.sin(v["w"].sum(1)).mean() + cr.sin(
        v["w"].reshape(2, 3, -1).max(1)
    ).mean() * v["x"].mean() + cr.sin(v["w"].reshape(2, 3, -1).sum(0)).mean(),
    "a number": lambda v: (hidden(v) * v["b"][1]).mean() + v["w"][1, 2],
}  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", LOSSES)
def test_moves_are_compiled_and_agree(name: str) -> None:
    case = step(LOSSES[name], 8)
    assert not case.native(4).code.left_to_reference()
    assert_agree(case, shuffled(ROWS, 2), 4, 1e-12, threads=2)


@pytest.mark.one_in(7)
@pytest.mark.parametrize("name", LOSSES)
def test_long_rows_agree_and_threads_change_no_bit(name: str) -> None:
    case, order = step(LOSSES[name], 68, "float32"), shuffled(ROWS, 2)
    assert_agree(case, order, 4, 1e-4)
    alone, several = case.native(4, 1), case.native(4, 3)
    assert alone.run(order, 4) == several.run(order, 4)
    for key, array in alone.state.items():
        np.testing.assert_array_equal(several.state[key], array)


@pytest.mark.parametrize("index", [6, -7, 2**40])
def test_an_index_out_of_range_is_an_error_that_names_it(index: int) -> None:
    case = step(LOSSES["picked, joined and multiplied"], 8)
    case.data["ids"][5] = index
    for program in (case.native(4, 1), case.native(4, 3), case.reference()):
        with pytest.raises(cr.ShapeError, match=f"index {index} .*out of range for 6 rows.*moves"):
            program.run(np.arange(ROWS), 4)
    case.data["ids"][5] = 1
    assert_agree(case, np.arange(ROWS), 4, 1e-12)


def test_an_index_out_of_range_is_an_error_of_a_function_too() -> None:
    table = cr.tensor(np.arange(12.0).reshape(4, 3))
    picked = prepare_function(
        Graph({"y": cr.gather(table, cr.input("i", ("n",), "int64")).node}), ["i"], engine="native"
    )
    np.testing.assert_array_equal(picked({"i": np.array([3, -1, 0])})["y"][:, 0], [9, 9, 0])
    with pytest.raises(cr.ShapeError, match="index 4 is out of range for 4 rows"):
        picked({"i": np.array([3, 4, 0])})
    np.testing.assert_array_equal(picked({"i": np.array([1])})["y"], [[3, 4, 5]])
