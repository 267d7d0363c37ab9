"""The summary table of a network: shape, parameters, operations and memory of each layer.

The numbers are taken from the graph that the model records, so they are right for any callable.

Read next: :mod:`chainrule.nn.layer`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from chainrule.core.graph import Graph, Node
from chainrule.core.parameter import Parameter
from chainrule.core.spec import Dim, Shape
from chainrule.core.tensor import Tensor, input
from chainrule.core.wording import counted
from chainrule.transform.mode import for_predicting

__all__ = ["LayerRow", "Summary", "summarize"]


@dataclass(frozen=True)
class LayerRow:
    """One layer: its path, description, output shape and costs.

    `flops` are the floating-point operations to predict one row, two for a multiply-add;
    `parameters` is a number of scalars, `trainable` of those that training changes.
    """

    path: str
    layer: str
    shape: Shape
    parameters: int
    trainable: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """The layers of a network and their totals; prints as a table.

    `parameter_bytes` is the memory of all parameters, `row_bytes` that of the layers' outputs for
    one row of the batch, which training keeps for the backward pass.
    """

    features: tuple[int, ...]
    rows: tuple[LayerRow, ...]
    parameters: int
    trainable: int
    parameter_bytes: int
    row_bytes: int
    flops: int

    def __str__(self) -> str:
        head = ("layer", "", "output", "parameters", "flops per row")
        lines = [head, *(self._cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        table = [
            "  ".join(
                cell.rjust(width) if i > 2 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        rule = "-" * max(map(len, table))
        frozen = self.parameters - self.trainable
        kept = f", {frozen:,} of them not trainable" if frozen else ""
        return "\n".join([
            table[0], rule, *table[1:], rule,
            f"{counted(self.parameters, 'parameter')}{kept}, {_bytes(self.parameter_bytes)}",
            f"{self.flops:,} floating-point operations per row to predict, about "
            f"{3 * self.flops:,} to train",
            f"{_bytes(self.row_bytes)} of layer outputs per row",
        ])  # fmt: skip

    __repr__ = __str__

    @staticmethod
    def _cells(row: LayerRow) -> tuple[str, ...]:
        shape = "(" + ", ".join(map(str, row.shape)) + ("," if len(row.shape) == 1 else "") + ")"
        return row.path, row.layer, shape, f"{row.parameters:,}", f"{row.flops:,}"


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB"


def flops_of(node: Node) -> int:
    """Return the floating-point operations of `node` for one row of the batch."""
    name, shape = node.primitive.name, node.spec.shape
    size = math.prod(d for d in shape if isinstance(d, int))
    if name == "matmul":
        return 2 * size * int(node.inputs[0].spec.shape[-1])  # type: ignore[arg-type]
    if name == "sparse_matmul":
        return 2 * int(node.params["wiring"].edges)
    free = node.primitive.move or node.primitive.alias or name in ("arange", "cast")
    if node.primitive.leaf or free or not any(isinstance(d, Dim) for d in shape):
        return 0
    if node.primitive.combine is not None:  # a reduction has one operation per input element
        return math.prod(d for d in node.inputs[0].spec.shape if isinstance(d, int))
    return size


def summarize(
    model: Callable[[Tensor], Tensor],
    found: Mapping[str, Parameter],
    layers: Mapping[str, object],
    features: tuple[int, ...],
    dtype: DTypeLike = np.float32,
) -> Summary:
    """Return the summary of `model` for rows of the shape `features`.

    `found` are its parameters by path, `layers` its layers by path, in order.
    """
    x = input("x", ("n", *features), dtype)
    graph = for_predicting(Graph({"output": model(x)}, {"x": x}))
    paths = list(layers) or [""]
    last: dict[str, Node] = {}
    work = dict.fromkeys(paths, 0)
    for node in graph.nodes:
        path = next((p for p in paths if node.scope == p or node.scope.startswith(f"{p}.")), "")
        work[path] = work.get(path, 0) + flops_of(node)
        last[path] = node
    last[paths[-1]] = graph.outputs["output"]
    rows, shape = [], x.shape
    for path in paths:
        own = [p for name, p in found.items() if name.startswith(f"{path}.") or not path]
        shape = last[path].spec.shape if path in last else shape  # dropout has no node
        sizes = [(math.prod(p.value.shape), p.trainable) for p in own]
        rows.append(
            LayerRow(
                path, describe(layers.get(path, model)), shape, sum(n for n, _ in sizes),
                sum(n for n, trainable in sizes if trainable), work[path],
            )
        )  # fmt: skip
    width = np.dtype(graph.outputs["output"].spec.dtype).itemsize
    units = sum(math.prod(d for d in row.shape if isinstance(d, int)) for row in rows)
    return Summary(
        features, tuple(rows), sum(math.prod(p.value.shape) for p in found.values()),
        sum(math.prod(p.value.shape) for p in found.values() if p.trainable),
        sum(p.value.nbytes for p in found.values()), units * width, sum(work.values()),
    )  # fmt: skip


def describe(layer: object) -> str:
    """Return a short description of a layer: its class and its sizes."""
    name = getattr(layer, "__name__", type(layer).__name__)
    sizes = [getattr(layer, field, None) for field in ("inputs", "outputs", "features", "rate")]
    told = ", ".join(f"{size:,}" if isinstance(size, int) else str(size) for size in sizes if size)
    return f"{name}({told})" if told else name
