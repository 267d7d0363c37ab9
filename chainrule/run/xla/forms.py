"""The operations whose implementation in NumPy can't be traced, in terms of JAX.

These are the ones that write into an array, look at single numbers, or call Python for each
element.  Random numbers are those of the reference: the same function of the same counters.

Read next: :mod:`chainrule.run.xla.translate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from chainrule.ops.random import numbers_at
from chainrule.ops.sparse import Wiring

__all__ = ["FORMS"]


def _gather(x: Any, indices: Any) -> Any:
    return x.at[indices].get(mode="clip")  # out of range is an error, see translate.py


def _scatter_add(updates: Any, indices: Any, rows: int) -> Any:
    number = np.int32 if updates.dtype == np.bool_ else updates.dtype  # the sum of booleans is "or"
    zeros = jnp.zeros((rows, *updates.shape[indices.ndim :]), number)
    return zeros.at[indices].add(updates.astype(number), mode="drop").astype(updates.dtype)


def _uniform(seed: Any, shape: tuple[int, ...], stream: int, dtype: str) -> Any:
    bits = jnp.asarray(seed).astype(np.uint64)
    place = jnp.arange(math.prod(shape), dtype=np.uint64)
    key = bits.astype(np.uint32), (bits >> np.uint64(32)).astype(np.uint32)
    return numbers_at(place, key, stream, dtype).reshape(shape)


def _pad(x: Any, low: Any, high: Any, interior: Any) -> Any:
    return lax.pad(x, np.zeros((), x.dtype), tuple(zip(low, high, interior, strict=True)))


def _sparse_matmul(x: Any, weight: Any, wiring: Wiring, transposed: bool) -> Any:
    ends, others, units = wiring.targets, wiring.sources, wiring.outputs
    if transposed:
        order = wiring.by_source
        ends, others, units = wiring.sources[order], wiring.targets_by_source, wiring.inputs
        weight = weight[order]
    terms = x[:, others] * weight
    return jax.ops.segment_sum(terms.T, ends, units, indices_are_sorted=True).T


def _edge_products(x: Any, y: Any, wiring: Wiring) -> Any:
    return (x[:, wiring.sources] * y[:, wiring.targets]).sum(0)


FORMS: dict[str, Callable[..., Any]] = {
    "cast": lambda x, dtype: jnp.asarray(x).astype(dtype),
    "edge_products": _edge_products,
    "erf": jax.scipy.special.erf,
    "gather": _gather,
    "pad": _pad,
    "scatter_add": _scatter_add,
    "sparse_matmul": _sparse_matmul,
    "stop_gradient": lambda x: x,
    "uniform": _uniform,
}
