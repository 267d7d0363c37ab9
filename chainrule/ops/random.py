"""Counter-based random numbers: a pure function of a seed and a position, without state.

Element i of a draw depends only on the seed, the stream and i, so the same
graph gives the same numbers however its work is split.  A training step gets
new numbers by incrementing its seed.

The generator is Threefry-2x32 with 20 rounds: Salmon, Moraes, Dror and Shaw,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011.

Read next: :mod:`chainrule.ops.composite`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import DTypeError, ShapeError
from chainrule.core.primitive import Primitive, register
from chainrule.core.spec import Dim, Shape, Spec, as_shape, is_float
from chainrule.core.tensor import Tensor, TensorLike, as_tensor, record
from chainrule.ops.elementary import cos, log1p, sqrt

__all__ = ["normal", "numbers_at", "uniform"]

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)


def threefry(key: Any, counter: Any) -> tuple[Any, Any]:
    """Return two arrays of random uint32 for a pair of keys and a pair of counters.

    >>> a, b = threefry((np.uint32(0), np.uint32(0)), (np.uint32([0]), np.uint32([0])))
    >>> hex(a[0]), hex(b[0])  # the authors' known answer
    ('0x6b200159', '0x99ba4efe')
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for block in range(5):
        for turn in ROTATIONS[block % 2]:
            x = x + y
            y = (y << np.uint32(turn)) | (y >> np.uint32(32 - turn))
            y = y ^ x
        x = x + keys[(block + 1) % 3]
        y = y + keys[(block + 2) % 3] + np.uint32(block + 1)
    return x, y


def _uniform_infer(seed: Spec, shape: Shape, stream: int, dtype: str) -> Spec:
    if seed.shape != () or seed.dtype != np.int64:
        raise ShapeError(f"the seed must be an int64 scalar, not {seed}.")
    if not is_float(dtype):
        raise DTypeError(f"the dtype must be float32 or float64, not {dtype}.")
    return Spec(shape, dtype)


def _uniform_meaning(seed: Any, shape: tuple[int, ...], stream: int, dtype: str) -> Any:
    low, high = (np.array([int(seed) & (2**64 - 1)], np.uint64)).view(np.uint32)
    place = np.arange(math.prod(shape), dtype=np.uint64)
    with np.errstate(over="ignore"):
        return numbers_at(place, (np.uint32(low), np.uint32(high)), stream, dtype).reshape(shape)


def numbers_at(place: Any, key: tuple[Any, Any], stream: int, dtype: str) -> Any:
    """Return the uniform numbers at `place`, an array of uint64 of NumPy or with its methods.

    `key` is the seed in two words of 32 bits, the lower one first.
    """
    # The stream takes the upper word of the counter: 2**32 numbers per draw, 2**32 draws per seed.
    counter = (
        place.astype(np.uint32),
        (place >> np.uint64(32)).astype(np.uint32) + np.uint32(stream),
    )
    x, y = threefry(key, counter)
    if np.dtype(dtype) == np.float32:
        return (x >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    bits = (x.astype(np.uint64) << np.uint64(32)) | y.astype(np.uint64)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


UNIFORM = register(
    Primitive(
        "uniform", infer=_uniform_infer, meaning=_uniform_meaning,
        domain=lambda rng: (
            [np.int64(rng.integers(100))], {"shape": (3, 4), "stream": 0, "dtype": "float32"}
        ),
        onnx="RandomUniform",
    )
)  # fmt: skip


def uniform(
    seed: TensorLike, shape: Sequence[int | str | Dim], stream: int = 0, dtype: str = "float32"
) -> Tensor:
    """Return uniform random numbers from [0, 1), the same ones for the same seed and stream.

    >>> uniform(0, (2,))
    Tensor([0.4184571, 0.3146817], f32[2])
    """
    seed = as_tensor(seed).astype(np.int64)
    return record(UNIFORM, seed, shape=as_shape(tuple(shape)), stream=stream, dtype=dtype)


def normal(
    seed: TensorLike, shape: Sequence[int | str | Dim], stream: int = 0, dtype: str = "float32"
) -> Tensor:
    """Return standard normal numbers, by Box and Muller's ``sqrt(-2 log(1-u)) cos(2 pi v)``.

    It uses the streams ``2 * stream`` and ``2 * stream + 1`` of a seed derived from `seed`.
    """
    seed = as_tensor(seed).astype(np.int64) + 0x5DEECE66D
    u = uniform(seed, shape, 2 * stream, dtype)
    v = uniform(seed, shape, 2 * stream + 1, dtype)
    return sqrt(-2.0 * log1p(-u)) * cos(2 * math.pi * v)
