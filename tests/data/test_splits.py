"""Splits and folds: a partition, repeatable, with every class on both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.core.errors import DataError, OptionError
from chainrule.data import folds, split, stratified_folds

labels = st.lists(st.integers(0, 4), min_size=2, max_size=80).filter(
    lambda y: max(y.count(c) for c in set(y)) >= 2
)


@given(labels, st.floats(0.05, 0.95), st.integers(0, 2**32))
def test_stratified_split(y: list[int], fraction: float, seed: int) -> None:
    train, test = split(y, fraction, seed)
    assert sorted([*train, *test]) == list(range(len(y)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(test) > 0).all()
    repeated = {c for c in y if y.count(c) >= 2}
    assert {y[row] for row in train} == set(y)
    assert {y[row] for row in test} == repeated
    again = split(y, fraction, seed)
    assert np.array_equal(again[0], train)
    for c in repeated:
        share = sum(y[row] == c for row in test)
        assert abs(share - fraction * y.count(c)) < 1 + len(set(y))


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 99))
def test_plain_split(n: int, fraction: float, seed: int) -> None:
    train, test = split(n, fraction, seed)
    assert sorted([*train, *test]) == list(range(n))
    assert len(test) == min(max(round(n * fraction), 1), n - 1)


def test_seed_matters_and_floats_are_not_stratified() -> None:
    assert not np.array_equal(split(100, 0.2, 0)[1], split(100, 0.2, 1)[1])
    y = np.array([0.0, 1.0] * 50)
    assert np.array_equal(split(y, 0.2, 0)[1], split(100, 0.2, 0)[1])
    _, test = split(y, 0.2, 0, stratify=True)
    assert y[test].sum() == 10


@given(st.integers(2, 100), st.integers(2, 10), st.integers(0, 99))
def test_folds_test_each_row_once(n: int, k: int, seed: int) -> None:
    if n < k:
        with pytest.raises(DataError, match=f"{k} folds need at least {k} rows; got {n}"):
            folds(n, k, seed)
        return
    pairs = folds(n, k, seed)
    assert sorted(row for _, test in pairs for row in test) == list(range(n))
    for train, test in pairs:
        assert sorted([*train, *test]) == list(range(n))
        assert n // k <= len(test) <= n // k + 1


def test_stratified_folds_deal_each_class() -> None:
    y = np.array(["a"] * 10 + ["b"] * 7 + ["c"] * 4)
    pairs = stratified_folds(y, 3, seed=5)
    assert sorted(row for _, test in pairs for row in test) == list(range(21))
    assert {len(test) for _, test in pairs} == {7}
    for c, low in (("a", 3), ("b", 2), ("c", 1)):
        assert {int((y[test] == c).sum()) for _, test in pairs} <= {low, low + 1}


def test_errors() -> None:
    for fraction in (0.0, 1.0, -1, 2, float("nan")):
        with pytest.raises(OptionError, match="between 0 and 1"):
            split(10, fraction)
    with pytest.raises(DataError, match="at least 2 rows"):
        split([1], 0.5)
    with pytest.raises(DataError, match="Every class has one row"):
        split([0, 1, 2], 0.5)
    with pytest.raises(OptionError, match="needs the target"):
        split(10, 0.5, stratify=True)
    with pytest.raises(OptionError, match="seed must be"):
        split(10, 0.5, seed=-1)
    with pytest.raises(DataError, match="one-dimensional"):
        split([[1], [2]], 0.5)
    with pytest.raises(OptionError, match="2 folds or more"):
        folds(10, 1)
    with pytest.raises(DataError, match=r"Class b has one row \(row 2\)"):
        stratified_folds(["a", "a", "b"], 2)
