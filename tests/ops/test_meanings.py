"""Every primitive of the registry means what an independent statement of it says it means."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

import chainrule as cr
from chainrule.core.primitive import Primitive, registry
from chainrule.core.tensor import Tensor, record

Array = Any

PRIMITIVES = {name: p for name, p in registry.items() if not p.leaf}
ELEMENTWISE = {name: p for name, p in PRIMITIVES.items() if p.elementwise}
FLOATS = ("float32", "float64")
NUMBERS = (*FLOATS, "int32", "int64", "uint8")


# --- an independent statement of each --------------------------------------------------------


def _pad(x: Array, low: Array, high: Array, interior: Array) -> Array:
    shape = [
        a + b + n + max(n - 1, 0) * gap
        for n, a, b, gap in zip(x.shape, low, high, interior, strict=True)
    ]
    out = np.zeros(shape, x.dtype)
    for place in np.ndindex(*x.shape):
        out[tuple(a + i * (gap + 1) for i, a, gap in zip(place, low, interior, strict=True))] = x[
            place
        ]
    return out


def _slice(x: Array, starts: Array, stops: Array, steps: Array) -> Array:
    for axis, bounds in enumerate(zip(starts, stops, steps, strict=True)):
        x = np.take(x, range(*bounds), axis=axis)
    return x


def _scatter_add(updates: Array, indices: Array, rows: int) -> Array:
    chosen = (indices.reshape(-1, 1) % rows == np.arange(rows)).astype(updates.dtype)
    rest = updates.shape[indices.ndim :]
    return (chosen.T @ updates.reshape(indices.size, math.prod(rest))).reshape(rows, *rest)


def _threefry_word_pair(key: tuple[int, int], counter: tuple[int, int]) -> tuple[int, int]:
    """Threefry-2x32-20 in Python integers, from the paper's description."""
    mask = 0xFFFFFFFF
    schedule = [*key, 0x1BD11BDA ^ key[0] ^ key[1]]
    x, y = ((c + k) & mask for c, k in zip(counter, key, strict=True))
    for round_ in range(20):
        turn = (13, 15, 26, 6, 17, 29, 16, 24)[round_ % 8]
        x = (x + y) & mask
        y = ((y << turn | y >> (32 - turn)) & mask) ^ x
        if round_ % 4 == 3:
            s = round_ // 4 + 1
            x = (x + schedule[s % 3]) & mask
            y = (y + schedule[(s + 1) % 3] + s) & mask
    return x, y


def _uniform(seed: Array, shape: tuple[int, ...], stream: int, dtype: str) -> Array:
    key = (int(seed) & 0xFFFFFFFF, int(seed) >> 32 & 0xFFFFFFFF)
    pairs = [_threefry_word_pair(key, (i, stream)) for i in range(math.prod(shape))]
    if dtype == "float32":
        values = [(x >> 8) / 2**24 for x, _ in pairs]
    else:
        values = [((x << 32 | y) >> 11) / 2**53 for x, y in pairs]
    return np.array(values, dtype).reshape(shape)


def _greater(x: Array, y: Array) -> Array:
    return np.where(np.isnan(x) | np.isnan(y), x + y, np.where(x > y, x, y)).astype(x.dtype)


def _dense(weight: Array, wiring: Any) -> Array:
    matrix = np.zeros((wiring.inputs, wiring.outputs), weight.dtype)
    matrix[wiring.sources, wiring.targets] = weight
    return matrix


STATEMENTS: dict[str, Callable[..., Any]] = {
    "abs": lambda x: np.where(x < 0, -x, x),
    "add": lambda x, y: x + y,
    "arctan": lambda x: np.vectorize(math.atan, [float])(x).astype(x.dtype),
    "arange": lambda length, dtype: np.array(list(range(length)), dtype),
    "argmax": lambda x, axis: np.argsort(-x, axis=axis, kind="stable").take(0, axis=axis),
    "broadcast": lambda x, shape: x + np.zeros(shape, x.dtype),
    "by_mode": lambda training, predicting: predicting + 0,
    "cast": lambda x, dtype: np.array(x, dtype=dtype),
    "concat": lambda *arrays, axis: np.moveaxis(
        np.array([row for a in arrays for row in np.moveaxis(a, axis, 0)]), 0, axis
    ),
    "cos": np.cos,
    "count": lambda lengths, dtype: np.ones(lengths, dtype).sum(dtype=dtype),
    "div": lambda x, y: x / y,
    "row_products": lambda a, b: sum(np.outer(a[i], b[i]) for i in np.ndindex(a.shape[:-1])),
    "edge_products": lambda x, y, wiring: (x.T @ y)[wiring.sources, wiring.targets],
    "equal": lambda x, y: x == y,
    "erf": lambda x: special.erf(x).astype(x.dtype),
    "exp": np.exp,
    "expm1": special.expm1,
    "floor": lambda x: np.trunc(x) - (np.trunc(x) > x),
    "fresh_seed": lambda draw: np.array(0, "int64"),
    "gather": lambda x, indices: np.take(x, indices, axis=0),
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "log": np.log,
    "log1p": special.log1p,
    "log2": lambda x: np.log10(x) / np.log10(x.dtype.type(2)),
    "logical_and": lambda x, y: x & y,
    "logical_not": lambda x: ~x,
    "logical_or": lambda x, y: x | y,
    "matmul": lambda a, b: np.einsum("...ij,...jk->...ik", a, b),
    "max": lambda x, axes, keepdims: np.maximum.reduce(x, axis=axes, keepdims=keepdims),
    "maximum": _greater,
    "minimum": lambda x, y: np.where(
        np.isnan(x) | np.isnan(y), x + y, np.where(x < y, x, y)
    ).astype(x.dtype),
    "mul": lambda x, y: x * y,
    "neg": lambda x: 0 - x,
    "pad": _pad,
    "penalizing": lambda x, penalty: x + 0,
    "pow": lambda x, y: x**y,
    "relu": lambda x: np.where(x < 0, 0, x).astype(x.dtype),
    "reshape": lambda x, shape: np.array(list(x.flat), x.dtype).reshape(shape),
    "scatter_add": _scatter_add,
    "sigmoid": special.expit,
    "sign": lambda x: np.where(
        np.isnan(x), x, (x > 0).astype(x.dtype) - (x < 0).astype(x.dtype)
    ).astype(x.dtype),
    "sin": np.sin,
    "slice": _slice,
    "sparse_matmul": lambda x, weight, wiring, transposed: (
        x @ (_dense(weight, wiring).T if transposed else _dense(weight, wiring))
    ),
    "sqrt": np.sqrt,
    "stop_gradient": lambda x: x,
    "sub": lambda x, y: x - y,
    "sum": lambda x, axes, keepdims: np.add.reduce(x, axis=axes, keepdims=keepdims),
    "tan": lambda x: np.sin(x) / np.cos(x),
    "tanh": np.tanh,
    "transpose": lambda x, axes: np.moveaxis(x, axes, range(x.ndim)),
    "uniform": _uniform,
    "updating": lambda x, state, value: x + 0,
    "where": lambda c, x, y: np.choose(c, [y, x]),
}


def _same(have: Any, want: Any, digits: int = 6) -> None:
    """Equal in shape, dtype and (to rounding) value, NaN equal to NaN."""
    have, want = np.asarray(have), np.asarray(want)
    assert have.shape == want.shape
    assert have.dtype == want.dtype
    scale = 10.0 ** (-digits if want.dtype == np.float32 else -2 * digits)
    np.testing.assert_allclose(have, want, rtol=scale, atol=scale * 0.1)


def _converted(primitive: Primitive, dtype: str, seed: int = 0) -> tuple[list[Any], dict[str, Any]]:
    """The primitive's own domain with its float inputs in `dtype`."""
    assert primitive.domain is not None, f"{primitive.name} has no domain to draw tests from"
    arrays, params = primitive.domain(np.random.default_rng(seed))
    arrays = [np.asarray(a) for a in arrays]
    return [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays], params


def _apply(name: str, arrays: list[Any], **params: Any) -> tuple[Any, list[Any]]:
    """Record and evaluate; return the value and the inputs as promotion left them."""
    out = record(registry[name], *arrays, **params)
    inputs = [Tensor(n).numpy() for n in out.node.inputs]
    value = out.numpy()
    assert out.shape == value.shape, f"{name} infers {out.node.spec}"
    assert out.dtype == value.dtype, f"{name} infers {out.node.spec}, computes {value.dtype}"
    return value, inputs


@pytest.mark.parametrize("name", sorted(PRIMITIVES))
def test_every_primitive_has_an_independent_statement(name: str) -> None:
    assert name in STATEMENTS, f"state what {name!r} means in STATEMENTS"


@pytest.mark.parametrize("name", sorted(PRIMITIVES))
@pytest.mark.parametrize("dtype", FLOATS)
def test_meaning_on_the_domain(name: str, dtype: str) -> None:
    for seed in range(3):
        arrays, params = _converted(PRIMITIVES[name], dtype, seed)
        value, inputs = _apply(name, arrays, **params)
        _same(value, STATEMENTS[name](*inputs, **params))


INTEGER_BLIND = {
    "matmul", "row_products", "sparse_matmul", "edge_products", "uniform",
    "logical_and", "logical_or", "logical_not",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(PRIMITIVES) - INTEGER_BLIND))
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_meaning_on_integers(name: str, dtype: str) -> None:
    assert PRIMITIVES[name].domain is not None
    arrays, params = PRIMITIVES[name].domain(np.random.default_rng(0))
    arrays = [
        (np.abs(a) * 3 + 1).astype(dtype) if np.asarray(a).dtype.kind == "f" else a for a in arrays
    ]
    value, inputs = _apply(name, arrays, **params)
    with np.errstate(all="ignore"):
        want = np.asarray(STATEMENTS[name](*inputs, **params))
    _same(value, want.astype(np.int64) if name == "sum" else want)


@pytest.mark.parametrize("name", sorted(p for p in PRIMITIVES if PRIMITIVES[p].floating))
@pytest.mark.parametrize("dtype", ["bool", "int32", "int64", "uint8", "uint32"])
def test_floating_operations_take_integers_to_floats(name: str, dtype: str) -> None:
    arity = len(_converted(PRIMITIVES[name], "float64")[0])
    value, _ = _apply(name, [np.array([1, 1], dtype)] * arity)
    assert value.dtype == np.result_type(dtype, np.float32)


@pytest.mark.parametrize("name", ["neg", "sub", "sign"])
def test_what_numpy_refuses_on_booleans_is_refused_when_recorded(name: str) -> None:
    arity = 2 if name == "sub" else 1
    with pytest.raises(cr.DTypeError, match=f"{name}: .*bool.*convert"):
        record(registry[name], *[np.array([True])] * arity)


@pytest.mark.parametrize("name", ["add", "mul", "maximum", "minimum", "equal", "less", "abs"])
def test_arithmetic_on_booleans_is_numpy_s(name: str) -> None:
    x, y = np.array([True, True, False, False]), np.array([True, False, True, False])
    arrays = [x] if name == "abs" else [x, y]
    value, _ = _apply(name, arrays)
    _same(value, getattr(np, {"mul": "multiply"}.get(name, name))(*arrays))


# Names of ONNX operators that an operation of this kind could have; all are among
# `onnx.defs.get_all_schemas()` of onnx 1.23.
_NAMES = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Cast Ceil Clip Concat Cos Cosh CumSum
Div Equal Erf Exp Expand Floor Gather GatherElements GatherND Greater GreaterOrEqual Identity
Less LessOrEqual Log MatMul Max Min Mod Mul Neg Not Or Pad Pow RandomNormal RandomUniform Range
ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Round ScatterElements ScatterND
Shape Sigmoid Sign Sin Sinh Size Slice Softplus Sqrt Sub Tan Tanh Transpose Where Xor
"""
ONNX = set(_NAMES.split())


@pytest.mark.parametrize("name", sorted(name for name, p in PRIMITIVES.items() if p.onnx))
def test_the_onnx_name_is_that_of_an_operator(name: str) -> None:
    assert PRIMITIVES[name].onnx in ONNX


def test_no_two_operations_have_one_onnx_name() -> None:
    names = [p.onnx for p in PRIMITIVES.values() if p.onnx]
    assert len(names) == len(set(names))


# --- broadcasting ------------------------------------------------------------------------------

SHAPES = [(), (1,), (4,), (3, 1), (3, 4), (1, 4), (2, 1, 4), (1, 1, 1), (0,), (3, 0), (0, 4), (5,)]


def _values(rng: np.random.Generator, shape: tuple[int, ...], name: str, position: int) -> Any:
    if name.startswith("logical") or (name == "where" and position == 0):
        return np.asarray(rng.random(shape) < 0.5)
    return np.asarray(rng.uniform(0.25, 2, shape))


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_broadcasting_is_numpy_s_in_every_combination(name: str) -> None:
    rng = np.random.default_rng(1)
    arrays, params = _converted(ELEMENTWISE[name], "float64")
    for shapes in itertools.product(SHAPES, repeat=len(arrays)):
        given = [_values(rng, shape, name, i) for i, shape in enumerate(shapes)]
        try:
            expected = np.broadcast_shapes(*shapes)
        except ValueError:
            with pytest.raises(cr.ShapeError, match=f"{name}: .*do not broadcast: lengths"):
                record(registry[name], *given, **params)
            continue
        value, inputs = _apply(name, given, **params)
        assert value.shape == expected
        _same(value, STATEMENTS[name](*np.broadcast_arrays(*inputs), **params))


# --- the scalar rule ------------------------------------------------------------------------------


class NumpyBuilder:
    """The neutral vocabulary of scalar rules, said in NumPy."""

    functions: dict[str, Callable[[Any], Any]] = {  # noqa: RUF012
        "abs": np.fabs, "floor": np.floor, "exp": np.exp, "expm1": np.expm1, "log": np.log,
        "log1p": np.log1p, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "tanh": np.tanh,
        "arctan": np.arctan,
        "sigmoid": special.expit, "erf": special.erf, "is_nan": np.isnan,
    }  # fmt: skip

    def constant(self, value: float) -> Any:
        return value

    def add(self, x: Any, y: Any) -> Any:
        return x + y

    def sub(self, x: Any, y: Any) -> Any:
        return x - y

    def mul(self, x: Any, y: Any) -> Any:
        return x * y

    def div(self, x: Any, y: Any) -> Any:
        return x / y

    def pow(self, x: Any, y: Any) -> Any:
        return np.power(x, y)

    def less(self, x: Any, y: Any) -> Any:
        return np.less(x, y)

    def less_equal(self, x: Any, y: Any) -> Any:
        return np.less_equal(x, y)

    def equal(self, x: Any, y: Any) -> Any:
        return np.equal(x, y)

    def both(self, x: Any, y: Any) -> Any:
        return np.bitwise_and(x, y)

    def either(self, x: Any, y: Any) -> Any:
        return np.bitwise_or(x, y)

    def negate(self, x: Any) -> Any:
        return np.negative(x)

    def select(self, condition: Any, x: Any, y: Any) -> Any:
        assert np.asarray(condition).dtype == np.bool_
        return np.where(condition, x, y)

    def math(self, name: str, x: Any) -> Any:
        return self.functions[name](x)

    def convert(self, x: Any, dtype: str) -> Any:
        return np.asarray(x).astype(dtype)


SPECIAL = [
    math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, 1e-20, 30.0, -30.0,
    1000.0, -1000.0,
]  # fmt: skip


def _crossed(name: str, dtype: str) -> list[Any]:
    """Each input ranging over the special values, in all combinations."""
    arity = len(_converted(ELEMENTWISE[name], "float64")[0])
    numbers, truths = np.array(SPECIAL, dtype), np.array([True, False])
    axes = [
        truths if name.startswith("logical") or (name == "where" and i == 0) else numbers
        for i in range(arity)
    ]
    return [np.ascontiguousarray(a) for a in np.meshgrid(*axes, indexing="ij")]


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
@pytest.mark.parametrize("dtype", FLOATS)
def test_scalar_rule_and_meaning_agree_on_special_values(name: str, dtype: str) -> None:
    primitive = ELEMENTWISE[name]
    params = _converted(primitive, dtype)[1]
    arrays = _crossed(name, dtype)
    assert primitive.scalar is not None
    with np.errstate(all="ignore"):
        meaning = primitive.meaning(*arrays, **params)
        _same(primitive.scalar(NumpyBuilder(), *arrays, **params), meaning)
        _same(meaning, STATEMENTS[name](*arrays, **params))


@pytest.mark.parametrize("name", sorted(set(ELEMENTWISE) - {"cast"}))
def test_scalar_rule_and_meaning_agree_on_the_domain(name: str) -> None:
    primitive = ELEMENTWISE[name]
    arrays, params = _converted(primitive, "float64", 5)
    assert primitive.scalar is not None
    _same(primitive.scalar(NumpyBuilder(), *arrays, **params), primitive.meaning(*arrays, **params))


@pytest.mark.parametrize("source", ["bool", *NUMBERS])
@pytest.mark.parametrize("target", ["bool", *NUMBERS])
def test_cast_between_all_dtypes(source: str, target: str) -> None:
    x = np.array([0, 1, 2, 200]).astype(source)
    value, _ = _apply("cast", [x], dtype=target)
    _same(value, np.array([int(v) for v in x.tolist()]).astype(target))


# --- what moves elements: shapes beyond the domain --------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 1), (2, 0, 3), (2, 3, 4)])
@pytest.mark.parametrize("keepdims", [True, False])
def test_reductions_over_every_choice_of_axes(shape: tuple[int, ...], keepdims: bool) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    for count in range(len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), count):
            params = {"axes": axes, "keepdims": keepdims}
            _same(_apply("sum", [x], **params)[0], STATEMENTS["sum"](x, **params))
            if any(shape[a] == 0 for a in axes):
                with pytest.raises(cr.ShapeError, match="no largest element"):
                    record(registry["max"], x, **params)
            else:
                _same(_apply("max", [x], **params)[0], STATEMENTS["max"](x, **params))


def test_an_empty_batch_has_no_largest_element_and_says_so() -> None:
    x = cr.input("x", ("n", 2))
    for out in (x.max(0), cr.argmax(x, 0)):
        graph = cr.Graph({"y": out.node})
        with pytest.raises(cr.ShapeError, match="no largest element"):
            cr.evaluate(graph, {"x": np.zeros((0, 2))})


@pytest.mark.parametrize("batch", [((), ()), ((2,), ()), ((), (2,)), ((2, 1), (3,)), ((0,), (1,))])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 3, 4), (0, 3, 2), (2, 0, 3), (2, 3, 0)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_matmul_over_batch_axes(batch: Any, sizes: tuple[int, int, int], dtype: str) -> None:
    rng = np.random.default_rng(0)
    rows, inner, columns = sizes
    a = rng.normal(size=(*batch[0], rows, inner)).astype(dtype)
    b = rng.normal(size=(*batch[1], inner, columns)).astype(dtype)
    value, _ = _apply("matmul", [a, b])
    _same(value, np.einsum("...ij,...jk->...ik", a, b), digits=5)


@pytest.mark.parametrize("a", [(3,), (2, 3), (4, 2, 3)])
@pytest.mark.parametrize("b", [(3,), (3, 5), (4, 3, 5)])
def test_matmul_of_vectors_is_numpy_s(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=a), rng.normal(size=b)
    _same((cr.tensor(x) @ y).numpy(), x @ y)
    _same((x @ cr.tensor(y)).numpy(), x @ y)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 3), (0,)])
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_gather_takes_indices_of_any_shape(shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, indices = rng.normal(size=(4, 2)), rng.integers(0, 4, shape).astype(dtype)
    _same(_apply("gather", [x, indices])[0], x[indices])
    updates = rng.normal(size=(*shape, 2))
    _same(_apply("scatter_add", [updates, indices], rows=4)[0], _scatter_add(updates, indices, 4))


def test_negative_indices_count_from_the_end() -> None:
    x = cr.tensor([10.0, 20.0, 30.0])
    _same(cr.gather(x, [-1, -3]).numpy(), np.float32([30, 10]))
    _same(cr.scatter_add([1.0, 2.0], [-1, 2], 3).numpy(), np.float32([0, 0, 3]))


@pytest.mark.parametrize("bad", [3, -4])
def test_an_index_out_of_range_is_named(bad: int) -> None:
    with pytest.raises(cr.ShapeError, match=rf"gather.*index {bad} at \(1,\).*3 rows"):
        cr.gather([1.0, 2.0, 3.0], [0, bad]).numpy()
    with pytest.raises(cr.ShapeError, match=rf"scatter_add.*index {bad} at \(0,\).*3 rows"):
        cr.scatter_add([1.0], [bad], 3).numpy()


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_one_hot_holds_more_classes_than_its_labels_dtype(dtype: str) -> None:
    hot = cr.one_hot(np.array([0, 44, 255], dtype), 300).numpy()
    want = np.zeros((3, 300), np.float32)
    want[[0, 1, 2], [0, 44, 255]] = 1
    _same(hot, want)


def test_joining_and_its_refusals() -> None:
    a, b = np.ones((2, 3), np.float32), np.zeros((2, 1))
    _same(cr.concat([a, b], axis=-1).numpy(), np.concatenate([a, b], axis=-1))
    _same(cr.stack([a, a + 1], axis=1).numpy(), np.stack([a, a + 1], axis=1))
    _same(cr.stack([a, a + 1], axis=-1).numpy(), np.stack([a, a + 1], axis=-1))
    _same(cr.concat([a, np.zeros((0, 3), np.float32)]).numpy(), a)
    with pytest.raises(cr.ShapeError, match="differ in an axis other than 0"):
        cr.concat([a, b])
    with pytest.raises(cr.ShapeError, match="no tensors"):
        cr.concat([])


def test_the_arrays_tests_feed_can_tell_operations_apart() -> None:
    """Two primitives that give equal values on one's domain would let a mix-up pass."""
    for name, primitive in ELEMENTWISE.items():
        arrays, params = _converted(primitive, "float64")
        value = np.asarray(primitive.meaning(*arrays, **params))
        if value.dtype.kind != "f":
            continue
        for other, rival in ELEMENTWISE.items():
            if other == name or len(_converted(rival, "float64")[0]) != len(arrays):
                continue
            if "cast" in (name, other):  # the identity in the domain's dtype
                continue
            try:
                with np.errstate(all="ignore"):
                    guess = rival.meaning(*arrays)
            except TypeError:
                continue
            assert not np.array_equal(guess, value), f"{other} passes for {name} on its domain"
