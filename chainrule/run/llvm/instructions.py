"""Helpers that emit common LLVM code: loops, partial vectors, broadcasts of scalars.

Each takes an `llvmlite.ir` builder and emits code at its position. A vector may be longer than
the data in memory: loads fill the lanes past `count`, and stores skip them, so that elements
outside an array are never accessed.

Read next: `chainrule/run/llvm/gemm.py`, which uses these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from llvmlite import ir

__all__ = [
    "I32", "I64", "indices", "least", "load_masked", "load_repeating",
    "load_vector", "loop", "multiply_add", "prefetch", "repeat",
    "splat", "store_vector", "vector_type",
]  # fmt: skip

I32, I64 = ir.IntType(32), ir.IntType(64)


@cache
def vector_type(element: ir.Type, lanes: int) -> ir.VectorType:
    """Return the type of a vector; cached, as llvmlite compares type objects when printing."""
    return ir.VectorType(element, lanes)


def indices(lanes: Sequence[int]) -> ir.Constant:
    """Return a constant vector of lane numbers, for a shuffle."""
    return ir.Constant(vector_type(I32, len(lanes)), list(lanes))


def splat(b: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """Return a vector with `value` in every lane."""
    undefined = ir.Constant(vector_type(value.type, lanes), ir.Undefined)
    zeros = ir.Constant(vector_type(I32, lanes), None)
    return b.shuffle_vector(b.insert_element(undefined, value, I32(0)), undefined, zeros)


def _resize(b: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """Truncate a vector to its first `lanes` lanes, or extend it with zeros."""
    have = value.type.count
    if have == lanes:
        return value
    picks = indices([lane if lane < have else have for lane in range(lanes)])
    return b.shuffle_vector(value, ir.Constant(value.type, None), picks)


def _bytes(element: ir.Type) -> int:
    if isinstance(element, ir.IntType):
        return int(element.width) // 8
    return 4 if isinstance(element, ir.FloatType) else 8


def load_vector(b: ir.IRBuilder, place: ir.Value, lanes: int, count: int) -> ir.Value:
    """Load `count` elements into the first of `lanes` lanes; the others are 0."""
    return _resize(b, _load_short(b, place, count), lanes)


def load_repeating(b: ir.IRBuilder, place: ir.Value, lanes: int, count: int) -> ir.Value:
    """Load `count` elements into the first of `lanes` lanes; see :func:`repeat` for the others."""
    return repeat(b, _load_short(b, place, count), lanes, count)


def repeat(b: ir.IRBuilder, value: ir.Value, lanes: int, count: int) -> ir.Value:
    """Return a vector of `lanes` lanes that repeats the first `count` elements of `value`.

    This avoids two problems of LLVM.  If the lanes past `count` were 0, it would evaluate 0 / 0
    there as 0 and drop the `select` that excludes the quotient from a sum.  If they repeated the
    first element only, LLVM 22 with AVX-512 would put that element into every lane.
    """
    if count == lanes:
        return value
    picks = indices([lane % count for lane in range(lanes)])
    return b.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), picks)


def load_masked(b: ir.IRBuilder, place: ir.Value, mask: ir.Value, others: ir.Value) -> ir.Value:
    """Load the lanes selected by `mask`; the other lanes are not read but taken from `others`."""
    kind, size = others.type, _bytes(others.type.element)
    letter = "i" if isinstance(kind.element, ir.IntType) else "f"
    name = f"llvm.masked.load.v{kind.count}{letter}{8 * size}.p0"
    function = b.module.globals.get(name)
    if function is None:
        types = [place.type, I32, mask.type, kind]
        function = ir.Function(b.module, ir.FunctionType(kind, types), name)
    return b.call(function, [place, I32(size), mask, others])


def _load_short(b: ir.IRBuilder, place: ir.Value, count: int) -> ir.Value:
    element = place.type.pointee
    short = b.bitcast(place, vector_type(element, count).as_pointer())
    return b.load(short, align=_bytes(element))


def store_vector(b: ir.IRBuilder, place: ir.Value, value: ir.Value, count: int) -> None:
    """Store the first `count` lanes."""
    short = _resize(b, value, count)
    b.store(short, b.bitcast(place, short.type.as_pointer()), align=_bytes(short.type.element))


def multiply_add(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """Return x * y + z, fused if the processor supports it, else as two instructions."""
    kind = x.type
    name = f"llvm.fmuladd.v{kind.count}f{8 * _bytes(kind.element)}"
    function = b.module.globals.get(name)
    if function is None:
        function = ir.Function(b.module, ir.FunctionType(kind, [kind] * 3), name)
    return b.call(function, [x, y, z])


def prefetch(b: ir.IRBuilder, place: ir.Value) -> None:
    """Prefetch the cache line at `place`, for reading and writing."""
    byte = ir.IntType(8).as_pointer()
    name = "llvm.prefetch.p0"
    function = b.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        function = ir.Function(b.module, kind, name)
    b.call(function, [b.bitcast(place, byte), I32(1), I32(3), I32(1)])


@contextmanager
def loop(
    b: ir.IRBuilder, start: ir.Value, stop: ir.Value, step: int | ir.Value = 1
) -> Iterator[ir.Value]:
    """Emit a loop over start, start + step, ... below stop; it may run zero times."""
    before = b.block
    head, body, done = (b.append_basic_block(name) for name in ("head", "body", "done"))
    b.branch(head)
    b.position_at_end(head)
    index = b.phi(I64)
    index.add_incoming(start, before)
    b.cbranch(b.icmp_signed("<", index, stop), body, done)
    b.position_at_end(body)
    yield index
    index.add_incoming(b.add(index, I64(step) if isinstance(step, int) else step), b.block)
    b.branch(head)
    b.position_at_end(done)


def least(b: ir.IRBuilder, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return the smaller of two signed integers."""
    return b.select(b.icmp_signed("<", x, y), x, y)
