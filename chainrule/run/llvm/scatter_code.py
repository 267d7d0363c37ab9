"""Emit ``scatter_add``, which adds rows at given indices: the gradient of ``gather``.

Each thread owns some rows of the result.  It loops over all indices in order and adds the
updates for its own rows, so the order of every sum does not depend on the number of
threads.  Apart from clearing the result, the work is proportional to the number of updates.

Read next: :mod:`chainrule.run.llvm.kernel_code`.
"""

from __future__ import annotations

import math

from llvmlite import ir

from chainrule.core.spec import Dim, Shape
from chainrule.run.llvm.body import Body
from chainrule.run.llvm.instructions import I64, load_vector, loop, store_vector
from chainrule.run.llvm.vector import Value
from chainrule.run.plan.view import unmoved

__all__ = ["ScatterCode"]

I8 = ir.IntType(8)


class ScatterCode(Body):
    """The code of a kernel that adds rows at given indices."""

    def _scatter(self) -> None:
        """Emit this thread's rows of the anchor."""
        node = self.kernel.anchor
        assert node is not None
        updates, ids = (self.array(unmoved(i)) for i in node.inputs)
        b, (first, end) = self.b, self.split()
        rest = [d for d in node.spec.shape[1:] if isinstance(d, int)]
        block, width = math.prod(rest[:-1]), rest[-1] if rest else 1  # rows per index
        if isinstance(node.spec.shape[0], Dim):
            block, width = 1, math.prod(rest)
        self._clear(self.array(node), b.mul(first, I64(width)), b.mul(end, I64(width)))
        with loop(b, I64(0), self._count_of(node.inputs[1].spec.shape)) as at:
            number = self._checked(node, b.load(b.gep(ids, [at])))
            for i in range(block):
                row = b.add(b.mul(number, I64(block)), I64(i))
                mine = b.and_(b.icmp_signed("<=", first, row), b.icmp_signed("<", row, end))
                source = b.mul(b.add(b.mul(at, I64(block)), I64(i)), I64(width))
                with b.if_then(mine):
                    place = b.gep(self.array(node), [b.mul(row, I64(width))])
                    self._add(place, b.gep(updates, [source]), width)

    def _count_of(self, shape: Shape) -> ir.Value:
        """Return the number of elements of an array of `shape`."""
        known = I64(math.prod(d for d in shape if isinstance(d, int)))
        by_rows = len(shape) > 0 and isinstance(shape[0], Dim)
        return self.b.mul(self.rows, known) if by_rows else known

    def _clear(self, array: ir.Value, first: ir.Value, end: ir.Value) -> None:
        """Set the elements [first, end) to zero."""
        b = self.b
        name = "llvm.memset.p0.i64"
        memset = self.context.module.globals.get(name)
        if memset is None:
            types = [I8.as_pointer(), I8, I64, ir.IntType(1)]
            memset = ir.Function(self.context.module, ir.FunctionType(ir.VoidType(), types), name)
        start, stop = (b.ptrtoint(b.gep(array, [at]), I64) for at in (first, end))
        some = b.icmp_signed("<", first, end)
        with b.if_then(some):
            place = b.bitcast(b.gep(array, [first]), I8.as_pointer())
            b.call(memset, [place, I8(0), b.sub(stop, start), ir.IntType(1)(0)])

    def _add(self, place: ir.Value, source: ir.Value, width: int) -> None:
        """Add `width` elements at `source` to those at `place`."""
        assert self.kernel.anchor is not None
        b, dtype = self.b, self.kernel.anchor.spec.dtype.name
        size = self.kernel.anchor.spec.dtype.itemsize
        lanes = min(self.context.target.width * 4 // size, 1 << (width.bit_length() - 1))

        def part(column: ir.Value, count: int) -> None:
            old, new = (
                Value(load_vector(b, b.gep(p, [column]), count, count), dtype)
                for p in (place, source)
            )
            store_vector(b, b.gep(place, [column]), self.rules.add(old, new).value, count)

        whole = width // lanes * lanes
        if whole == lanes:
            part(I64(0), lanes)
        else:
            with loop(b, I64(0), I64(whole), lanes) as column:
                part(column, lanes)
        if width > whole:
            part(I64(whole), width - whole)
