"""Every operation, and its gradient, computes in onnxruntime what the interpreter computes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.errors import OptionError
from chainrule.core.primitive import registry
from chainrule.interop.onnx_writer import onnx_model
from tests.run.operations import N, Use, graph_of, uses

pytestmark = pytest.mark.oracle

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

DTYPES = ("float32", "float64", "float32")
DRAWS = ("uniform", "fresh_seed")


def run_in_onnxruntime(content: bytes, given: dict[str, Any]) -> dict[str, Any]:
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = runtime.InferenceSession(content, options)
    wanted = [output.name for output in session.get_outputs()]
    asked = {part.name: given[part.name] for part in session.get_inputs()}
    return dict(zip(wanted, session.run(wanted, asked), strict=True))


def every_use() -> Iterator[Use]:
    for primitive in registry.values():
        if primitive.name not in DRAWS:
            yield from uses(primitive)


@pytest.mark.parametrize("name", [name for name in registry if name not in DRAWS])
def test_onnxruntime_agrees(name: str) -> None:
    for use, dtype in zip(uses(registry[name]), itertools.cycle(DTYPES), strict=False):
        if name == "count" and N in use.params["lengths"]:
            continue  # no input has these rows; the slopes of others count theirs
        graph, given = graph_of(use, "bool" if name.startswith("logical") else dtype)
        wanted = cr.evaluate(graph, given)
        found = run_in_onnxruntime(onnx_model(graph), given)
        exact = dtype == "float64" and name not in ("erf", "arctan")
        close = {"rtol": 1e-9, "atol": 1e-11} if exact else {"rtol": 2e-5, "atol": 2e-5}
        for output, array in wanted.items():
            assert found[output].dtype == array.dtype, f"{use}: {output}"
            np.testing.assert_allclose(found[output], array, **close, err_msg=f"{use}: {output}")


def test_every_operation_but_the_draws_has_a_use() -> None:
    tried = {use.name for use in every_use()}
    leaves = {name for name, primitive in registry.items() if primitive.leaf}
    assert set(registry) - tried - leaves == set(DRAWS)


def test_digits_near_zero_are_kept() -> None:
    x = cr.input("x", ("n",))
    graph = cr.Graph({"a": cr.expm1(x), "b": cr.log1p(x)}, {"x": x})
    given = {"x": np.float32([-1e-8, 1e-12, 3e-5, -200, 80, 1e30])}
    found = run_in_onnxruntime(onnx_model(graph), given)
    for output, wanted in cr.evaluate(graph, given).items():
        np.testing.assert_allclose(found[output], wanted, rtol=3e-7)


def test_random_numbers_are_refused() -> None:
    noise = cr.uniform(cr.input("seed", (), "int64"), (3,))
    with pytest.raises(OptionError, match="'uniform' has no form in ONNX"):
        onnx_model(cr.Graph({"noise": noise}))
