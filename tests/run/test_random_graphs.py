"""Random graphs run natively as the reference says, with the same bits on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.core.primitive import registry
from chainrule.core.tensor import record
from chainrule.ops.sparse import Wiring
from tests.run.agreement import Case
from tests.run.random_graphs import Trial, check, trials
from tests.run.rounding import assert_near, evaluate_noisily

EASY = list(HealthCheck)


@settings(max_examples=15, suppress_health_check=EASY)
@given(trials())
def test_random_graphs_agree(trial: Trial) -> None:
    check(trial)


@pytest.mark.thorough
@settings(max_examples=150, suppress_health_check=EASY)
@given(trials())
def test_more_random_graphs_agree(trial: Trial) -> None:
    check(trial)


@pytest.mark.thorough
def test_the_graphs_have_every_operation() -> None:
    met: set[str] = set()

    @settings(max_examples=1500, suppress_health_check=EASY, derandomize=True)
    @given(trials())
    def look(trial: Trial) -> None:
        met.update(node.primitive.name for node in trial.case.graph.nodes)

    look()
    # Leaves of other kinds are those of models, and engines never compute notes.
    assert {n for n, p in registry.items() if not p.note} - met <= {"parameter"}


@given(st.integers(0, 20), st.sampled_from([1e-9, 0.1]))
def test_a_wrong_value_is_noticed_unless_it_is_uncertain(seed: int, error: float) -> None:
    rng = np.random.default_rng(seed)
    x = cr.input("x", ("n",), "float64")
    values = {"x": np.array([0.3, 1.0, 2.5])}
    graph = cr.Graph({"well": cr.exp(x), "badly": 1 / (cr.exp(x) + 1e-17 - cr.exp(x + 1e-16))})
    noisy = [evaluate_noisily(graph, values, rng) for _ in range(4)]
    right = cr.evaluate(graph, values)
    assert_near(right, right, noisy)
    assert_near(right | {"badly": right["badly"] * (1 + error)}, right, noisy)
    with pytest.raises(AssertionError, match="1 of 3 elements differ"):
        assert_near(right | {"well": right["well"] + [0, error, 0]}, right, noisy)


def _trial(outputs: dict[str, cr.Tensor], state: dict[str, tuple[int, ...]]) -> Trial:
    """Return a step with `outputs` on data "x" of 7 rows of 3, and on state of some shapes."""
    rng = np.random.default_rng(0)
    graph = cr.Graph(outputs)
    arrays = {name: rng.normal(size=shape) for name, shape in state.items()}
    case = Case(graph, arrays, {"x": rng.normal(size=(7, 3))})
    return Trial(case, rng.permutation(7), 4, 4)


# What make fuzz-graphs has found.


def test_a_product_of_what_is_transposed_in_name_only() -> None:
    x, v, w = (
        cr.input(n, s, "float64") for n, s in (("x", ("n", 3)), ("v", (4, 5)), ("w", (4, 2)))
    )
    product = v.T @ w.transpose(0, 1)
    check(_trial({"product": product, "sum": x.sum(), "v": v, "w": w}, {"v": (4, 5), "w": (4, 2)}))


@pytest.mark.parametrize("transposed", [False, True])
def test_the_values_of_a_sparse_product_may_be_reshaped(transposed: bool) -> None:
    wiring = Wiring(1, 1, np.array([0]), np.array([0]))
    x, w = cr.input("x", ("n", 3), "float64"), cr.input("w", (2, 2), "float64")
    product = record(
        registry["sparse_matmul"], cr.exp(x).sum(1).reshape(x.shape[0], 1),
        cr.sin(w.sum()).reshape(1), wiring=wiring, transposed=transposed,
    )  # fmt: skip
    slope = cr.grad(cr.sin(product).sum(), w)
    check(_trial({"product": product, "w": w - slope}, {"w": (2, 2)}))


@pytest.mark.parametrize("rows", [1, 7])
def test_a_step_gives_a_column_for_each_row(rows: int) -> None:
    x = cr.input("x", ("n", 3), "float64")
    values = np.random.default_rng(0).normal(size=(7, 3))
    case = Case(cr.Graph({"out": cr.tanh(x) @ x.T, "sum": x.sum()}), {}, {"x": values})
    check(Trial(case, np.arange(rows), 4, 4))
