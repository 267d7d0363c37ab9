"""``x[...]`` means what it means in NumPy, and refuses the rest by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import chainrule as cr


@st.composite
def _shape_and_key(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    key = draw(hnp.basic_indices(shape, allow_ellipsis=True, allow_newaxis=True, max_dims=6))
    return shape, key


def _runs_backwards(key: Any) -> bool:
    keys = key if isinstance(key, tuple) else (key,)
    return any(isinstance(k, slice) and k.step is not None and k.step < 0 for k in keys)


@given(_shape_and_key())
def test_indexing_is_numpy_s(drawn: Any) -> None:
    shape, key = drawn
    x = np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)
    if _runs_backwards(key):
        with pytest.raises(cr.ShapeError, match="slices need a positive step"):
            cr.tensor(x)[key]
        return
    taken = cr.tensor(x)[key]
    assert taken.shape == x[key].shape
    np.testing.assert_array_equal(taken.numpy(), x[key])


@given(_shape_and_key())
def test_slopes_of_an_index_go_to_the_elements_taken(drawn: Any) -> None:
    shape, key = drawn
    if _runs_backwards(key):
        return
    x = cr.tensor(np.zeros(shape))
    taken = np.zeros(shape)
    taken[key] = 1
    np.testing.assert_array_equal(cr.grad(x[key].sum(), x).numpy(), taken)


@pytest.mark.parametrize(
    "rows", [[0, 2], [[0, 1], [-1, 0]], np.array([1, 1, 1]), np.array(2), cr.tensor([2, 0])]
)
def test_index_arrays_pick_rows(rows: Any) -> None:
    x = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(cr.tensor(x)[rows].numpy(), x[np.asarray(rows)])


def test_a_slice_that_ends_before_it_starts_is_empty() -> None:
    x = cr.tensor(np.zeros((5, 2)))
    assert x[4:1].shape == (0, 2)
    assert x[4:1, 0].numpy().shape == (0,)


def test_numpy_integers_are_integers() -> None:
    x = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(cr.tensor(x)[np.int64(1), np.uint8(2)].numpy(), x[1, 2])


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (3, cr.ShapeError, "index 3 is out of range for an axis of length 3"),
        ((0, -5), cr.ShapeError, "index -5 is out of range for an axis of length 4"),
        ((0, 0, 0), cr.ShapeError, "3 indices for a tensor of 2 axes"),
        (slice(None, None, -1), cr.ShapeError, "slices need a positive step, not -1"),
        (1.5, cr.ShapeError, "can't index with 1.5"),
        ("a", cr.ShapeError, "can't index with 'a'"),
        (True, cr.ShapeError, "can't index with True"),
        ((..., ...), cr.ShapeError, "only one '...'"),
        (([0, 1], 0), cr.ShapeError, "must be the only index"),
        ((np.array([0, 1]), 0), cr.ShapeError, "must be the only index"),
        ((slice(None), cr.tensor([0, 1])), cr.ShapeError, "must be the only index"),
        ([0.5], cr.DTypeError, "indices must be integers"),
        (np.array([True, False]), cr.ShapeError, r"a mask of shape \(2,\) does not fit"),
        (np.array(True), cr.ShapeError, r"a mask of shape \(\) does not fit shape \(3, 4\)"),
    ],
)
def test_what_cannot_index(key: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cr.tensor(np.zeros((3, 4)))[key]


def test_a_mask_that_is_known_picks_what_numpy_picks() -> None:
    a = np.arange(12.0).reshape(3, 4) - 5
    x = cr.tensor(a)
    for mask in (a > 0, a[:, 0] > -2, np.zeros(3, bool), [True, False, True]):
        np.testing.assert_array_equal(x[mask].numpy(), a[mask])
    np.testing.assert_array_equal(x[x > 0].numpy(), a[a > 0])
    slope = cr.grad((x[x > 0] ** 2).sum(), x)
    np.testing.assert_array_equal(slope.numpy(), np.where(a > 0, 2 * a, 0))


def test_a_mask_that_changes_is_told_to_be_where() -> None:
    x = cr.input("x", ("n",))
    p = cr.Parameter((3,), lambda shape, rng: np.ones(shape))
    for t in (x, p):
        with pytest.raises(cr.ShapeError, match=r"depends on values that change.*where\(mask, x"):
            t[t > 0]


def test_nothing_is_assigned_to_elements() -> None:
    x = cr.tensor([1.0, -2.0])
    with pytest.raises(cr.GraphError, match=r"a tensor is immutable.*chainrule.where"):
        x[x < 0] = 0


def test_an_axis_of_unknown_length_is_taken_whole() -> None:
    x = cr.input("x", ("n", 4))
    assert str(x[:, 1].node.spec) == "f32[n]"
    assert str(x[..., None].node.spec) == "f32[n,4,1]"
    for key in (0, slice(0, 2), (slice(1, None), 0)):
        with pytest.raises(cr.ShapeError, match="length n, known only when data arrives"):
            x[key]
    with pytest.raises(cr.ShapeError, match="length n is known only"):
        len(x)


def test_iteration_and_length() -> None:
    x = cr.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert len(x) == 2
    assert [row.numpy().tolist() for row in x] == [[1.0, 2.0], [3.0, 4.0]]
    with pytest.raises(cr.ShapeError, match="a scalar has no length"):
        len(cr.tensor(1.0))
