"""Emit what threads need around kernels: a barrier, and treating denormals as zero.

Read next: :mod:`chainrule.run.llvm.body`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir

from chainrule.run.llvm.instructions import I32, I64

__all__ = ["emit_barrier", "without_denormals"]

# The bits of a processor's control register that make denormal results and operands zero.
FLUSH_X86, FLUSH_ARM = 0x8040, 1 << 24
SPINS = 400  # iterations that a thread spins at a barrier before it yields the processor


@contextmanager
def without_denormals(b: ir.IRBuilder, family: str) -> Iterator[None]:
    """Treat denormals as zero inside the block: arithmetic on them is 100 times slower."""
    if family == "arm":
        number = _declared(b.module, "llvm.aarch64.get.fpcr", I64)
        change = _declared(b.module, "llvm.aarch64.set.fpcr", ir.VoidType(), I64)
        before = b.call(number, [])
        b.call(change, [b.or_(before, I64(FLUSH_ARM))])
        yield
        b.call(change, [before])
        return
    if family != "x86":
        yield
        return
    place = ir.IntType(8).as_pointer()
    save, restore = (
        _declared(b.module, name, ir.VoidType(), place)
        for name in ("llvm.x86.sse.stmxcsr", "llvm.x86.sse.ldmxcsr")
    )
    old, new = b.alloca(I32), b.alloca(I32)
    bytes_of = [b.bitcast(place, ir.IntType(8).as_pointer()) for place in (old, new)]
    b.call(save, [bytes_of[0]])
    b.store(b.or_(b.load(old), I32(FLUSH_X86)), new)
    b.call(restore, [bytes_of[1]])
    yield
    b.call(restore, [bytes_of[0]])


def _declared(module: ir.Module, name: str, result: ir.Type, *arguments: ir.Type) -> ir.Function:
    """Return the function `name`, declared once per module."""
    kind = ir.FunctionType(result, arguments)
    return module.globals.get(name) or ir.Function(module, kind, name)


def emit_barrier(module: ir.Module, family: str) -> ir.Function:
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
    if family == "x86":
        b.call(_declared(module, "llvm.x86.sse2.pause", ir.VoidType()), [])
    elif family == "arm":
        b.call(_declared(module, "llvm.aarch64.hint", ir.VoidType(), I32), [I32(1)])  # yield
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
