"""Emit products of matrices, with any number of leading axes, and their epilogues.

A product with a matrix that all rows share is one product of all rows.  Otherwise the product of
each pair of matrices is computed in turn, by the same code.

Read next: :mod:`chainrule.run.llvm.gemm`.
"""

from __future__ import annotations

import math

from llvmlite import ir

from chainrule.core.graph import Node
from chainrule.core.spec import Dim, Shape
from chainrule.run.llvm.body import Body, Site
from chainrule.run.llvm.gemm import Epilogue, Gemm, Tile
from chainrule.run.llvm.instructions import I64, least, loop
from chainrule.run.llvm.move_code import Group
from chainrule.run.llvm.vector import Value, VectorBuilder
from chainrule.run.plan.view import is_swap, operands_of, summed, unmoved, view_of

__all__ = ["ProductCode"]


class ProductCode(Body):
    """The code of a kernel that multiplies matrices."""

    def _emit_matmul(self) -> None:
        node, b = self._product, self.b
        left, right = node.inputs
        across = node.primitive.name == "row_products"
        trans_a = across or is_swap(left)
        lengths = summed(node)
        runtime_k = any(isinstance(d, Dim) for d in lengths)
        single = across or (right.spec.ndim == 2 and (left.spec.ndim == 2 or not trans_a))
        height = node.spec.shape[-2]  # the rows of one product
        gemm = Gemm(
            n=_size(node.spec.shape[-1:]),
            k=_size(lengths) * (self.context.capacity if runtime_k else 1),
            m=None if isinstance(height, Dim) or (single and self._inner > 1) else height,
            dtype=node.spec.dtype.name,
            trans_a=trans_a,
            trans_b=not across and is_swap(right),
            runtime_k=runtime_k,
            # A function of rows, not a step of training.
            often_one=not self.context.state and node.spec.ndim == 2,
            target=self.context.target,
        )
        slots = self.context.slots
        slots.workspace = max(slots.workspace, -(-gemm.workspace // 64) * 64)
        own = self.workspace(gemm.element)
        first, end = (b.mul(at, I64(self._inner)) for at in self.split())
        array_a, array_b = (self.array(unmoved(operand)) for operand in operands_of(node))
        ahead = self._loaded_by_tile()
        if single:
            depth = b.mul(self.rows, I64(_size(lengths))) if runtime_k else None
            gemm.emit(
                b, array_a, array_b, own, first, end, own,
                k=depth, epilogue=self._epilogue(I64(0)), ahead=ahead,
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
            gemm.emit(b, a, matrix, own, start, stop, own, epilogue=epilogue, ahead=near)

    @property
    def _product(self) -> Node:
        assert self.kernel.anchor is not None
        return self.kernel.anchor

    @property
    def _inner(self) -> int:
        """The rows of matrices in one row of the kernel: more than 1 in a batch of matrices."""
        shape = self._product.spec.shape
        return _size(shape[1:-1]) if isinstance(shape[0], Dim) else 1

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
        node, inner, columns = self._product, self._inner, _size(self._product.spec.shape[-1:])

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

    def _loaded_by_tile(self) -> list[ir.Value]:
        """Return the arrays of the product's own shape and type that its epilogue loads."""
        kernel, kernels, anchor = self.kernel, self.context.kernels, self._product
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
