"""Jacobians and Hessians against central differences, closed forms and the gradient's own rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.primitive import registry
from chainrule.core.tensor import record
from chainrule.transform.jacobian import push_forward

RNG = np.random.default_rng(3)
A = RNG.normal(size=(3, 2))
X = RNG.uniform(0.5, 1.5, (2, 2))
B = RNG.uniform(0.5, 1.5, 3)


def network(x: Any, b: Any) -> Any:
    """Some function from (2, 2) and (3,) to (3, 2) whose every output depends on every input."""
    return cr.tanh(A @ x) * b[:, None] + cr.exp(-b).sum() * x.max(0)


def differences(function: Any, arrays: list[Any], k: int, step: float = 1e-6) -> Any:
    columns = []
    for place in np.ndindex(arrays[k].shape):
        sides = []
        for sign in (1, -1):
            moved = [a.copy() for a in arrays]
            moved[k][place] += sign * step
            sides.append(function(*map(cr.tensor, moved)).numpy())
        columns.append((sides[0] - sides[1]) / (2 * step))
    shape = columns[0].shape
    return np.stack(columns, -1).reshape(*shape, *arrays[k].shape)


@pytest.mark.parametrize("take", [slice(None), slice(0, 1)], ids=["rows", "columns"])
def test_both_modes_equal_central_differences(take: slice) -> None:
    # 7 inputs: all 6 outputs are fewer, so rows are computed; by columns of the transpose, below.
    def function(x: Any, b: Any) -> Any:
        return network(x, b)[take]

    x, b = cr.tensor(X), cr.tensor(B)
    for k, found in enumerate(cr.jacobian(function(x, b), [x, b])):
        np.testing.assert_allclose(found, differences(function, [X, B], k), rtol=1e-7, atol=1e-8)


def test_columns_equal_rows() -> None:
    b = cr.tensor(B)
    y = cr.concat([cr.sin(b) * b[0], cr.exp(b) / b.sum(), b**2], 0)  # 9 outputs of 3 inputs
    by_columns = cr.jacobian(y, b)
    assert by_columns.shape == (9, 3)
    by_rows = cr.stack([cr.jacobian(y[i], b) for i in range(9)])
    np.testing.assert_allclose(by_columns, by_rows, rtol=1e-13)


def test_of_a_scalar_it_is_the_gradient() -> None:
    b = cr.tensor(B)
    y = cr.logsumexp(b)
    np.testing.assert_array_equal(cr.jacobian(y, b), cr.grad(y, b))


def test_rows_that_data_decide_stay_symbolic() -> None:
    x = cr.input("x", ("n",), "float64")
    a, b = cr.tensor(np.array(2.0)), cr.tensor(np.array([0.5, 1.5]))
    to_a, to_b = cr.jacobian(a * cr.exp(-b[0] * x) + b[1], [a, b])
    assert [str(t.node.spec) for t in (to_a, to_b)] == ["f64[n]", "f64[n,2]"]
    rows = np.linspace(0, 2, 5)
    values = cr.evaluate(cr.Graph({"a": to_a, "b": to_b}), {"x": rows})
    e = np.exp(-0.5 * rows)
    np.testing.assert_allclose(values["a"], e, rtol=1e-14)
    np.testing.assert_allclose(values["b"], np.stack([-2 * rows * e, np.ones(5)], 1), rtol=1e-14)


def test_inputs_may_have_the_rows() -> None:
    x = cr.input("x", ("n",), "float64")
    found = cr.jacobian(cr.stack([(x * x).sum(), x.sum()]), x)
    values = cr.evaluate(cr.Graph({"J": found}), {"x": [1.0, 2.0, 3.0]})["J"]
    np.testing.assert_array_equal(values, [[2, 4, 6], [1, 1, 1]])


def test_hessian_has_the_closed_form_and_is_symmetric() -> None:
    b = cr.tensor(B)
    p = np.exp(B) / np.exp(B).sum()
    np.testing.assert_allclose(
        cr.hessian(cr.logsumexp(b), b), np.diag(p) - np.outer(p, p), rtol=1e-12, atol=1e-15
    )


def test_hessian_of_several_inputs_comes_in_blocks() -> None:
    a, b = cr.tensor(np.array([1.0, 2.0])), cr.tensor(np.array(3.0))
    blocks = cr.hessian((a * a).sum() * b**2, [a, b])
    np.testing.assert_allclose(blocks[0][0], 18 * np.eye(2))
    np.testing.assert_allclose(blocks[0][1], [12, 24])
    np.testing.assert_allclose(blocks[1][0], [12, 24])
    np.testing.assert_allclose(blocks[1][1], 10)


def test_what_it_does_not_depend_on_has_zeros() -> None:
    a, b = cr.tensor([1.0, 2.0]), cr.tensor([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(cr.jacobian(a * 2, [a, b], unused="zero")[1], np.zeros((2, 3)))
    np.testing.assert_array_equal(cr.jacobian(b * 2, [a, b], unused="zero")[0], np.zeros((3, 2)))


SMOOTH = sorted(n for n, p in registry.items() if p.vjp is not None and p.domain is not None)


@pytest.mark.parametrize("name", SMOOTH)
def test_forward_mode_agrees_with_differences_for_every_operation(name: str) -> None:
    primitive = registry[name]
    assert primitive.domain is not None
    arrays, params = primitive.domain(np.random.default_rng(5))
    arrays = [np.asarray(a, float) if np.asarray(a).dtype.kind == "f" else a for a in arrays]
    moving = [i for i, a in enumerate(arrays) if np.asarray(a).dtype.kind == "f"]
    along = [RNG.normal(size=arrays[i].shape) for i in moving]
    tensors = [cr.tensor(a) for a in arrays]
    output = record(primitive, *tensors, **params)
    if output.dtype.kind != "f":
        pytest.skip("its result is not a float")
    found = push_forward(output, [tensors[i] for i in moving], [cr.tensor(v) for v in along])
    assert found.shape == output.shape
    sides = []
    for step in (1e-6, -1e-6):
        moved = list(arrays)
        for i, v in zip(moving, along, strict=True):
            moved[i] = arrays[i] + step * v
        sides.append(record(primitive, *map(cr.tensor, moved), **params).numpy())
    measured = (sides[0].astype(float) - sides[1]) / 2e-6
    tolerance = 1e-6 if output.dtype == np.float64 else np.inf
    np.testing.assert_allclose(found, measured, rtol=tolerance, atol=1e-6)


def test_its_own_gradient_is_right() -> None:
    cr.check_grads(lambda b: cr.jacobian(cr.stack([b[0] * b[1], cr.exp(b[2])]), b) ** 2, [B])
    cr.check_grads(lambda b: cr.jacobian(cr.concat([b**3, b * b[0]], 0), b), [B], order=1)


def test_what_can_t_be_differentiated_is_refused_with_words() -> None:
    x = cr.input("x", ("n",))
    with pytest.raises(cr.ShapeError, match="both have a length"):
        cr.jacobian(x * 2, x)
    with pytest.raises(cr.DTypeError, match="jacobian needs floats, not i64"):
        cr.jacobian(cr.tensor([1.0]), cr.tensor([1]))
    with pytest.raises(cr.GraphError, match="needs tensors, not float"):
        cr.jacobian(1.0, cr.tensor(1.0))  # type: ignore[call-overload]
    with pytest.raises(cr.ShapeError, match="scalar"):
        cr.hessian(cr.tensor([1.0, 2.0]), cr.tensor(1.0))
