"""The order of rows is a function of the seed and the epoch, in any thread and after any other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from chainrule.step.part import SHUFFLES, Part


def _wanted(rows: int, seed: int, epoch: int) -> np.ndarray:
    bits = np.random.Philox(key=[seed, SHUFFLES + epoch])
    return np.random.Generator(bits).permutation(rows)


@pytest.mark.parametrize("rows", [1, 2, 7, 150, 1001])
@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1])
def test_an_epoch_is_shuffled_by_a_new_generator_of_numpy(rows: int, seed: int) -> None:
    part = Part(np.zeros((rows, 1)), np.zeros(rows))
    for epoch in (1, 2, 1, 1000):
        assert np.array_equal(part.order(seed, epoch), _wanted(rows, seed, epoch))


def test_threads_shuffle_apart() -> None:
    part = Part(np.zeros((500, 1)), np.zeros(500))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda epoch: part.order(3, epoch), range(1, 400)))
    assert all(np.array_equal(o, _wanted(500, 3, e)) for e, o in enumerate(found, 1))
