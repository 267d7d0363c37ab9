"""Emit the loads of operations that only move elements, as :mod:`chainrule.run.plan.moves` says.

An index that is known when code is emitted is a Python number, so that most of the index
arithmetic needs no instructions.  Adjacent elements are loaded as a vector, others one by
one.

Read next: :mod:`chainrule.run.llvm.body`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from llvmlite import ir

from chainrule.core.graph import Node
from chainrule.core.spec import Dim, Shape
from chainrule.run.llvm.instructions import (
    I32,
    I64,
    load_masked,
    load_repeating,
    repeat,
    splat,
    vector_type,
)
from chainrule.run.plan.moves import Axis, parts_of
from chainrule.run.plan.view import view_of

__all__ = ["Group", "Memory", "Mover"]

I1 = ir.IntType(1)
Number: TypeAlias = "int | list[int] | ir.Value"  # a list has a number for each lane
Mask: TypeAlias = "bool | list[bool] | ir.Value"
Placed: TypeAlias = "tuple[Node, Sequence[Axis]]"  # an input and the positions of its elements
_STATIC: dict[str, Callable[[int, int], int]] = {
    "add": operator.add, "mul": operator.mul, "udiv": operator.floordiv, "urem": operator.mod,
}  # fmt: skip


class Memory(NamedTuple):
    """An array in memory, with the row numbers (`order`) by which it is gathered, if any."""

    array: ir.Value
    order: ir.Value | None = None


class Group(NamedTuple):
    """The position of columns in groups of `length`: the group, and the column in it."""

    number: ir.Value
    column: ir.Value
    length: int


@dataclass(frozen=True)
class Index:
    """The index of the lanes along an axis: one for all, one for each, or a consecutive `run`."""

    value: Number
    run: bool = False

    @property
    def single(self) -> bool:
        """Whether all lanes have the same index."""
        vector = isinstance(self.value, ir.Value) and isinstance(self.value.type, ir.VectorType)
        return not self.run and not vector and not isinstance(self.value, list)


class Mover:
    """Emits loads of moved elements at one row and `count` of `lanes` columns (0: one column)."""

    def __init__(
        self,
        b: ir.IRBuilder,
        memory: Callable[[Node], Memory],
        checked: Callable[[Node, ir.Value], ir.Value],
        lanes: int,
        count: int,
        group: Group | None = None,
    ):
        self.b, self.memory, self.checked = b, memory, checked
        self.lanes, self.count, self.group = lanes, count, group

    def load(self, node: Node, row: ir.Value | None, column: ir.Value | None) -> ir.Value:
        """Load the elements of `node` in their memory type: a vector, or one for all lanes."""
        view = view_of(node.spec.shape)
        assert view is not None
        rows, columns = view
        place = Index(_known(row) if rows != 1 else 0)
        along = Index(_known(column) if columns != 1 else 0, run=bool(self.lanes) and columns != 1)
        if not along.run:
            self.lanes = 0
        where = self._coordinates(node.spec.shape, place, along)
        if node.primitive.name == "gather":
            return self._picked(node, where)
        parts = parts_of(node)
        if parts[0].axes is None:
            flat = self._flat([place, along], [columns, 1], None)
            return self._load(self.memory(parts[0].source).array, flat, True, None)
        return self._any_of([(part.source, part.axes or ()) for part in parts], where)

    def _any_of(self, parts: Sequence[Placed], where: Sequence[Index]) -> ir.Value:
        """Load from several parts, without a mask if all lanes are in one part, as is usual."""
        b = self.b
        whole: list[tuple[ir.Value, ir.Block]] = []
        done = None
        for source, axes in parts:
            at = self._border(axes, where)
            if at is None:
                continue
            axis, done = axes[at], done or b.append_basic_block("moved")
            start = b.add(where[axis.axis or 0].value, I64(axis.start))
            inside, outside = (b.append_basic_block(name) for name in ("inside", "outside"))
            room = I64(int(axis.length) - self.lanes)  # type: ignore[arg-type]
            b.cbranch(b.icmp_unsigned("<=", start, room), inside, outside)
            b.position_at_end(inside)
            free = [replace(each, inside=True) for each in axes]
            whole.append((self._part((source, free), where, None), b.block))
            b.branch(done)
            b.position_at_end(outside)
        found: ir.Value | None = None
        for part in parts:
            found = self._part(part, where, found)
        assert found is not None
        if done is None:
            return found
        whole.append((found, b.block))
        b.branch(done)
        b.position_at_end(done)
        value = b.phi(found.type)
        for one, block in whole:
            value.add_incoming(one, block)
        return value

    def _border(self, axes: Sequence[Axis], where: Sequence[Index]) -> int | None:
        """Return the only axis along which a run can be outside an input, or None."""
        partial = [a for a, axis in enumerate(axes) if not axis.inside]
        if len(partial) != 1 or axes[partial[0]].gap != 1:
            return None
        axis = axes[partial[0]]
        index = where[axis.axis or 0]
        long = isinstance(axis.length, int) and axis.length >= self.lanes
        return partial[0] if index.run and long and isinstance(index.value, ir.Value) else None

    def _part(self, part: Placed, where: Sequence[Index], found: ir.Value | None) -> ir.Value:
        """Load the lanes that are in `part`; the others are taken from `found`, or zero."""
        source, axes = part
        array, order = self.memory(source)
        mask: Mask = True
        indices = []
        for axis in axes:
            index, inside = self._follow(axis, where)
            indices.append(index)
            mask = self._both(mask, inside)
        flat = self._flat(indices, _strides(source.spec.shape), order)
        return self._load(array, flat, mask, found)

    def _picked(self, node: Node, where: Sequence[Index]) -> ir.Value:
        """Load rows of a table by the indices in another array."""
        table, ids = node.inputs
        array, order = self.memory(ids)
        flat = self._flat(where[: ids.spec.ndim], _strides(ids.spec.shape), order)
        number = self.checked(node, self._load(array, flat, True, None))
        indices = [Index(number), *where[ids.spec.ndim :]]
        found = self._flat(indices, _strides(table.spec.shape), None)
        return self._load(self.memory(table).array, found, True, None)

    # --- indices ------------------------------------------------------------------------------

    def _coordinates(self, shape: Shape, row: Index, column: Index) -> list[Index]:
        """Return the index along each axis for a row and a column of the matrix view."""
        by_rows = len(shape) > 0 and isinstance(shape[0], Dim)
        cut = 1 if by_rows else max(0, len(shape) - 1)
        rows = self._split(row, shape[:cut])
        if self.group is not None and column.run and shape[-1] == self.group.length:
            last = Index(_known(self.group.column), run=True)
            return [*rows, *self._split(Index(self.group.number), shape[cut:-1]), last]
        return [*rows, *self._split(column, shape[cut:])]

    def _split(self, index: Index, lengths: Shape) -> list[Index]:
        """Split a row-major index into an index for each axis."""
        outer = next((a for a, length in enumerate(lengths) if length != 1), len(lengths))
        found = []
        for a in reversed(range(len(lengths))):
            length = lengths[a]
            if length == 1:
                found.append(Index(0))
            elif a == outer:
                found.append(index)
            else:
                assert isinstance(length, int)
                inner, index = self._divide(index, length)
                found.append(inner)
        return found[::-1]

    def _divide(self, index: Index, length: int) -> tuple[Index, Index]:
        """Return the remainder and the quotient."""
        # Runs start at multiples of the lanes, except for those of groups.
        whole = index.run and length % self.lanes == 0 and self.group is None
        if index.run and isinstance(index.value, int):
            whole = index.value % length + self.count <= length
        if index.run and not whole:
            index = self._apart(index)
        rest = Index(self._math("urem", index.value, length), index.run)
        return rest, Index(self._math("udiv", index.value, length))

    def _follow(self, axis: Axis, where: Sequence[Index]) -> tuple[Index, Mask]:
        """Return the index along one axis of an input, and a mask of the valid lanes."""
        if axis.axis is None:
            return Index(0), True
        index = where[axis.axis]
        if index.run and (axis.step, axis.gap) != (1, 1):
            index = self._apart(index)
        value = self._math("add", self._math("mul", index.value, axis.step), axis.start)
        if axis.inside:
            return Index(value, index.run), True
        assert isinstance(axis.length, int)
        each = self._apart(Index(value, index.run)).value if index.run else value
        mask = self._below(each, axis.length * axis.gap)
        if axis.gap > 1:
            whole = self._below(self._math("urem", value, axis.gap), 1)
            mask, value = self._both(mask, whole), self._math("udiv", value, axis.gap)
        return Index(value, index.run), mask

    def _flat(
        self, indices: Sequence[Index], strides: Sequence[int], order: ir.Value | None
    ) -> Index:
        """Return the offset in memory: one number, a run, or a number for each lane."""
        start, run, each = Index(0), False, Index(0)
        for a, (index, stride) in enumerate(zip(indices, strides, strict=True)):
            if a == 0 and order is not None:
                index = Index(self.b.load(self.b.gep(order, [self._wide(index.value)])))
            if index.run and stride == 1:
                start, run = Index(self._sum(start.value, index.value)), True
                continue
            index = self._apart(index) if index.run else index
            value = self._math("mul", index.value, stride)
            if index.single:
                start = Index(self._sum(start.value, value))
            else:
                each = Index(self._sum(each.value, value))
        if each.single:
            return Index(start.value, run)
        if run:
            start = self._apart(Index(start.value, run))
        return Index(self._sum(start.value, each.value))

    # --- arithmetic -----------------------------------------------------------------------------

    def _math(self, name: str, x: Number, y: int) -> Number:
        """Compute ``x name y``; a negative result later counts as out of range (unsigned)."""
        if y == (0 if name == "add" else 1) and name != "urem":
            return x
        if isinstance(x, int):
            return _STATIC[name](x, y)
        if isinstance(x, list):
            return [_STATIC[name](each, y) for each in x]
        return getattr(self.b, name)(x, _constant(x.type, y))

    def _sum(self, x: Number, y: Number) -> Number:
        if isinstance(x, int):
            return self._math("add", y, x)
        if isinstance(y, int):
            return self._math("add", x, y)
        if isinstance(x, list) and isinstance(y, list):
            return [a + b for a, b in zip(x, y, strict=True)]
        if not (Index(x).single and Index(y).single):
            x, y = self._lanes(x), self._lanes(y)
        return self.b.add(x, y)

    def _lanes(self, x: Number) -> ir.Value:
        """Return `x` as i64, or as a vector of i64 if there are lanes."""
        if not isinstance(x, ir.Value):
            numbers = x if isinstance(x, list) else [x] * self.lanes
            return ir.Constant(vector_type(I64, self.lanes), numbers) if self.lanes else I64(x)
        if not isinstance(x.type, ir.VectorType):
            return splat(self.b, x, self.lanes) if self.lanes else x
        return x if x.type.element == I64 else self.b.sext(x, vector_type(I64, self.lanes))

    def _wide(self, x: Number) -> ir.Value:
        """Return a scalar as i64."""
        return I64(x) if isinstance(x, int) else x

    def _apart(self, run: Index) -> Index:
        """Return a run as an index for each lane."""
        if isinstance(run.value, int):
            return Index([run.value + i for i in range(self.lanes)])
        steps = ir.Constant(vector_type(I32, self.lanes), list(range(self.lanes)))
        first = splat(self.b, self.b.trunc(run.value, I32), self.lanes)
        return Index(self.b.add(first, steps))

    def _below(self, x: Number, end: int) -> Mask:
        """Return whether ``0 <= x < end``."""
        if isinstance(x, int):
            return 0 <= x < end
        if isinstance(x, list):
            return [0 <= each < end for each in x]
        return self.b.icmp_unsigned("<", x, _constant(x.type, end))

    def _both(self, x: Mask, y: Mask) -> Mask:
        for one, other in ((x, y), (y, x)):
            if isinstance(one, bool):
                return other if one else False
        if isinstance(x, list) and isinstance(y, list):
            return [a and b for a, b in zip(x, y, strict=True)]
        return self.b.and_(self._mask(x), self._mask(y))

    def _mask(self, x: Mask) -> ir.Value:
        """Return a mask as one bit, or as one bit per lane."""
        if isinstance(x, (bool, list)):
            bits = x if isinstance(x, list) else [x] * max(1, self.lanes)
            lanes = ir.Constant(vector_type(I1, self.lanes), [int(bit) for bit in bits])
            return lanes if self.lanes else I1(int(bits[0]))
        single = not isinstance(x.type, ir.VectorType)
        return splat(self.b, x, self.lanes) if single and self.lanes else x

    # --- loads ----------------------------------------------------------------------------------

    def _load(self, array: ir.Value, flat: Index, mask: Mask, before: ir.Value | None) -> ir.Value:
        """Load the elements selected by `mask`; the others are `before`, or zero."""
        kind = array.type.pointee
        if isinstance(mask, list) and all(mask[: self.count]):
            mask = True
        if mask is False or (isinstance(mask, list) and not any(mask[: self.count])):
            wide = vector_type(kind, self.lanes) if self.lanes else kind
            return before if before is not None else ir.Constant(wide, None)
        if mask is True and flat.single:
            return self.b.load(self.b.gep(array, [self._wide(flat.value)]))
        if not self.lanes:
            return self._load_one(array, flat.value, mask, before)
        if flat.run:
            place = self.b.gep(array, [self._wide(flat.value)])
            if mask is True:
                return load_repeating(self.b, place, self.lanes, self.count)
            found = load_masked(self.b, place, self._within(mask), self._vector(before, kind))
            return repeat(self.b, found, self.lanes, self.count)
        return self._load_each(array, flat.value, mask, before)

    def _load_one(
        self, array: ir.Value, at: Number, mask: Mask, before: ir.Value | None
    ) -> ir.Value:
        kind = array.type.pointee
        inside = self._mask(mask)
        place = self.b.select(inside, self._wide(at), I64(0))  # element 0 always exists
        found = self.b.load(self.b.gep(array, [place]))
        return self.b.select(inside, found, ir.Constant(kind, None) if before is None else before)

    def _load_each(
        self, array: ir.Value, at: Number, mask: Mask, before: ir.Value | None
    ) -> ir.Value:
        """Load lane by lane; gather instructions are rarely faster."""
        kind = array.type.pointee
        found = self._vector(before, kind)
        known = [True] * self.lanes if mask is True else mask if isinstance(mask, list) else None
        inside = None if known else self._mask(mask)
        lanes = at if isinstance(at, list) else self._lanes(at)
        if inside is not None:
            lanes = self.b.select(
                inside, self._lanes(lanes), ir.Constant(self._lanes(0).type, None)
            )
        loaded = found
        for lane in range(self.count):
            if known and not known[lane]:
                continue
            one = lanes[lane] if isinstance(lanes, list) else None
            place = I64(one) if one is not None else self.b.extract_element(lanes, I32(lane))
            loaded = self.b.insert_element(
                loaded, self.b.load(self.b.gep(array, [place])), I32(lane)
            )
        if inside is not None:
            loaded = self.b.select(inside, loaded, found)
        return repeat(self.b, loaded, self.lanes, self.count)

    def _vector(self, before: ir.Value | None, kind: ir.Type) -> ir.Value:
        if before is None:
            return ir.Constant(vector_type(kind, self.lanes), None)
        single = not isinstance(before.type, ir.VectorType)
        return splat(self.b, before, self.lanes) if single else before

    def _within(self, mask: Mask) -> ir.Value:
        """Return `mask` without the lanes past the last column."""
        if self.count == self.lanes:
            return self._mask(mask)
        return self._mask(self._both(mask, [lane < self.count for lane in range(self.lanes)]))


def _known(x: ir.Value | None) -> Any:
    """Return a constant as a Python number, and any other value as it is."""
    if x is None:
        return 0
    return int(x.constant) if isinstance(x, ir.Constant) else x


def _constant(kind: ir.Type, number: int) -> ir.Constant:
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [number] * kind.count)
    return ir.Constant(kind, number)


def _strides(shape: Shape) -> list[int]:
    """Return the stride in elements along each axis."""
    return [math.prod(d for d in shape[a + 1 :] if isinstance(d, int)) for a in range(len(shape))]
