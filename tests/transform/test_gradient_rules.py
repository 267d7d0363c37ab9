"""Every gradient rule agrees with central differences, and a wrong one is caught."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core.primitive import Primitive, lookup, registry
from chainrule.core.tensor import Tensor, record

PRIMITIVES = {name: p for name, p in registry.items() if not p.leaf}
DIFFERENTIABLE = sorted(name for name, p in PRIMITIVES.items() if p.vjp is not None)
CONSTANT = {"floor", "sign"}  # rules that say: the slope is zero
# Inputs that only training looks at: evaluated as it stands, a graph does not depend on them.
UNSEEN = {"by_mode": {0}, "updating": {1, 2}, "penalizing": {1}}


def _drawn(primitive: Primitive, seed: int) -> tuple[list[Any], dict[str, Any]]:
    assert primitive.domain is not None
    arrays, params = primitive.domain(np.random.default_rng(seed))
    return [np.asarray(a) for a in arrays], params


def _applied(name: str, params: dict[str, Any]) -> Callable[..., Tensor]:
    """The primitive registered now, so that a test may put another one in its place."""
    return lambda *tensors: record(lookup(name), *tensors, **params)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("seed", range(4))
def test_rule_agrees_with_central_differences(name: str, seed: int) -> None:
    arrays, params = _drawn(PRIMITIVES[name], seed)
    cr.check_grads(_applied(name, params), arrays, order=2, seed=seed)


@pytest.mark.parametrize("name", sorted(set(DIFFERENTIABLE) - CONSTANT))
def test_a_rule_with_one_sign_flipped_is_caught(name: str) -> None:
    primitive = PRIMITIVES[name]
    arrays, params = _drawn(primitive, 0)
    floats = {i for i, a in enumerate(arrays) if a.dtype.kind == "f"} - UNSEEN.get(name, set())
    assert floats
    for flipped in floats:

        def wrong(*args: Any, flipped: int = flipped, **kwargs: Any) -> tuple[Any, ...]:
            assert primitive.vjp is not None
            slopes = primitive.vjp(*args, **kwargs)
            return tuple(-s if i == flipped else s for i, s in enumerate(slopes))

        # Not in the registry: a wrong sum there would be wrong twice, in the check as well.
        mutant = replace(primitive, vjp=wrong)
        with pytest.raises(cr.ChainruleError, match=r"gradient of order 1 is .* differences"):
            cr.check_grads(lambda *t, p=mutant: record(p, *t, **params), arrays, order=2)
    cr.check_grads(lambda *t: record(primitive, *t, **params), arrays, order=2)


@pytest.mark.parametrize("name", sorted(CONSTANT))
def test_a_rule_that_says_zero_when_it_should_not_is_caught(name: str, monkeypatch: Any) -> None:
    tanh = lookup("tanh")
    monkeypatch.setitem(registry, "tanh", replace(tanh, vjp=lookup(name).vjp))
    with pytest.raises(cr.ChainruleError, match="gradient of order 1 is 0"):
        cr.check_grads(_applied("tanh", {}), [np.linspace(-1, 1, 5)])


def test_a_second_order_mistake_is_caught(monkeypatch: Any) -> None:
    """The slope's value is right, but hidden from the gradient's own gradient."""
    monkeypatch.setitem(
        registry, "exp", replace(lookup("exp"), vjp=lambda g, out, x: (g * cr.stop_gradient(out),))
    )
    with pytest.raises(cr.ChainruleError, match="gradient of order 2"):
        cr.check_grads(_applied("exp", {}), [np.linspace(-1, 1, 5)])


BINARY = sorted(
    name for name in DIFFERENTIABLE if PRIMITIVES[name].elementwise and
    len(_drawn(PRIMITIVES[name], 0)[0]) == 2
)  # fmt: skip
SHAPES = [
    ((3, 4), (3, 1)), ((3, 4), ()), ((), (3, 4)), ((1, 4), (3, 1)), ((2, 1, 4), (3, 1)),
    ((4,), (2, 3, 4)), ((1,), ()), ((), ()), ((0,), (1,)), ((3, 0), (3, 1)), ((1, 1), (1,)),
]  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("shapes", SHAPES)
def test_slopes_are_summed_back_through_broadcasting(name: str, shapes: Any) -> None:
    rng = np.random.default_rng(3)
    arrays = [np.asarray(rng.uniform(0.5, 2, shape)) for shape in shapes]
    cr.check_grads(_applied(name, {}), arrays, order=2)
    x, y = map(cr.tensor, arrays)
    slopes = cr.grad(_applied(name, {})(x, y).sum(), [x, y])
    assert [s.shape for s in slopes] == list(shapes)


@pytest.mark.parametrize("shapes", [((3,), (2, 3), ()), ((2, 1), (), (3,)), ((), (3, 1), (1, 2))])
def test_slopes_of_where_are_summed_back(shapes: Any) -> None:
    rng = np.random.default_rng(4)
    arrays = [rng.random(shapes[0]) < 0.5, *(rng.normal(size=s) for s in shapes[1:])]
    cr.check_grads(cr.where, [np.asarray(a) for a in arrays], order=2)


@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((2, 1, 2, 3), (5, 3, 1)),
     ((3,), (3, 4)), ((2, 3), (3,)), ((3,), (3,)), ((0, 3), (3, 2)), ((2, 0), (0, 3))],
)  # fmt: skip
def test_slopes_of_matmul_over_batch_axes_and_vectors(a: Any, b: Any) -> None:
    rng = np.random.default_rng(5)
    cr.check_grads(cr.matmul, [rng.normal(size=a), rng.normal(size=b)], order=2)


REST: dict[str, tuple[Callable[..., Tensor], list[tuple[int, ...]]]] = {
    "sum, kept": (lambda x: cr.sum(x, 0, keepdims=True) * x, [(3, 4)]),
    "sum over none": (lambda x: x.sum(()) ** 2, [(3,)]),
    "max over all": (lambda x: x.max() ** 2, [(3, 4)]),
    "max over two, kept": (lambda x: cr.max(x, (0, 2), keepdims=True) * x, [(2, 3, 4)]),
    "broadcast": (lambda x: cr.broadcast_to(x, (2, 3, 4)) ** 2, [(1, 4)]),
    "slice with steps": (lambda x: x[1::3, ::2] ** 2, [(8, 5)]),
    "slice that leaves a rest": (lambda x: x[0:6:3, 1:3:4] ** 2, [(8, 5)]),
    "slice of nothing, with a step": (lambda x: x[2:2:3].sum() + x.sum() ** 2, [(4,)]),
    "slice of nothing": (lambda x: x[2:2].sum() + x.sum() ** 2, [(4,)]),
    "newaxis and number": (lambda x: x[:, None, 1] ** 2, [(3, 4)]),
    "pad": (lambda x: cr.pad(x, [(1, 0), (2, 3)]) ** 2, [(2, 3)]),
    "pad of nothing": (lambda x, y: cr.pad(x, [(1, 2)]).sum() + y**2, [(0,), ()]),
    "concat of three": (lambda *t: cr.concat(t, 1) ** 2, [(2, 1), (2, 0), (2, 3)]),
    "stack": (lambda *t: cr.stack(t, 1) ** 2, [(2, 3), (2, 3)]),
    "gather twice the same": (lambda x: cr.gather(x, [[1, 1], [-1, 0]]) ** 2, [(3, 2)]),
    "gather by a number": (lambda x: x[np.array(1)] ** 2, [(3, 2)]),
    "scatter_add": (lambda x: cr.scatter_add(x, [0, 2, 0], 4) ** 2, [(3, 2)]),
    "swap and squeeze": (lambda x: cr.squeeze(x, 1).T ** 2, [(3, 1, 2)]),
    "abs below zero": (lambda x: abs(-1 - x * x), [(4,)]),
}


@pytest.mark.parametrize("name", REST)
def test_slopes_beyond_the_domains(name: str) -> None:
    function, shapes = REST[name]
    rng = np.random.default_rng(6)
    cr.check_grads(function, [np.asarray(rng.normal(size=s)) for s in shapes], order=2)


def test_powers_of_negative_numbers_and_of_zero() -> None:
    cr.check_grads(lambda x: x**3 + x**2, [np.array([-2.0, -0.5, 1.5])], order=3)
    x, y = cr.tensor(np.array([0.0, -1.0])), cr.tensor(np.array([2.0, 3.0]))
    to_x, to_y = cr.grad((x**y).sum(), [x, y])
    assert to_x.numpy().tolist() == [0.0, 3.0]
    assert to_y.numpy().tolist() == [0.0, 0.0]


def test_ties() -> None:
    x, y = cr.tensor([1.0, 2.0]), cr.tensor([1.0, 0.0])
    to_both = cr.grad(cr.maximum(x, y).sum(), [x, y])
    assert [s.numpy().tolist() for s in to_both] == [[0.5, 1], [0.5, 0]]
    to_both = cr.grad(cr.minimum(x, y).sum(), [x, y])
    assert [s.numpy().tolist() for s in to_both] == [[0.5, 0], [0.5, 1]]
    z = cr.tensor([3.0, 3.0, 1.0, 3.0])
    np.testing.assert_allclose(cr.grad(z.max(), z).numpy(), [1 / 3, 1 / 3, 0, 1 / 3], rtol=1e-6)


@pytest.mark.parametrize("source", ["float32", "float64"])
@pytest.mark.parametrize("target", ["float32", "float64"])
def test_the_slope_of_a_cast_has_the_dtype_of_its_input(source: str, target: str) -> None:
    x = cr.tensor(np.ones(3, source))
    slope = cr.grad((cr.cast(x, target) * 2).sum(), x)
    assert slope.dtype == source
    assert slope.numpy().tolist() == [2, 2, 2]


def test_no_slope_passes_through_integers() -> None:
    x = cr.tensor([1.5, 2.5])
    through = cr.cast(cr.cast(x, "int64"), "float32")
    assert cr.grad((through * x).sum(), x).numpy().tolist() == [1.0, 2.0]
