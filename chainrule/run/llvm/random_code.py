"""Emit counter-based random numbers, bit-identical to :mod:`chainrule.ops.random`.

A number in [0, 1) is a function of the seed and of the element's index.  There is no
state, so each thread can draw the numbers of its own rows.

Read next: :mod:`chainrule.run.llvm.body`.
"""

from __future__ import annotations

from llvmlite import ir

from chainrule.ops.random import PARITY, ROTATIONS
from chainrule.run.llvm.instructions import I32, I64, splat, vector_type

__all__ = ["emit_uniform"]


def emit_uniform(
    b: ir.IRBuilder, seed: ir.Value, place: ir.Value, stream: int, element: ir.Type
) -> ir.Value:
    """Return uniform numbers of `element` type for the indices `place` (i64 lanes) and `seed`."""
    lanes = place.type.count
    words = vector_type(I32, lanes)

    def wide(number: int) -> ir.Constant:
        return ir.Constant(vector_type(I64, lanes), [number] * lanes)

    def halves(value: ir.Value) -> tuple[ir.Value, ir.Value]:
        return b.trunc(value, words), b.trunc(b.lshr(value, wide(32)), words)

    key = halves(splat(b, seed, lanes))
    low, high = halves(place)
    high = b.add(high, ir.Constant(words, [stream] * lanes))
    x, y = _threefry(b, key, (low, high), lanes)
    if isinstance(element, ir.FloatType):
        top = b.lshr(x, ir.Constant(words, [8] * lanes))
        scale = ir.Constant(vector_type(element, lanes), [2.0**-24] * lanes)
        return b.fmul(b.uitofp(top, scale.type), scale)
    wide_type = vector_type(I64, lanes)
    bits = b.or_(b.shl(b.zext(x, wide_type), wide(32)), b.zext(y, wide_type))
    scale = ir.Constant(vector_type(element, lanes), [2.0**-53] * lanes)
    return b.fmul(b.uitofp(b.lshr(bits, wide(11)), scale.type), scale)


def _threefry(
    b: ir.IRBuilder,
    key: tuple[ir.Value, ir.Value],
    counter: tuple[ir.Value, ir.Value],
    lanes: int,
) -> tuple[ir.Value, ir.Value]:
    """Return the two words of :func:`chainrule.ops.random.threefry`."""
    words = vector_type(I32, lanes)

    def constant(number: int) -> ir.Constant:
        return ir.Constant(words, [number] * lanes)

    third = b.xor(b.xor(key[0], key[1]), constant(int(PARITY)))
    keys = (key[0], key[1], third)
    x, y = b.add(counter[0], keys[0]), b.add(counter[1], keys[1])
    for block in range(5):
        for turn in ROTATIONS[block % 2]:
            x = b.add(x, y)
            y = b.or_(b.shl(y, constant(turn)), b.lshr(y, constant(32 - turn)))
            y = b.xor(y, x)
        x = b.add(x, keys[(block + 1) % 3])
        y = b.add(b.add(y, keys[(block + 2) % 3]), constant(block + 1))
    return x, y
