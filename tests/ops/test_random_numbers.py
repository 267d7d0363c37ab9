"""Threefry against its authors' known answers, and the distributions drawn from it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule.ops.random import threefry

MANY = 100_000


# The known answers for threefry2x32, 20 rounds, in Random123's kat_vectors.
@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers(counter: Any, key: Any, answer: Any) -> None:
    with np.errstate(over="ignore"):
        pair = threefry(
            tuple(np.uint32(k) for k in key), tuple(np.array([c], np.uint32) for c in counter)
        )
    assert tuple(int(word[0]) for word in pair) == answer
    assert all(word.dtype == np.uint32 for word in pair)


def _uniform(seed: int, stream: int = 0, dtype: str = "float64", shape: Any = (MANY,)) -> Any:
    return cr.uniform(seed, shape, stream, dtype).numpy()


def _normal(seed: int, stream: int = 0, dtype: str = "float64", shape: Any = (MANY,)) -> Any:
    return cr.normal(seed, shape, stream, dtype).numpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 1, -7, 2**40])
def test_uniform_numbers_are_uniform(seed: int, dtype: str) -> None:
    u = _uniform(seed, dtype=dtype)
    assert u.dtype == dtype
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / MANY)
    assert abs(u.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / MANY)
    assert stats.kstest(u, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", [0, 3, -7])
def test_normal_numbers_are_normal(seed: int, dtype: str) -> None:
    z = _normal(seed, dtype=dtype)
    assert z.dtype == dtype
    assert np.isfinite(z).all()
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 5 * np.sqrt(spread / MANY)
    assert stats.kstest(z, "norm").pvalue > 1e-4


@pytest.mark.parametrize("draw", [_uniform, _normal])
def test_seeds_streams_and_neighbors_are_independent(draw: Any) -> None:
    draws = {
        (seed, stream): draw(seed, stream)
        for seed, stream in itertools.product([0, 1, 2**32], [0, 1, 2])
    }
    for (_, a), (_, b) in itertools.combinations(draws.items(), 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(MANY)
        # Box-Muller halves shared between streams are uncorrelated, yet not independent.
        assert abs(np.corrcoef(a, b * b)[0, 1]) < 5 / np.sqrt(MANY)
        assert abs(np.corrcoef(a * a, b)[0, 1]) < 5 / np.sqrt(MANY)
    a = draws[0, 0]
    for lag in (1, 2, 64):
        assert abs(np.corrcoef(a[:-lag], a[lag:])[0, 1]) < 5 / np.sqrt(MANY)


def test_uniform_and_normal_of_one_seed_are_independent() -> None:
    assert abs(np.corrcoef(_uniform(5), _normal(5))[0, 1]) < 5 / np.sqrt(MANY)


@pytest.mark.parametrize("draw", [_uniform, _normal])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_element_depends_on_its_place_alone(draw: Any, dtype: str) -> None:
    """A shorter draw, or the same one in another shape, holds the same numbers."""
    long = draw(9, 2, dtype, (1200,))
    np.testing.assert_array_equal(draw(9, 2, dtype, (1200,)), long)
    np.testing.assert_array_equal(draw(9, 2, dtype, (7,)), long[:7])
    np.testing.assert_array_equal(draw(9, 2, dtype, (30, 40)).ravel(), long)
    assert draw(9, 2, dtype, ()) == long[0]
    assert draw(9, 2, dtype, (0, 4)).shape == (0, 4)


def test_the_seed_may_be_computed_and_the_length_come_with_the_data() -> None:
    step, x = cr.input("step", (), "int64"), cr.input("x", ("n", 2))
    noise = cr.uniform(step + 1, x.shape)
    graph = cr.Graph({"noise": noise.node}, {"step": step.node, "x": x.node})
    cr.verify(graph)
    for rows in (3, 0):
        have = cr.evaluate(graph, {"step": 4, "x": np.zeros((rows, 2))})["noise"]
        np.testing.assert_array_equal(have, cr.uniform(5, (rows, 2)).numpy())


def test_what_cannot_be_a_seed() -> None:
    with pytest.raises(cr.ShapeError, match="uniform: the seed must be an int64 scalar"):
        cr.uniform([1, 2], (3,))
