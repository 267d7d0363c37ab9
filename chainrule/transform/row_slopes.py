"""The Jacobian of a network for each row, with one backward pass for each output.

Where rows are independent, a backward pass from the sum over rows computes the gradients of
each row: they are added up only at a parameter.  Stopping there keeps the rows separate: for a
product ``x @ W`` row i has ``outer(x[i], slope[i])``, for ``x + b`` it has ``slope[i]``.

Source: Goodfellow, "Efficient per-example gradient computations", 2015.

Read next: :mod:`chainrule.train.full_batch_program`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.graph import Node, reachable
from chainrule.core.spec import dims_in
from chainrule.core.tensor import Tensor, tensor
from chainrule.ops.shape import broadcast_to
from chainrule.transform.grad import pull_back
from chainrule.transform.rows import rows_stand_alone

__all__ = ["RowSlopes", "row_slopes"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Use:
    """One use of a parameter: the indices of output and parameter, and the factors.

    `left` is multiplied by a weight; it is None where the derivative is the slope itself.
    """

    output: int
    parameter: int
    slope: Tensor
    left: Tensor | None


@dataclass(frozen=True)
class RowSlopes:
    """Tensors to compute, by name, and how to assemble a Jacobian from their values."""

    tensors: dict[str, Tensor]
    uses: tuple[_Use, ...]
    names: tuple[tuple[str, str | None], ...]
    shapes: tuple[tuple[int, ...], ...]
    outputs: int

    def jacobian(self, values: Mapping[str, Array], rows: int) -> Array:
        """Return the Jacobian (rows, outputs, parameters) in float64."""
        sizes = [math.prod(shape) for shape in self.shapes]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        whole = np.zeros((rows, self.outputs, int(starts[-1])))
        for use, (slope_name, left_name) in zip(self.uses, self.names, strict=True):
            slope = np.asarray(values[slope_name], np.float64)
            if left_name is None:
                part = _summed(slope, self.shapes[use.parameter])
            else:
                left = np.asarray(values[left_name], np.float64)
                left = left.reshape(rows, -1, left.shape[-1])
                part = left.transpose(0, 2, 1) @ slope.reshape(rows, -1, slope.shape[-1])
            at = starts[use.parameter]
            whole[:, use.output, at : at + sizes[use.parameter]] += part.reshape(rows, -1)
        return whole


def _summed(slope: Array, shape: tuple[int, ...]) -> Array:
    """Return the slopes of an elementwise operation, summed where `shape` was broadcast."""
    rows = slope.shape[0]
    inner = (1,) * (slope.ndim - len(shape)) + shape
    axes = tuple(a for a in range(1, slope.ndim) if inner[a] == 1 and slope.shape[a] != 1)
    part: Array = slope.sum(axis=axes, keepdims=True) if axes else slope
    return part.reshape(rows, -1)


def row_slopes(output: Tensor, parameters: Sequence[Tensor]) -> RowSlopes | None:
    """Return the tensors to compute for the Jacobian of `output` (n, k) to `parameters`.

    Return None if rows are not independent, or if a parameter is used other than elementwise or
    as the right factor of a product with rows.

    >>> import chainrule as cr
    >>> x, w = cr.input("x", ("n", 2)), cr.tensor([[1.0], [2.0]])
    >>> sorted(row_slopes(cr.tanh(x @ w), [w]).tensors)
    ['0.0.left', '0.0.slope']
    """
    numbers = {p.node: i for i, p in enumerate(parameters)}
    met = [n for n in reachable([output.node]) if any(i in numbers for i in n.inputs)]
    if not rows_stand_alone([output.node]) or not all(map(_separable, met)):
        return None
    tensors: dict[str, Tensor] = {}
    uses: list[_Use] = []
    names: list[tuple[str, str | None]] = []
    width = int(output.shape[1])  # type: ignore[arg-type]
    for k in range(width):
        unit = np.zeros((1, width), output.dtype)
        unit[0, k] = 1
        seed = broadcast_to(tensor(unit), output.shape)
        slopes = pull_back(output, seed, [Tensor(node) for node in met])
        for place, (node, slope) in enumerate(zip(met, slopes, strict=True)):
            for use in _uses(k, node, slope, numbers):
                name = f"{k}.{len(uses)}.slope"
                tensors[name] = use.slope
                left = None
                if use.left is not None:
                    left = f"0.{place}.left"
                    tensors[left] = use.left
                uses.append(use)
                names.append((name, left))
    shapes = tuple(tuple(int(d) for d in p.shape) for p in parameters)  # type: ignore[arg-type]
    return RowSlopes(tensors, tuple(uses), tuple(names), shapes, width)


def _separable(node: Node) -> bool:
    if not dims_in(node.spec.shape):
        return False
    if node.primitive.name == "matmul":
        return node.inputs[1].spec.ndim == 2 and bool(dims_in(node.inputs[0].spec.shape))
    return node.primitive.elementwise and node.primitive.vjp is not None


def _uses(output: int, node: Node, slope: Tensor, numbers: Mapping[Node, int]) -> list[_Use]:
    if node.primitive.name == "matmul":
        return [_Use(output, numbers[node.inputs[1]], slope, Tensor(node.inputs[0]))]
    assert node.primitive.vjp is not None
    handles = [Tensor(i) for i in node.inputs]
    sent = node.primitive.vjp(slope, Tensor(node), *handles, **node.params)
    return [
        _Use(output, numbers[source], broadcast_to(part, node.spec.shape), None)
        for source, part in zip(node.inputs, sent, strict=True)
        if source in numbers and part is not None
    ]
