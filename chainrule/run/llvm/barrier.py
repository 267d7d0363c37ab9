"""Emit what threads need around kernels: a barrier, and treating denormals as zero.

Read next: :mod:`chainrule.run.llvm.body`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from platform import machine

from llvmlite import ir

from chainrule.run.llvm.instructions import I32

__all__ = ["emit_barrier", "without_denormals"]

X86 = machine().lower() in ("x86_64", "amd64", "i686")
FLUSH = 0x8040  # the bits of MXCSR that make denormal results, and denormal operands, zero
SPINS = 400  # iterations that a thread spins at a barrier before it yields the processor


@contextmanager
def without_denormals(b: ir.IRBuilder) -> Iterator[None]:
    """Treat denormals as zero inside the block: arithmetic on them is 100 times slower."""
    if not X86:
        yield
        return
    pointer = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    save, restore = (
        b.module.globals.get(name) or ir.Function(b.module, pointer, name)
        for name in ("llvm.x86.sse.stmxcsr", "llvm.x86.sse.ldmxcsr")
    )
    old, new = b.alloca(I32), b.alloca(I32)
    bytes_of = [b.bitcast(place, ir.IntType(8).as_pointer()) for place in (old, new)]
    b.call(save, [bytes_of[0]])
    b.store(b.or_(b.load(old), I32(FLUSH)), new)
    b.call(restore, [bytes_of[1]])
    yield
    b.call(restore, [bytes_of[0]])


def emit_barrier(module: ir.Module) -> ir.Function:
    """Emit a barrier: the last thread to arrive starts the next generation, for which others wait.

    Waiting threads spin for a while and then yield the processor in every iteration, so that
    an oversubscribed machine still makes progress.
    """
    pointer = I32.as_pointer()
    barrier = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, I32]), "barrier")
    barrier.linkage = "internal"
    relax = ir.Function(module, ir.FunctionType(I32, []), "sched_yield")
    arrived, threads = barrier.args
    b = ir.IRBuilder(barrier.append_basic_block("entry"))
    alone, several, last, wait, turn, rest, done = (
        barrier.append_basic_block(n)
        for n in ("alone", "several", "last", "wait", "turn", "rest", "done")
    )
    b.cbranch(b.icmp_unsigned("==", threads, I32(1)), alone, several)
    b.position_at_end(alone)
    b.ret_void()
    b.position_at_end(several)
    # The two counters are on separate cache lines.
    generation = b.gep(arrived, [I32(32)])
    present = b.load_atomic(generation, "acquire", 4)
    before = b.atomic_rmw("add", arrived, I32(1), "acq_rel")
    b.cbranch(b.icmp_unsigned("==", b.add(before, I32(1)), threads), last, wait)
    b.position_at_end(last)
    b.store_atomic(I32(0), arrived, "monotonic", 4)
    b.store_atomic(b.add(present, I32(1)), generation, "release", 4)
    b.ret_void()
    b.position_at_end(wait)
    turns = b.phi(I32)
    turns.add_incoming(I32(0), several)
    now = b.load_atomic(generation, "acquire", 4)
    b.cbranch(b.icmp_unsigned("!=", now, present), done, turn)
    b.position_at_end(turn)
    if X86:
        pause = ir.FunctionType(ir.VoidType(), [])
        b.call(ir.Function(module, pause, "llvm.x86.sse2.pause"), [])
    more = b.add(turns, I32(1))
    turns.add_incoming(more, turn)
    b.cbranch(b.icmp_unsigned("<", more, I32(SPINS)), wait, rest)
    b.position_at_end(rest)
    b.call(relax, [])
    turns.add_incoming(I32(SPINS), rest)
    b.branch(wait)
    b.position_at_end(done)
    b.ret_void()
    return barrier
