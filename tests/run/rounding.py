"""How far correct arithmetic may be from the reference: it is run again with random rounding.

A result is as certain as it stays under rounding errors of all its parts. :func:`evaluate_noisily`
adds such errors, and :func:`assert_near` allows what they change: much where small differences are
divided or numbers near a limit are compared, little elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.core.graph import Graph
from chainrule.core.spec import resolve

Array = np.ndarray[Any, Any]
ROUNDING = 8.0  # the errors that are added, in units of the dtype's epsilon
FACTOR = 8.0  # what is allowed, in differences that the added errors made
EXACT = {"abs", "cast", "floor", "max", "maximum", "minimum", "neg", "relu", "sign", "where"}
ADDING = {"edge_products", "matmul", "row_products", "scatter_add", "sparse_matmul", "sum"}


def evaluate_noisily(
    graph: Graph, values: Mapping[str, Array], rng: np.random.Generator
) -> dict[str, Array]:
    """Return the outputs of `graph` by name, with a random error after each inexact operation."""
    known: dict[Any, Array] = {}
    lengths: dict[Any, int] = {}
    for name, node in graph.inputs.items():
        node.spec.bind(values[name], lengths, name)
        known[node] = values[name]
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if node in known:
                continue
            params = {key: resolve(value, lengths) for key, value in node.params.items()}
            inputs = [known[source] for source in node.inputs]
            value = np.asarray(node.primitive.meaning(*inputs, **params))
            primitive, size = node.primitive, np.abs(value)
            moved = primitive.leaf or primitive.alias or primitive.move or not node.inputs
            if value.dtype.kind == "f" and not moved:
                if primitive.name in ADDING:
                    parts = [abs(i) if i.dtype.kind == "f" else i for i in inputs]
                    size = np.asarray(primitive.meaning(*parts, **params))
                if primitive.name not in EXACT and primitive.name != "uniform":
                    value = _rounded(value, size, rng)
                # Signs of zeros are not kept, and the smallest numbers are taken as zeros.
                tiny = np.abs(value) < np.finfo(value.dtype).tiny
                value = np.where(tiny, rng.choice([0.0, -0.0], value.shape), value)
            known[node] = value.astype(node.spec.dtype)
    return {name: known[node] for name, node in graph.outputs.items()}


def _rounded(value: Array, size: Array, rng: np.random.Generator) -> Array:
    """Return `value` with errors of its own for each element, and one for all: sums keep that."""
    errors = rng.uniform(-ROUNDING, ROUNDING, value.shape) + rng.uniform(-ROUNDING, ROUNDING)
    errors *= np.finfo(value.dtype).eps
    return np.where(np.isfinite(value) & np.isfinite(size), value + errors * size, value)


def assert_near(
    found: Mapping[str, Array], expected: Mapping[str, Array], noisy: Sequence[Mapping[str, Array]]
) -> None:
    """Hold `found` to `expected`, as near as `noisy` evaluations of the same are to it.

    Where one of these is infinite or NaN, and another is not, anything is allowed.
    """
    assert set(found) == set(expected)
    for name, right in expected.items():
        ours, right = np.asarray(found[name]).reshape(right.shape), np.asarray(right)
        others = [np.asarray(other[name]).reshape(right.shape) for other in noisy]
        if ours.dtype.kind != "f":
            stable = np.all([other == right for other in others], axis=0)
            wrong = stable & (ours != right)
            assert not wrong.any(), _told(name, ours, right, wrong)
            continue
        with np.errstate(all="ignore"):
            same = (ours == right) | (np.isnan(ours) & np.isnan(right))
            alike = np.all([_kind(other) == _kind(right) for other in others], axis=0)
            apart = np.max([np.abs(other - right) for other in others], axis=0)
            about = np.finfo(right.dtype)
            allowed = FACTOR * (apart + 4 * about.eps * np.abs(right) + about.tiny)
            near = np.abs(ours - right) <= allowed
        wrong = ~same & alike & ~near
        # What overflows with an error of the allowed size is not stable either.
        wrong &= ~(np.isfinite(right) & (np.abs(right) > about.max / 4))
        assert not wrong.any(), _told(name, ours, right, wrong, allowed)


def _kind(value: Array) -> Array:
    return np.where(np.isnan(value), 2.0, np.where(np.isinf(value), np.sign(value), 0.0))


def _told(name: str, ours: Array, right: Array, wrong: Array, allowed: Array | None = None) -> str:
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    limit = "" if allowed is None else f", where {allowed[at]:.3g} of difference is allowed"
    return (
        f"{name}{list(at)} is {ours[at]!r}, not {right[at]!r}{limit}; "
        f"{int(wrong.sum())} of {wrong.size} elements differ"
    )
