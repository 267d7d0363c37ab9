"""The one kind of value: what goes in, how dtypes meet, and that NumPy may stand on either side."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.core import tensor as tensor_module

DTYPES = ["bool", "uint8", "uint32", "int32", "int64", "float32", "float64"]


# --- making tensors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (2.0, "float32"),
        (2, "int64"),
        (True, "bool"),
        ([1.0, 2.0], "float32"),
        ([], "float32"),
        ([[1, 2], [3, 4]], "int64"),
        (np.float64(2.0), "float64"),
        (np.float32(2.0), "float32"),
        (np.zeros(3), "float64"),
        ([np.float64(1), np.float64(2)], "float64"),
        (np.zeros(3, "uint8"), "uint8"),
    ],
)
def test_dtype_of_a_new_tensor(value: Any, dtype: str) -> None:
    assert cr.tensor(value).dtype == dtype
    np.testing.assert_array_equal(cr.tensor(value).numpy(), np.asarray(value))


def test_an_asked_dtype_wins() -> None:
    assert cr.tensor([1, 2], "float64").dtype == np.float64
    assert cr.tensor(cr.tensor(1.5), "int64").item() == 1
    x = cr.tensor(1.5)
    assert cr.tensor(x) is x


@pytest.mark.parametrize("value", [1j, "three", object(), None, np.array([None]), [1, "a"]])
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(cr.DTypeError, match=r"can't make a tensor of .* values; give numbers"):
        cr.tensor(value)


def test_a_dtype_graphs_cannot_hold_is_refused() -> None:
    with pytest.raises(cr.DTypeError, match="float16 is not supported; convert to one of"):
        cr.tensor(np.zeros(2, np.float16))


def test_a_constant_does_not_change_with_the_array_it_came_from() -> None:
    source = np.array([1.0, 2.0])
    x = cr.tensor(source)
    source[0] = 9
    assert x.numpy().tolist() == [1.0, 2.0]


# --- dtypes meeting ---------------------------------------------------------------------------


@pytest.mark.parametrize("a", DTYPES)
@pytest.mark.parametrize("b", DTYPES)
def test_two_arrays_promote_as_in_numpy(a: str, b: str) -> None:
    x, y = np.ones(2, a), np.ones(2, b)
    for op in (operator.add, operator.mul):
        assert op(cr.tensor(x), cr.tensor(y)).dtype == np.result_type(a, b)
    assert cr.where([True, False], x, y).dtype == np.result_type(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", [True, 2, 0.5])
def test_a_python_number_is_weak_as_in_numpy(dtype: str, number: Any) -> None:
    x = np.ones(2, dtype)
    want = np.result_type(x.dtype, number)
    assert (cr.tensor(x) + number).dtype == want
    assert (number + cr.tensor(x)).dtype == want
    assert cr.where([True, False], number, x).dtype == want
    assert cr.where([True, False], x, number).dtype == want


# --- NumPy on either side ----------------------------------------------------------------------

BINARY: list[Callable[[Any, Any], Any]] = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.matmul,
    operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne,
]  # fmt: skip


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.__name__)
def test_an_array_may_stand_on_either_side(op: Callable[[Any, Any], Any]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0.5, 2, (3, 3)), rng.uniform(0.5, 2, (3, 3))
    y[0] = x[0]
    for have in (op(cr.tensor(x), y), op(x, cr.tensor(y)), op(cr.tensor(x), cr.tensor(y))):
        assert isinstance(have, cr.Tensor)
        np.testing.assert_allclose(have.numpy(), op(x, y), rtol=1e-14)


@pytest.mark.parametrize("scalar", [2, 0.5, np.float32(0.5), np.float64(0.5), np.int64(2)])
@pytest.mark.parametrize("op", [o for o in BINARY if o is not operator.matmul])
def test_a_number_may_stand_on_either_side(op: Callable[[Any, Any], Any], scalar: Any) -> None:
    x = np.array([0.5, 1.0, 2.0])
    for have, want in (
        (op(cr.tensor(x), scalar), op(x, scalar)),
        (op(scalar, cr.tensor(x)), op(scalar, x)),
    ):
        assert isinstance(have, cr.Tensor)
        np.testing.assert_allclose(have.numpy(), want, rtol=1e-14)


@pytest.mark.parametrize("op", [operator.and_, operator.or_])
def test_booleans_combine_on_either_side(op: Callable[[Any, Any], Any]) -> None:
    x, y = np.array([True, True, False]), np.array([True, False, False])
    for have in (op(cr.tensor(x), y), op(x, cr.tensor(y))):
        np.testing.assert_array_equal(have.numpy(), op(x, y))
    np.testing.assert_array_equal(op(True, cr.tensor(y)).numpy(), op(True, y))
    np.testing.assert_array_equal((~cr.tensor(x)).numpy(), ~x)
    with pytest.raises(cr.DTypeError, match=r"logical_.*needs booleans, not f32.*compare first"):
        op(cr.tensor([1.0]), x)


def test_conversions_to_python_and_numpy() -> None:
    x = cr.tensor([[1.0, 2.0]])
    assert np.asarray(x).dtype == np.float32
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.array(x), [[1, 2]])
    assert float(x[0, 1]) == 2.0
    assert int(x[0, 1]) == 2
    assert bool(x[0, 0] < x[0, 1])
    assert range(5)[cr.tensor(3)] == 3
    with pytest.raises(ValueError, match="as a scalar"):
        float(x)


def test_methods_are_numpy_s() -> None:
    a = np.random.default_rng(0).normal(size=(2, 3, 4))
    x = cr.tensor(a)
    np.testing.assert_allclose(x.sum((0, -1)).numpy(), a.sum((0, -1)))
    np.testing.assert_allclose(x.mean(1, keepdims=True).numpy(), a.mean(1, keepdims=True))
    np.testing.assert_allclose(x.max().numpy(), a.max())
    np.testing.assert_allclose(x.min((0, 2)).numpy(), a.min((0, 2)))
    np.testing.assert_allclose(x.var(1, ddof=1).numpy(), a.var(1, ddof=1))
    np.testing.assert_allclose(x.std((0, 1), keepdims=True).numpy(), a.std((0, 1), keepdims=True))
    for name in ("min", "max", "argmin", "argmax", "var", "std", "mean", "sum"):
        np.testing.assert_allclose(getattr(np, name)(x), getattr(np, name)(a))
        np.testing.assert_allclose(getattr(np, name)(x, axis=1), getattr(np, name)(a, axis=1))
        assert isinstance(getattr(np, name)(x), cr.Tensor)
        np.testing.assert_allclose(getattr(cr, name)(x, axis=1), getattr(np, name)(a, axis=1))
        np.testing.assert_allclose(getattr(cr, name)(x), getattr(np, name)(a))
    np.testing.assert_array_equal(x.T.numpy(), a.T)
    np.testing.assert_array_equal(x.transpose(1, -1, 0).numpy(), a.transpose(1, -1, 0))
    np.testing.assert_array_equal(x.reshape(-1, 4).numpy(), a.reshape(-1, 4))
    np.testing.assert_array_equal(x.reshape([4, 6]).numpy(), a.reshape(4, 6))
    assert x.astype("float64") is x
    assert cr.tensor([1, 2]).mean().item() == 1.5


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32"])
def test_the_smallest_of_every_dtype(dtype: str) -> None:
    rows = [[0, 1], [1, 1], [0, 0]]
    if dtype not in ("bool", "float32"):
        ends = np.iinfo(dtype)
        rows += [[ends.min, ends.max], [ends.max, 3]]
    a = np.array(rows, dtype)
    x = cr.tensor(a)
    assert x.min(1).dtype == a.dtype
    np.testing.assert_array_equal(x.min(1).numpy(), a.min(1))
    np.testing.assert_array_equal(x.argmin(1).numpy(), a.argmin(1))


def test_any_and_all_are_numpy_s() -> None:
    a = np.array([[0.0, 2.0], [3.0, -1.0], [0.0, 0.0]])
    for name in ("any", "all"):
        for values in (a, a > 0, a.astype("int64")):
            x = cr.tensor(values)
            for axis in (None, 0, 1):
                expected = getattr(np, name)(values, axis=axis)
                for found in (getattr(cr, name)(x, axis), getattr(np, name)(x, axis=axis)):
                    assert found.dtype == np.bool_
                    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("indices", [2, [1, 0], [[0, 1], [1, 1]]])
def test_take_is_numpy_s(axis: int | None, indices: Any) -> None:
    a = np.random.default_rng(0).normal(size=(3, 4, 3))
    x = cr.tensor(a)
    found = cr.take(x, indices, axis)
    np.testing.assert_array_equal(found.numpy(), np.take(a, indices, axis))
    picked = np.zeros_like(a)
    places = np.take(np.arange(a.size).reshape(a.shape), indices, axis)
    np.add.at(picked.reshape(-1), places, 1)
    np.testing.assert_array_equal(cr.grad(found.sum(), x).numpy(), picked)


def test_numpy_s_elementwise_functions_record_ours() -> None:
    a = np.array([0.5, 2.0])
    x = cr.input("x", (2,), "float64")
    for name in ("exp", "log", "sqrt", "tanh", "absolute", "negative", "floor", "sign", "expm1"):
        made = getattr(np, name)(x)
        assert isinstance(made, cr.Tensor)
        found = cr.evaluate(cr.Graph({"y": made}), {"x": a})["y"]
        np.testing.assert_allclose(found, getattr(np, name)(a))
    for name in ("maximum", "minimum", "power", "greater", "not_equal", "less_equal", "divide"):
        found = cr.evaluate(cr.Graph({"y": getattr(np, name)(a[::-1], x)}), {"x": a})["y"]
        np.testing.assert_allclose(found, getattr(np, name)(a[::-1], a))
    with pytest.raises(cr.DTypeError, match=r"numpy.sinh can't be applied to a tensor"):
        np.sinh(x)
    with pytest.raises(cr.DTypeError, match=r"numpy\.add can't be applied"):
        np.add.reduce(x)


def test_clip_takes_one_limit_or_tensors_of_limits() -> None:
    a = np.array([-2.0, 0.5, 3.0])
    np.testing.assert_array_equal(cr.clip(a, None, 1.0).numpy(), np.clip(a, None, 1))
    np.testing.assert_array_equal(cr.clip(a, 0.0, None).numpy(), np.clip(a, 0, None))
    low, high = np.array([-1.0, 1, 1]), np.array([0.0, 2, 2])
    np.testing.assert_array_equal(cr.clip(a, low, high).numpy(), np.clip(a, low, high))
    assert cr.clip(a, None, None).numpy().tolist() == a.tolist()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda x: x + np.ones(4), r"add: shapes \(2, 3\) and \(4,\) do not broadcast"),
        (lambda x: x @ x, r"matmul: f32\[2,3\] @ f32\[2,3\].*last axis of the left \(3\)"),
        (lambda x: x @ 2.0, "matmul: a scalar has no matrix product"),
        (lambda x: x.sum(2), "axis 2 is out of range for a tensor of 2 axes"),
        (lambda x: x.transpose(0), r"transpose: axes \(0,\) are not a permutation"),
        (lambda x: x.reshape(7), r"reshape: f32\[2,3\] does not have as many elements"),
        (lambda x: cr.broadcast_to(x, (3, 3)), "broadcast: shapes .* do not broadcast"),
        (lambda x: cr.broadcast_to(x, (3,)), r"broadcast: f32\[2,3\] does not broadcast to"),
        (lambda x: cr.squeeze(x, 0), "squeeze: axis 0 has length 2, not 1"),
        (lambda x: cr.pad(x, [(1, 1)]), "pad: 1 pairs of widths for a tensor of 2 axes"),
        (lambda x: cr.pad(x, [(1, -1), (0, 0)]), "pad: padding can't be negative"),
        (lambda x: cr.concat([x, x[0]]), "concat: .* differ in an axis"),
        (lambda x: cr.gather(x[0, 0], [0]), "gather: a scalar has no rows"),
        (lambda x: cr.scatter_add(x, [0], 3), "scatter_add: updates .* must begin with"),
    ],
)
def test_shapes_that_do_not_fit(act: Callable[[cr.Tensor], Any], message: str) -> None:
    with pytest.raises(cr.ShapeError, match=message):
        act(cr.tensor(np.ones((2, 3), np.float32)))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: cr.tensor([[1]]) @ cr.tensor([[1]]), "matmul: .*a float dtype.*astype"),
        (lambda: cr.where([1, 0], 1.0, 2.0), "where: the condition must be boolean, not i64"),
        (lambda: cr.gather([1.0], [0.0]), "gather: indices must be integers, not f32"),
        (lambda: cr.uniform(0, (2,), dtype="int64"), "dtype must be float32 or float64"),
        (lambda: -cr.tensor(True), r"neg: bool\[\] is boolean"),
    ],
)
def test_dtypes_that_do_not_fit(act: Callable[[], Any], message: str) -> None:
    with pytest.raises(cr.DTypeError, match=message):
        act()


def test_printing() -> None:
    assert repr(cr.tensor([1.0, 2.5])) == "Tensor([1. , 2.5], f32[2])"
    x = cr.input("x", ("n", 2))
    assert repr(x.sum()) == "Tensor(f32[], needs x)"
    for act in (cr.Tensor.numpy, lambda x: float(x.sum()), np.asarray):
        with pytest.raises(
            cr.GraphError, match=r"input 'x', f32\[n,2\], has no value .*number or an array here"
        ):
            act(x)


def test_python_can_not_branch_on_what_has_no_value() -> None:
    def layer(x: cr.Tensor) -> cr.Tensor:
        return x if x.sum() > 0 else -x

    x = cr.input("x", ("n", 2))
    for act in (lambda: layer(x), lambda: x.sum() > 0 and x, lambda: not x.sum()):
        with pytest.raises(
            cr.GraphError, match=r"input 'x', f32\[n,2\], has no value .*'if'.*chainrule.where"
        ):
            act()
    assert layer(cr.tensor([[1.0, 2.0]])).numpy().tolist() == [[1, 2]]
    with pytest.raises(cr.GraphError, match="'if'"):
        cr.fit(layer, (np.ones((4, 2)), np.ones((4, 2))), loss="mse")


def test_python_can_not_branch_on_what_training_changes() -> None:
    class Layer:
        def __init__(self, ask: Callable[[cr.Parameter], Any]) -> None:
            self.scale = cr.Parameter((2,), lambda shape, rng: np.ones(shape), name="scale")
            self.ask = ask

        def __call__(self, x: cr.Tensor) -> cr.Tensor:
            return x * self.scale if self.ask(self.scale) else -x

    data = (np.ones((4, 2)), np.ones((4, 2)))
    for ask in (lambda s: s.sum() > 0, lambda s: float(s[0]), lambda s: s.numpy().any()):
        with pytest.raises(cr.GraphError, match=r"parameter 'scale', f32.*changes in train"):
            cr.fit(Layer(ask), data, loss="mse", epochs=1, progress=False)
    known = Layer(lambda s: s.value.any())  # who asks for the present value gets it
    cr.fit(known, data, loss="mse", epochs=1, progress=False)
    assert known.scale.sum() > 0  # outside a layer it has one


def test_the_same_large_array_is_one_constant_until_it_changes() -> None:
    a, small = np.zeros((1000, 2)), np.zeros(2)
    x = cr.tensor([1.0, 2.0])
    total = ((a * x + small).sum() + (a @ x + a @ x).sum()) * (small.sum() + small * small).sum()
    held = [n for n in cr.Graph({"t": total}).nodes if n.primitive.name == "constant"]
    assert sum(n.spec.shape == a.shape for n in held) == 1
    before = a * x
    a[0] = 1
    a[1] = -0.0
    after = a * x
    assert before.numpy()[0].tolist() == [0, 0]
    assert after.numpy()[0].tolist() == [1, 2]
    assert np.signbit(after.numpy()[1]).all()
    first, second = cr.tensor(a), cr.tensor(a)  # what a user makes is a leaf of its own
    assert float(cr.grad((first * second).sum(), first)[0, 0]) == 1
    known = len(tensor_module._constants)
    del a
    assert len(tensor_module._constants) == known - 1


# --- parameters ------------------------------------------------------------------------------


def _ones(shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    return np.ones(shape)


def _normal(shape: tuple[int, ...], generator: np.random.Generator) -> Any:
    return generator.normal(size=shape)


def test_a_parameter_is_drawn_once_assigned_and_forgotten() -> None:
    w = cr.Parameter((2, 3), _normal, name="w")
    first = w.value
    assert first.dtype == np.float32
    assert w.value is first
    assert not w.assigned
    w.value = np.ones((2, 3))
    assert w.assigned
    assert (w * 2).numpy().tolist() == [[2, 2, 2], [2, 2, 2]]
    w.forget()
    np.testing.assert_array_equal(w.value, first)
    with pytest.raises(cr.ShapeError, match=r"'w' has shape \(2, 3\), not \(3,\)"):
        w.value = np.ones(3)


def test_a_parameter_evaluates_to_its_present_value() -> None:
    w = cr.Parameter((), _ones, "float64", "w")
    out = cr.exp(w)
    assert out.item() == np.exp(1)
    w.value = 0.0
    assert out.item() == 1.0
    assert out.dtype == np.float64


def test_a_parameter_is_held_in_the_order_machine_code_reads() -> None:
    square = np.arange(6.0).reshape(2, 3)
    w = cr.Parameter((3, 2), lambda shape, generator: square.T)
    assert w.value.flags.c_contiguous
    w.value = square.T
    assert w.value.flags.c_contiguous
    np.testing.assert_array_equal(w.value, square.T)


@pytest.mark.parametrize("take", [cr.Tensor.numpy, np.array, np.asarray])
def test_a_value_taken_is_ones_own(take: Callable[[cr.Tensor], Any]) -> None:
    w = cr.Parameter((2,), _ones)
    for tensor in (w, w[:1], cr.tensor([1.0, 1.0]), cr.broadcast_to(cr.tensor(1.0), (2,))):
        take(tensor)[0] = 7
        assert tensor.numpy()[0] == 1
    assert not np.shares_memory(cr.evaluate(cr.Graph({"w": w}))["w"], w.value)
    assert w.value[0] == 1


def test_an_array_of_another_dtype_is_refused_where_no_copy_may_be_made() -> None:
    x = cr.tensor([1.0])
    assert np.asarray(x, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="to float64 needs a copy"):
        x.__array__(np.float64, copy=False)


def test_a_watched_parameter_writes_where_training_reads() -> None:
    w, memory = cr.Parameter((2,), _ones), np.zeros(2, "f4")
    w.watch(memory)
    w.value = [3.0, 4.0]
    assert memory.tolist() == [3, 4]
    w.unwatch()
    memory[:] = 0
    assert w.value.tolist() == [3, 4]


def test_several_numbers_are_no_one_number_and_no_yes_or_no() -> None:
    for ask in (bool, float, int, cr.Tensor.item):
        with pytest.raises(cr.ShapeError, match=r"shape \(2,\) can.t be used as a scalar.*reduce"):
            ask(cr.tensor([1.0, 2.0]))


def test_reductions_of_numpy_are_those_of_tensors() -> None:
    x = cr.tensor([[1.0, 2.0], [3.0, 6.0]])
    for numpy, ours in ((np.sum, cr.sum), (np.mean, cr.mean), (np.max, cr.max)):
        got = numpy(x, axis=0)  # type: ignore[operator]
        assert isinstance(got, cr.Tensor)
        np.testing.assert_array_equal(got.numpy(), ours(x, 0).numpy())
    with pytest.raises(cr.OptionError, match=r"does not accept dtype and out; .*astype"):
        np.mean(x, dtype=np.float64)


def test_names_and_dtypes_that_are_none_are_told_apart_from_good_ones() -> None:
    with pytest.raises(cr.OptionError, match=r"an input needs a name.*got ''"):
        cr.input("", ())
    with pytest.raises(cr.OptionError, match=r"an input needs a name.*got \('n', 2\)"):
        cr.input(("n", 2))  # type: ignore[arg-type]
    with pytest.raises(cr.DTypeError, match=r"'float65' is not a dtype. Did you mean 'float64'"):
        cr.input("x", (), "float65")


def test_functions_of_numpy_name_ours() -> None:
    x, array = cr.tensor([1.0, 2.0]), np.array([3.0, 5.0])
    for function, name in ((np.square, "square"), (np.add.reduce, "add")):
        with pytest.raises(cr.DTypeError, match=rf"numpy\..*\(chainrule\.{name}, .*NumPy \.numpy"):
            function(x)
    with pytest.raises(cr.DTypeError, match=r"numpy\.add "):
        np.add(array, x, out=np.zeros(2))
    for found, expected in (
        (np.subtract(array, x), [2, 3]), (np.subtract(x, array), [-2, -3]),
        (np.float64(1.0) - x, [0, -1]), (np.less(x, array), [1, 1]), (array < x, [0, 0]),
        (array != x, [1, 1]), (array == x, [0, 0]), (array ** x, [3, 25]), (array @ x, 13),
    ):  # fmt: skip
        assert isinstance(found, cr.Tensor)
        np.testing.assert_array_equal(found.numpy(), expected)
    array -= x  # type: ignore[misc]
    assert isinstance(array, cr.Tensor)
