"""Emit products of matrices, with any number of leading axes, and their epilogues.

A product with a matrix that all rows share is one product of all rows.  Otherwise the product of
each pair of matrices is computed in turn, by the same code.

Read next: :mod:`chainrule.run.llvm.gemm`.
"""

from __future__ import annotations

import math
from dataclasses import replace

from llvmlite import ir

from chainrule.core.graph import Node
from chainrule.core.spec import Dim, Shape
from chainrule.run.llvm.body import Body, Site
from chainrule.run.llvm.gemm import Epilogue, Gemm, Target, Tile
from chainrule.run.llvm.instructions import I64, least, loop
from chainrule.run.llvm.move_code import Group
from chainrule.run.llvm.vector import Value, VectorBuilder
from chainrule.run.plan.fuse import Kernels
from chainrule.run.plan.view import is_swap, operands_of, summed, unmoved, view_of

__all__ = ["ProductCode", "weights_to_pack"]

LONG = 6  # operations of an epilogue, beyond which a loop over it costs next to nothing


def _gemm(node: Node, capacity: int, target: Target, training: bool) -> Gemm:
    """Return the product of two matrices that `node` is, or of which it consists."""
    left, right = node.inputs
    across = node.primitive.name == "row_products"
    lengths = summed(node)
    runtime_k = any(isinstance(d, Dim) for d in lengths)
    height = node.spec.shape[-2]  # the rows of one product
    return Gemm(
        n=_size(node.spec.shape[-1:]),
        k=_size(lengths) * (capacity if runtime_k else 1),
        m=None if isinstance(height, Dim) or (_shared(node) and _inner(node) > 1) else height,
        dtype=node.spec.dtype.name,
        trans_a=across or is_swap(left),
        trans_b=not across and is_swap(right),
        runtime_k=runtime_k,
        # A function of rows, not a step of training.
        often_one=not training and node.spec.ndim == 2,
        target=target,
    )


def _shared(node: Node) -> bool:
    """Return whether all rows are multiplied with one matrix."""
    left, right = node.inputs
    if node.primitive.name == "row_products":
        return True
    return right.spec.ndim == 2 and (left.spec.ndim == 2 or not is_swap(left))


def _inner(node: Node) -> int:
    """Return the rows of matrices in one row of the kernel: more than 1 in a batch of matrices."""
    shape = node.spec.shape
    return _size(shape[1:-1]) if isinstance(shape[0], Dim) else 1


def weights_to_pack(kernels: Kernels, capacity: int, target: Target) -> dict[Node, Gemm]:
    """Return the products of rows with a large parameter that nothing else reads.

    Each is given as the product that takes the parameter arranged for it.
    """
    readers: dict[Node, list[Node]] = {}
    for node in kernels.graph.nodes:
        for source in node.inputs:
            readers.setdefault(source, []).append(node)
    outputs = set(kernels.graph.outputs.values())
    found = {}
    for kernel in kernels.order:
        if kernel.kind != "matmul" or kernel.anchor is None:
            continue
        node = kernel.anchor
        if node.primitive.name != "matmul":
            continue
        right, weight = node.inputs[1], operands_of(node)[1]
        alone = readers[right] == [node] and (weight is right or readers[weight] == [right])
        if weight.primitive.name != "parameter" or not alone or weight in outputs:
            continue
        gemm = _gemm(node, capacity, target, training=False)
        large = gemm.k * gemm.n * gemm.size > target.l1 // 2 and gemm.n > gemm.panel_width
        if _shared(node) and large and not gemm.runtime_k and node.inputs[0] is not right:
            found[node] = replace(gemm, trans_b=False, often_one=True, prepacked=True)
    return found


class ProductCode(Body):
    """The code of a kernel that multiplies matrices."""

    def _emit_matmul(self) -> None:
        node, b = self._product, self.b
        left, right = node.inputs
        context, height = self.context, node.spec.shape[-2]
        gemm = context.packed.get(node) or _gemm(
            node, context.capacity, context.target, bool(context.state)
        )
        slots = self.context.slots
        slots.workspace = max(slots.workspace, -(-gemm.workspace // 64) * 64)
        own = self.workspace(gemm.element)
        first, end = (b.mul(at, I64(_inner(node))) for at in self.split())
        array_a, array_b = (self.array(unmoved(operand)) for operand in operands_of(node))
        ahead, long = self._loaded_by_tile(), self._is_long()
        if _shared(node):
            depth = b.mul(self.rows, I64(_size(summed(node)))) if gemm.runtime_k else None
            gemm.emit(
                b, array_a, array_b, own, first, end, own,
                k=depth, epilogue=self._epilogue(I64(0)), ahead=ahead, long=long,
            )  # fmt: skip
            return
        assert isinstance(height, int)
        last = b.udiv(b.add(end, I64(height - 1)), I64(height))
        with loop(b, b.udiv(first, I64(height)), last) as entry:
            row = b.mul(entry, I64(height))
            # Where the rows of a matrix are divided among threads, each takes its part.
            start = b.sub(b.select(b.icmp_signed(">", first, row), first, row), row)
            stop = least(b, I64(height), b.sub(end, row))
            a = b.gep(array_a, [self._matrix(left, entry)])
            matrix = b.gep(array_b, [self._matrix(right, entry)])
            near = [b.gep(array, [b.mul(row, I64(gemm.n))]) for array in ahead]
            epilogue = self._epilogue(row)
            gemm.emit(b, a, matrix, own, start, stop, own, epilogue=epilogue, ahead=near, long=long)

    @property
    def _product(self) -> Node:
        assert self.kernel.anchor is not None
        return self.kernel.anchor

    def _matrix(self, operand: Node, entry: ir.Value) -> ir.Value:
        """Return where the matrix of `operand` for the product of number `entry` starts."""
        b, leading, own = self.b, self._product.spec.shape[:-2], operand.spec.shape
        size = _size(own[-2:])
        own = (*[1] * (len(leading) + 2 - len(own)), *own[:-2])
        if own == leading:
            return b.mul(entry, I64(size))
        place: ir.Value = I64(0)
        for axis in reversed(range(len(leading))):
            at = entry
            if axis > 0:
                at, entry = (part(entry, I64(leading[axis])) for part in (b.urem, b.udiv))
            if own[axis] != 1:
                place = b.add(place, b.mul(at, I64(size)))
            size *= _size(own[axis : axis + 1])
        return place

    def _epilogue(self, base: ir.Value) -> Epilogue:
        """Return the epilogue of a product whose first row is row `base` of all."""
        node, inner, columns = (
            self._product,
            _inner(self._product),
            _size(self._product.spec.shape[-1:]),
        )

        def epilogue(tile: Tile, sums: ir.Value) -> ir.Value | None:
            outer, self.b = self.b, tile.builder
            self.rules = VectorBuilder(self.b)
            row, column, group = self.b.add(base, tile.row), tile.column, None
            if inner > 1:
                number = self.b.urem(row, I64(inner))
                row = self.b.udiv(row, I64(inner))
                group = Group(number, column, columns)
                column = self.b.add(self.b.mul(number, I64(columns)), column)
            site = Site(self, self.whole, row, column, tile.lanes, tile.count)
            site.group = group
            site.known[node] = Value(sums, node.spec.dtype.name)
            self.store_all(site)
            self.b = outer
            self.rules = VectorBuilder(self.b)
            return None

        return epilogue

    def _is_long(self) -> bool:
        """Return whether the epilogue takes many instructions, so that it is emitted once."""
        own = [node for node in self.kernel.nodes if node is not self._product]
        return len(own) > LONG or any(node.primitive.costly for node in own)

    def _loaded_by_tile(self) -> list[ir.Value]:
        """Return the arrays of the product's own shape and type that its epilogue loads.

        Small ones stay in the cache, so that fetching them ahead would only be more code.
        """
        kernel, kernels, anchor = self.kernel, self.context.kernels, self._product
        lengths = (self.context.capacity if isinstance(d, Dim) else d for d in anchor.spec.shape)
        if math.prod(lengths) * anchor.spec.dtype.itemsize <= self.context.target.l1 // 4:
            return []
        loaded = {
            source
            for node in kernel.nodes
            if node is not anchor
            for i in node.inputs
            for source in kernels.sources(i)
            if source not in self.members
        }
        return [
            self.array(node)
            for node in sorted(loaded, key=lambda n: n.serial)
            if view_of(node.spec.shape) == kernel.view and node.spec.dtype == anchor.spec.dtype
        ]


def _size(shape: Shape) -> int:
    """Return the product of the lengths in `shape` that do not depend on the data."""
    return math.prod(d for d in shape if isinstance(d, int))
