"""Shapes, lengths that only data decide, and dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import chainrule as cr
from chainrule.core.errors import DTypeError, ShapeError, did_you_mean
from chainrule.core.indexing import fill_in, normalize_axes
from chainrule.core.spec import Dim, Spec, as_dtype, as_shape, broadcast_shapes, resolve, same_size

n, m = Dim("n"), Dim("m")


@given(hnp.mutually_broadcastable_shapes(num_shapes=3, min_side=0))
def test_broadcasting_fixed_shapes_is_numpy_s(shapes: Any) -> None:
    assert broadcast_shapes(shapes.input_shapes) == shapes.result_shape


@pytest.mark.parametrize(
    ("shapes", "result"),
    [
        ([], ()),
        ([(n, 1), (10,)], (n, 10)),
        ([(1, 4), (n, 1)], (n, 4)),
        ([(n,), (n,)], (n,)),
        ([(n, 1), (m,)], (n, m)),
        ([(), (n,)], (n,)),
        ([(1,), (0,)], (0,)),
    ],
)
def test_broadcasting_symbolic_shapes(shapes: Any, result: Any) -> None:
    assert broadcast_shapes(shapes) == result


@pytest.mark.parametrize(
    ("shapes", "clash"),
    [([(3,), (4,)], "3 and 4"), ([(n,), (3,)], "n and 3"), ([(n, 2), (m, 1)], "n and m")],
)
def test_lengths_that_do_not_broadcast_are_named(shapes: Any, clash: str) -> None:
    with pytest.raises(ShapeError, match=f"do not broadcast: lengths {clash} differ on axis"):
        broadcast_shapes(shapes)


@pytest.mark.parametrize(
    ("old", "new", "result"),
    [
        ((2, 6), (3, -1), (3, 4)),
        ((2, 6), (-1,), (12,)),
        ((n, 28, 28), (-1, 784), (n, 784)),
        ((n, 28, 28), (n, -1), (n, 784)),
        ((n, 6), (n, 2, -1), (n, 2, 3)),
        ((n, 6), ("n", 3, 2), (n, 3, 2)),
        ((0, 4), (-1, 4), (0, 4)),
        ((), (-1,), (1,)),
    ],
)
def test_the_missing_length_of_a_reshape(old: Any, new: Any, result: Any) -> None:
    assert fill_in(old, new) == result


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ((2, 3), (-1, -1), "only one length may be -1"),
        ((2, 3), (4, -1), r"can't reshape \(2, 3\) \(6 elements\)"),
        ((n, 3), (-1, 2), "length n is known only when data arrives"),
        ((n, m), (-1,), "length n is known only when data arrives"),
        ((2, 3), (-2, 3), "a length can't be negative"),
    ],
)
def test_reshapes_that_cannot_be(old: Any, new: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        fill_in(old, new)


def test_reshape_checks_the_number_of_elements() -> None:
    x = cr.input("x", ("n", 6))
    assert x.reshape("n", 2, 3).shape == (n, 2, 3)
    for wrong in [(6,), ("n", 5), ("m", 6), (4, 6)]:
        with pytest.raises(ShapeError, match=r"reshape: f32\[n,6\] does not have as many elements"):
            x.reshape(wrong)
    assert same_size((n, 2, 3), (6, n))
    assert not same_size((n, n), (n,))


def test_specs_compare_and_print() -> None:
    assert Spec(("n", 3), "float32") == Spec([n, 3], np.float32)
    assert Spec(3, "int64") != Spec((3,), "int32")
    assert hash(Spec((3,), "bool")) == hash(Spec(3, bool))
    assert str(Spec(("n", 784), "uint8")) == "u8[n,784]"
    assert as_shape("n") == (n,)
    with pytest.raises(ShapeError, match="can't be negative"):
        as_shape((2, -3))


@pytest.mark.parametrize("bad", ["float16", "complex64", "int8", "U3", object])
def test_unsupported_dtypes_are_named_with_the_choice(bad: Any) -> None:
    with pytest.raises(DTypeError, match=r"not supported; convert to one of bool, .*float64"):
        as_dtype(bad)


def test_resolve_reaches_into_tuples_and_names_what_no_data_decide() -> None:
    assert resolve(((n, 1), "a", 2.5, n), {n: 7}) == ((7, 1), "a", 2.5, 7)
    with pytest.raises(ShapeError, match="length m does not occur in any input"):
        resolve((n, m), {n: 7})


@given(st.integers(-6, 6), st.integers(0, 5))
def test_axes(axis: int, ndim: int) -> None:
    if -ndim <= axis < ndim:
        assert normalize_axes(axis, ndim) == (range(ndim)[axis],)
    else:
        with pytest.raises(ShapeError, match=f"axis {axis} is out of range for a tensor of {ndim}"):
            normalize_axes(axis, ndim)


def test_axes_named_twice() -> None:
    with pytest.raises(ShapeError, match="name one axis twice"):
        normalize_axes((0, -2), 2)


def test_suggestions_ignore_case_and_stay_silent_on_a_crowd() -> None:
    assert did_you_mean("RELU", ["relu", "tanh"]).startswith("Did you mean 'relu'?")
    assert did_you_mean("a17", [f"a{i:03}" for i in range(100)]) in {"", "Did you mean 'a017'?"}
