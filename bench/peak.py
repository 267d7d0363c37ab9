"""The machine's peak rate: a loop of independent multiply-adds on registers.

Read next: `chainrule/run/llvm/machine.py`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from chainrule.run.llvm.code import link, object_code
from chainrule.run.llvm.machine import host_target

__all__ = ["aligned", "peak"]


def aligned(count: int) -> NDArray[np.float32]:
    """Return a float32 array that starts on a cache line."""
    raw = np.zeros(count * 4 + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * 4].view(np.float32)


def peak() -> tuple[Callable[[], None], float, object]:
    """Return a call of a loop of multiply-adds, its operations, and objects to keep alive."""
    target = host_target()
    chains, steps = 12, 20_000
    vector = ir.VectorType(ir.FloatType(), target.width)
    module = ir.Module("peak")
    madd = ir.Function(
        module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{target.width}f32"
    )
    out_type = vector.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [out_type]), "peak")
    entry, loop, done = (function.append_basic_block() for _ in range(3))
    b, i64 = ir.IRBuilder(entry), ir.IntType(64)
    factor = b.load(function.args[0], align=4)
    b.branch(loop)
    b.position_at_end(loop)
    count = b.phi(i64)
    count.add_incoming(i64(0), entry)
    sums = [b.phi(vector) for _ in range(chains)]
    grown = [b.call(madd, [s, factor, factor]) for s in sums]
    for index, (phi, value) in enumerate(zip(sums, grown, strict=True)):
        phi.add_incoming(ir.Constant(vector, [float(index)] * target.width), entry)
        phi.add_incoming(value, loop)
    following = b.add(count, i64(1))
    count.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, i64(steps)), loop, done)
    b.position_at_end(done)
    total = grown[0]
    for value in grown[1:]:
        total = b.fadd(total, value)
    b.store(total, function.args[0], align=4)
    b.ret_void()
    engine = link(object_code(str(module)))
    native = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.get_function_address("peak"))
    memory = aligned(target.width)

    def run() -> None:
        native(memory.ctypes.data)

    return run, 2.0 * chains * steps * target.width, (engine, memory)
