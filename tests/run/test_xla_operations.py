"""Every operation and its gradient on XLA, from the registry, against the interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import chainrule as cr
from chainrule.core.errors import ChainruleError
from chainrule.core.primitive import Primitive, registry
from chainrule.core.tensor import record
from tests.run.operations import N, drawn_uses, graph_of, reference
from tests.run.random_graphs import Trial, check_values, trials

pytestmark = pytest.mark.xla
BOUND = {"float32": 1e-4, "float64": 1e-11}  # a sine of a sum of 700 numbers is rounded that much
USES = 12  # of each operation


@pytest.fixture(scope="module", autouse=True)
def jax() -> Any:
    return pytest.importorskip("jax", reason="JAX is not installed: make xla")


@pytest.mark.one_in(9)
@pytest.mark.parametrize("name", sorted(n for n, p in registry.items() if not p.leaf))
def test_an_operation_and_its_gradient_are_those_of_the_reference(name: str) -> None:
    """In float64 and float32, and in integers where it takes them."""
    tried = set()
    for use, dtype in drawn_uses(name, USES):
        try:
            graph, given = graph_of(use, dtype)
        except cr.DTypeError:
            graph, given = graph_of(use, "bool" if name.startswith("logical") else "float64")
        try:
            expected = reference(graph, given)
        except ChainruleError as error:  # such as an index out of range
            with pytest.raises(type(error)):
                cr.evaluate(graph, given, engine="xla")
            continue
        found = cr.evaluate(graph, given, engine="xla")
        assert set(found) == set(expected)
        for output, value in expected.items():
            bound = BOUND.get(value.dtype.name, 0)
            assert found[output].dtype == value.dtype, f"{use} of {dtype}"
            np.testing.assert_allclose(
                found[output], value, rtol=bound, atol=bound, err_msg=f"{use} of {dtype}"
            )
            tried.add(value.dtype.name)
    assert tried
    if registry[name].vjp is not None:
        assert {"float32", "float64"} <= tried


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(trials())
def test_random_graphs_agree(trial: Trial) -> None:
    check_values(trial, lambda graph, values: cr.evaluate(graph, values, engine="xla"))


@pytest.mark.parametrize("seed", [0, 1, -3, 2**40 + 7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_numbers_are_the_same_to_the_last_bit(seed: int, dtype: str) -> None:
    graph = cr.Graph({"u": cr.uniform(cr.tensor(seed, "int64"), (3, 1001), 5, dtype)})
    found = cr.evaluate(graph, engine="xla")["u"]
    np.testing.assert_array_equal(found, cr.evaluate(graph)["u"])


@pytest.mark.parametrize("kind", ["gather", "scatter_add"])
def test_an_index_out_of_range_is_the_error_of_the_reference(kind: str) -> None:
    x, i = cr.input("x", (N, 3)), cr.input("i", (N, 2), "int32")
    y = cr.gather(x, i) if kind == "gather" else cr.scatter_add(cr.gather(x, i * 0), i, 4)
    graph = cr.Graph({"y": y})
    given = {"x": np.ones((4, 3)), "i": np.array([[0, -4], [3, 1], [0, 4], [-5, 0]])}
    messages = []
    for engine in ("reference", "xla"):
        with pytest.raises(cr.ShapeError, match=r"index 4 at \(2, 1\) is out of") as caught:
            cr.evaluate(graph, given, engine=engine)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    given["i"][2:] = 0
    for engine in ("reference", "xla"):
        assert np.isfinite(cr.evaluate(graph, given, engine=engine)["y"]).all()


def test_an_operation_of_your_own_is_compiled_by_its_own_implementation() -> None:
    def spread(x: Any, times: int) -> Any:
        middle = np.median(x, axis=1, keepdims=True)
        return np.where(x > middle, np.hypot(x, 1.0), np.tile(middle, (1, x.shape[1]))) * times

    own = Primitive("spread", infer=lambda x, times: x, meaning=spread)  # not registered
    x = cr.input("x", ("n", 5), "float64")
    graph = cr.Graph({"y": record(own, x, times=3)})
    given = {"x": np.random.default_rng(0).normal(size=(7, 5))}
    expected = cr.evaluate(graph, given)["y"]
    np.testing.assert_allclose(cr.evaluate(graph, given, engine="xla")["y"], expected, rtol=1e-13)


@pytest.mark.parametrize(
    "meaning",
    [
        lambda x: x if float(x.sum()) > 0 else -x,
        lambda x: np.asarray(x) + 1,
        lambda x: np.frompyfunc(lambda a: a + 1, 1, 1)(x),
    ],
    ids=["looks at a number", "needs an array", "calls Python"],
)
def test_what_can_not_be_traced_is_an_error_that_says_where(meaning: Any) -> None:
    own = Primitive("own", infer=lambda x: x, meaning=meaning)
    graph = cr.Graph({"y": record(own, cr.input("x", ("n",)))})
    with pytest.raises(cr.OptionError, match=r"own: engine='xla' .*test_xla_operations.py:\d+"):
        cr.evaluate(graph, {"x": np.ones(3)}, engine="xla")


def test_too_little_memory_is_an_error_with_the_sizes() -> None:
    x = cr.input("x", ("n",))
    graph = cr.Graph({"y": cr.broadcast_to(x.sum(), (2**24, 2**23))})
    with pytest.raises(cr.RunError, match=r"memory: .* allocating 562949953421312 bytes"):
        cr.evaluate(graph, {"x": np.ones(3)}, engine="xla")


def test_other_engines_are_refused() -> None:
    with pytest.raises(cr.OptionError, match="'reference' or 'xla', not 'native'"):
        cr.evaluate(cr.Graph({"y": cr.tensor(1.0)}), engine="native")


def test_without_jax_the_error_says_what_to_install() -> None:
    source = """if True:
        import sys
        sys.modules["jax"] = None
        import chainrule as cr
        try:
            cr.evaluate(cr.Graph({"y": cr.tensor(1.0)}), engine="xla")
        except cr.OptionError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert "pip install jax" in done.stdout, done.stderr
