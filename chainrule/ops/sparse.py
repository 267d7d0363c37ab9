"""Products with a sparse weight matrix, which stores only the weights of existing edges.

A :class:`Wiring` lists which inputs are connected to which outputs; the weights of these
edges are one vector.  Inputs and outputs are dense.  The two operations are closed under
differentiation: the gradients of a product are a product along the same edges in the other
direction and a sampled product, whose own gradients are products again.

Read next: :mod:`chainrule.run.llvm.sparse_code`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from chainrule.core.errors import DTypeError, OptionError, ShapeError
from chainrule.core.primitive import Primitive, register
from chainrule.core.spec import Spec, is_float
from chainrule.core.tensor import Tensor, TensorLike, record

__all__ = ["Wiring", "edge_products", "sparse_matmul"]

Array: TypeAlias = "np.ndarray[Any, Any]"
LARGEST = 2**31 - 1  # the indices of inputs and outputs are stored as int32


@dataclass(frozen=True, eq=False, repr=False)
class Wiring:
    """Edges between `inputs` and `outputs`: edge e leads from sources[e] to targets[e].

    Edges are sorted by target, then by source, and weights follow this order.  Two wirings with
    the same edges are equal.

    Raises OptionError if there are no edges, and for an edge that is out of range or given twice.

    >>> wiring = Wiring(3, 2, [2, 0, 1], [1, 0, 1])
    >>> wiring.sources.tolist(), wiring.targets.tolist()
    ([0, 1, 2], [0, 1, 1])
    """

    inputs: int
    outputs: int
    sources: Array
    targets: Array

    def __post_init__(self) -> None:
        ends = {"inputs": self.sources, "outputs": self.targets}
        found = []
        for side, given in ends.items():
            size, array = getattr(self, side), np.asarray(given)
            if not 1 <= size <= LARGEST:
                raise OptionError(f"a wiring needs 1 or more {side}, not {size}.")
            if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
                raise OptionError(
                    f"the ends of edges at the {side} must be a list of one or more integers, "
                    f"not {given!r:.60}."
                )
            found.append(array.astype(np.int64))
        if len(found[0]) != len(found[1]):
            raise OptionError(
                "a wiring needs as many sources as targets, not "
                f"{len(found[0])} sources and {len(found[1])} targets."
            )
        for (side, array), other in zip(zip(ends, found, strict=True), found[::-1], strict=True):
            size = getattr(self, side)
            for e in np.flatnonzero((array < 0) | (array >= size))[:1]:
                edge = (array[e], other[e]) if side == "inputs" else (other[e], array[e])
                raise OptionError(
                    f"edge {int(e)}, from input {edge[0]} to output {edge[1]}, is out of range: "
                    f"there are {side} 0..{size - 1}."
                )
        sources, targets = found
        order = np.lexsort((sources, targets))
        sources, targets = sources[order], targets[order]
        again = (np.diff(sources) == 0) & (np.diff(targets) == 0)
        for e in np.flatnonzero(again)[:1]:
            raise OptionError(
                f"the edge from input {sources[e]} to output {targets[e]} is given twice."
            )
        for name, array in (("sources", sources), ("targets", targets)):
            kept = array.astype(np.int32)
            kept.setflags(write=False)
            object.__setattr__(self, name, kept)

    @property
    def edges(self) -> int:
        """The number of edges, and of weights."""
        return len(self.sources)

    @cached_property
    def starts(self) -> Array:
        """The index of each output's first edge, then the number of edges (outputs + 1,)."""
        return np.searchsorted(self.targets, np.arange(self.outputs + 1)).astype(np.int64)

    @cached_property
    def by_source(self) -> Array:
        """The indices of the edges, sorted by source, then by target."""
        return np.argsort(self.sources, kind="stable").astype(np.int32)

    @cached_property
    def targets_by_source(self) -> Array:
        """The targets of the edges in the order of :attr:`by_source`."""
        return self.targets[self.by_source]

    @cached_property
    def starts_by_source(self) -> Array:
        """The :attr:`starts` of :attr:`by_source`, for each input (inputs + 1,)."""
        ordered = self.sources[self.by_source]
        return np.searchsorted(ordered, np.arange(self.inputs + 1)).astype(np.int64)

    @cached_property
    def fan_in(self) -> Array:
        """The number of edges into each output."""
        return np.diff(self.starts)

    @cached_property
    def fan_out(self) -> Array:
        """The number of edges out of each input."""
        return np.diff(self.starts_by_source)

    @cached_property
    def digest(self) -> str:
        """A digest of the edges; wirings are compared by it."""
        digest = hashlib.sha256(f"{self.inputs} {self.outputs} ".encode())
        digest.update(np.ascontiguousarray(self.sources).tobytes())
        digest.update(np.ascontiguousarray(self.targets).tobytes())
        return digest.hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wiring) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<{self.edges} edges {self.inputs}->{self.outputs} {self.digest}>"


def _infer_product(x: Spec, weight: Spec, wiring: Wiring, transposed: bool) -> Spec:
    width, columns = wiring.inputs, wiring.outputs
    if transposed:
        width, columns = columns, width
    if x.ndim != 2 or x.shape[1] != width:
        raise ShapeError(f"{x} must have two axes, the last {width} long, for {wiring}.")
    if weight.shape != (wiring.edges,):
        raise ShapeError(f"{weight} must have one weight for each of {wiring}.")
    if not is_float(x.dtype):
        raise DTypeError(
            f"{x} must have a float dtype; convert it first, as in x.astype('float32')."
        )
    return Spec((x.shape[0], columns), x.dtype)


def _units(starts: Array) -> Iterator[tuple[int, slice]]:
    """Yield each unit that has edges, and the slice of its edges."""
    for unit in np.flatnonzero(np.diff(starts)):
        yield int(unit), slice(int(starts[unit]), int(starts[unit + 1]))


def _product(x: Array, weight: Array, wiring: Wiring, transposed: bool) -> Array:
    if transposed:
        starts, others = wiring.starts_by_source, wiring.targets_by_source
        weight = weight[wiring.by_source]
    else:
        starts, others = wiring.starts, wiring.sources
    y = np.zeros((len(x), len(starts) - 1), x.dtype)
    for unit, edges in _units(starts):
        y[:, unit] = x[:, others[edges]] @ weight[edges]
    return y


def _product_vjp(
    g: Tensor, out: Tensor, x: Tensor, weight: Tensor, wiring: Wiring, transposed: bool
) -> tuple[Tensor, Tensor]:
    ends = (g, x) if transposed else (x, g)
    return sparse_matmul(g, weight, wiring, not transposed), edge_products(*ends, wiring)


def _infer_edges(x: Spec, y: Spec, wiring: Wiring) -> Spec:
    for side, end, width in (("sources", x, wiring.inputs), ("targets", y, wiring.outputs)):
        if end.ndim != 2 or end.shape[1] != width:
            raise ShapeError(f"{end} must have two axes, the last {width} long, at the {side}.")
    if x.shape[0] != y.shape[0]:
        raise ShapeError(f"{x} and {y} must have the same rows.")
    if not is_float(x.dtype):
        raise DTypeError(
            f"{x} must have a float dtype; convert it first, as in x.astype('float32')."
        )
    return Spec((wiring.edges,), x.dtype)


def _edges(x: Array, y: Array, wiring: Wiring) -> Array:
    products = np.empty(wiring.edges, x.dtype)
    for unit, edges in _units(wiring.starts):
        products[edges] = y[:, unit] @ x[:, wiring.sources[edges]]
    return products


def _edges_vjp(
    g: Tensor, out: Tensor, x: Tensor, y: Tensor, wiring: Wiring
) -> tuple[Tensor, Tensor]:
    return sparse_matmul(y, g, wiring, transposed=True), sparse_matmul(x, g, wiring)


def _drawn(rng: Any) -> Wiring:
    """Return a wiring of 4 inputs and 3 outputs, the last of each without an edge."""
    return Wiring(4, 3, np.array([0, 2, 1, 0]), np.array([0, 0, 1, 1]))


SPARSE_MATMUL = register(
    Primitive(
        "sparse_matmul", keeps_rows=True, product="sparse", weighted=True,
        infer=_infer_product, meaning=_product, vjp=_product_vjp, promote=(0, 1),
        domain=lambda rng: (
            [rng.normal(size=(5, 4)), rng.normal(size=4)],
            {"wiring": _drawn(rng), "transposed": False},
        ),
    )
)  # fmt: skip
EDGE_PRODUCTS = register(
    Primitive(
        "edge_products", product="edges",
        infer=_infer_edges, meaning=_edges, vjp=_edges_vjp, promote=(0, 1),
        domain=lambda rng: (
            [rng.normal(size=(5, 4)), rng.normal(size=(5, 3))], {"wiring": _drawn(rng)},
        ),
    )
)  # fmt: skip


def sparse_matmul(
    x: TensorLike, weight: TensorLike, wiring: Wiring, transposed: bool = False
) -> Tensor:
    """Return ``y[:, t] = sum of x[:, s] * weight[e]`` over the edges e from s to t of `wiring`.

    x: (n, inputs), weight: (edges,), y: (n, outputs).  With `transposed` the edges are followed
    backward, from (n, outputs) to (n, inputs).  Raises ShapeError for other shapes.

    >>> wiring = Wiring(3, 2, [0, 1, 2], [0, 1, 1])
    >>> sparse_matmul([[1.0, 2.0, 3.0]], [10.0, 1.0, 1.0], wiring)
    Tensor([[10.,  5.]], f32[1,2])
    """
    return record(SPARSE_MATMUL, x, weight, wiring=wiring, transposed=transposed)


def edge_products(x: TensorLike, y: TensorLike, wiring: Wiring) -> Tensor:
    """Return ``p[e] = sum of x[:, s] * y[:, t]`` for each edge e from s to t of `wiring`.

    x: (n, inputs), y: (n, outputs), p: (edges,).  These are the elements of ``x.T @ y`` at the
    edges, as in the weight gradient of :func:`sparse_matmul`.  Raises ShapeError for other shapes.

    >>> edge_products([[1.0, 2.0]], [[10.0, 20.0]], Wiring(2, 2, [0, 1], [1, 0]))
    Tensor([20., 20.], f32[2])
    """
    return record(EDGE_PRODUCTS, x, y, wiring=wiring)
