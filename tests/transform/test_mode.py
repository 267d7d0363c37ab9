"""A model recorded once, as it trains and as it predicts."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.parameter import Parameter
from chainrule.nn.initializers import Zeros
from chainrule.ops.training import by_mode, fresh_seed, penalizing, updating
from chainrule.run.program import prepare_function
from chainrule.transform.mode import for_predicting, for_training


def _state(name: str = "mean") -> Parameter:
    return Parameter(3, Zeros(), "float64", name, trainable=False)


def _step(value: int) -> cr.Tensor:
    return cr.tensor(value).astype("int64")


def test_each_mode_keeps_its_own_branch_and_drops_the_notes() -> None:
    x = cr.tensor([1.0, 2.0, 3.0], "float64")
    state = _state()
    y = penalizing(updating(by_mode(x * 2, x * 3), state, state + x), x.sum()) + 1.0
    trained = for_training([y], _step(0))
    assert trained.tensors[0].numpy().tolist() == [3, 5, 7]
    assert [p.item() for p in trained.penalties] == [6.0]
    ((node, value),) = trained.updates
    assert node is state.node
    assert value.numpy().tolist() == [1, 2, 3]
    graph = for_predicting(cr.Graph({"y": y}))
    assert cr.evaluate(graph)["y"].tolist() == [4, 7, 10] == y.numpy().tolist()
    assert {n.primitive.name for n in graph.nodes} == {"constant", "mul", "add"}


def test_notes_of_the_branch_not_taken_are_not_heard() -> None:
    x = cr.tensor([1.0])
    y = by_mode(x, penalizing(x, cr.tensor(5.0)))
    assert for_training([y], _step(0)).penalties == []
    assert len(for_training([by_mode(penalizing(x, cr.tensor(5.0)), x)], _step(0)).penalties) == 1


def test_seeds_differ_from_call_to_call_step_to_step_and_fit_to_fit() -> None:
    draws = [fresh_seed(), fresh_seed()]
    seen = {
        seed.item()
        for fit in (0, 1)
        for step in (0, 1)
        for seed in for_training(draws, _step(step), fit).tensors
    }
    assert len(seen) == 8
    again = [t.item() for t in for_training(draws, _step(1), 1).tensors]
    assert again == [t.item() for t in for_training(draws, _step(1), 1).tensors]


def test_one_state_set_twice_is_told_with_the_line() -> None:
    x, state = cr.tensor(np.ones(3)), _state("running")
    y = updating(updating(x, state, state + 1), state, state + 2)
    with pytest.raises(cr.GraphError, match=r"'running', used at .*test_mode.py:\d+, is set twice"):
        for_training([y], _step(0))


def test_what_is_noted_must_fit() -> None:
    x = cr.tensor([1.0, 2.0])
    with pytest.raises(cr.ShapeError, match="by_mode: the tensors of training and prediction must"):
        by_mode(x, cr.tensor([1.0]))
    with pytest.raises(cr.ShapeError, match="must be a scalar"):
        penalizing(x, x)
    with pytest.raises(cr.DTypeError, match="trainable=False"):
        updating(x, Parameter(2, Zeros()), x)
    with pytest.raises(cr.ShapeError, match="the state and its new value"):
        updating(x, _state(), x)


def test_a_function_of_rows_predicts() -> None:
    x = cr.input("x", ("n", 2))
    graph = cr.Graph({"y": by_mode(x * 0.0, x * 2.0)}, {"x": x})
    for engine in ("native", "reference"):
        function = prepare_function(graph, ["x"], engine=engine)
        assert function({"x": np.ones((3, 2), "float32")})["y"].tolist() == [[2, 2]] * 3


def test_a_fresh_seed_is_0_outside_training_on_both_engines() -> None:
    x = cr.input("x", ("n", 2))
    graph = cr.Graph({"y": x + cr.uniform(fresh_seed(), x.shape)}, {"x": x})
    expected = 1 + cr.uniform(0, (3, 2)).numpy()
    for engine in ("native", "reference"):
        function = prepare_function(graph, ["x"], engine=engine)
        np.testing.assert_array_equal(function({"x": np.ones((3, 2), "float32")})["y"], expected)


def test_gradients_follow_the_mode() -> None:
    x = cr.tensor([1.0, 2.0])
    y = by_mode(x * 5.0, x * 3.0).sum()
    slope = cr.grad(y, x)
    assert slope.numpy().tolist() == [3, 3]
    assert for_training([slope], _step(0)).tensors[0].numpy().tolist() == [5, 5]
