"""Arrays: what can't train is refused with its place."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from chainrule.core.errors import DataError
from chainrule.data import check_classes, check_features, check_same_length


class Wrapped:
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return np.ones((2, 3))


def test_accepted_as_they_are() -> None:
    X = np.ones((4, 8, 8), np.uint8)
    assert check_features(X) is X
    assert check_features([[1, 2], [3, 4]]).shape == (2, 2)
    assert check_features(Wrapped()).shape == (2, 3)
    assert check_features(np.full((2, 2), 1e38, np.float32)).shape == (2, 2)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.array([["a"]]), "objects or text"),
        (np.array([[1, "a"]], dtype=object), "objects or text"),
        (np.ones((2, 2), complex), r"complex numbers \(complex128\), which are not supported"),
        ({"a": [1]}, r"chainrule\.tabular\.predict_table\(run, table\) to predict"),
        ([[1, 2], [3]], "unequal length"),
        (3.0, "not the scalar"),
        (np.ones((0, 3)), r"no rows; its shape is \(0, 3\)"),
        (np.ones((3, 0)), r"no features; its shape is \(3, 0\)"),
        ([[1, 2], [3, np.nan]], r"X\[1, 1\] \(row 1, column 1\) is NaN; 1 such value in 1 of 2"),
        ([[1, 2], [-np.inf, np.inf]], r"X\[1, 0\] .* is infinite; 2 such values in 1 of 2"),
    ],
)
def test_refused_with_the_reason(X: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_features(X)


def test_lengths() -> None:
    check_same_length(np.ones((3, 2)), np.ones(3))
    with pytest.raises(DataError, match="X has 3 rows and y has 2"):
        check_same_length(np.ones((3, 2)), np.ones(2))


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0, 1, 3], r"y\[2\] = 3 is out of range for 3 classes"),
        ([0, -1, 1], r"y\[1\] = -1 is negative"),
        ([0.0, 1.5], r"y\[1\] = 1.5 is not a whole number"),
        ([0.0, np.nan], r"y\[1\] .* is NaN"),
        ([[1, 0], [0, 1]], "argmax"),
    ],
)
def test_labels_are_refused_with_their_row(y: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_classes(y, 3)


def test_labels_are_accepted() -> None:
    labels = check_classes(np.array([[0.0], [2.0]]), 3)
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 2]


def test_checking_is_fast() -> None:
    X = np.ones((60_000, 784), np.float32)
    start = time.perf_counter()
    check_features(X)
    assert time.perf_counter() - start < 0.3
