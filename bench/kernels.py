"""Show where the time of a training step goes: kernel by kernel, and waiting for other threads.

Run `python bench/kernels.py [--only TEXT] [--threads N] [--seconds S]`.  A clock is read before and
after each part of the compiled step, on each thread, and the multiply-adds of each product are
related to the peak of that many cores, measured before and after.  Prints a Markdown table for
each network: microseconds per step of the slowest thread, medians of several turns.

Read next: `chainrule/run/llvm/emit.py`.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from contestants.contestant import Contestant
from contestants.fma_peak import Peak
from contestants.ours import Ours
from llvmlite import ir
from worker import settle
from workloads import WORKLOADS, Workload

from chainrule.core.spec import Dim
from chainrule.run.llvm import emit
from chainrule.run.llvm.instructions import I64
from chainrule.run.plan.fuse import Kernel
from chainrule.run.plan.view import summed

TURNS = 5
SLOTS = 128  # parts of a step that can be timed
SMALL = 0.004  # shares of a step below this are not shown

parts: list[str] = []  # of the step that was emitted last


@contextmanager
def clocked(b: ir.IRBuilder, part: str, thread: ir.Value) -> Iterator[None]:
    """Add the cycles of a part to its counter for this thread, in a global of the module."""
    times = b.module.globals.get("times")
    if times is None:
        parts.clear()
        threads = os.cpu_count() or 1
        times = ir.GlobalVariable(b.module, ir.ArrayType(I64, SLOTS * threads), "times")
        times.initializer = ir.Constant(times.value_type, None)
        ir.Function(b.module, ir.FunctionType(I64, []), "llvm.readcyclecounter")
    clock, number = b.module.globals["llvm.readcyclecounter"], len(parts)
    if number >= SLOTS:
        raise SystemExit(f"a step of more than {SLOTS} parts can't be timed")
    parts.append(part)
    began = b.call(clock, [])
    yield
    taken = b.sub(b.call(clock, []), began)
    place = b.gep(times, [I64(0), b.add(b.mul(thread, I64(SLOTS)), I64(number))])
    b.store(b.add(b.load(place), taken), place)


def flops_of(kernel: Kernel | None, batch: int) -> tuple[str, float]:
    """Return the lengths of a product in words, and its operations; nothing for other kernels."""
    if kernel is None or kernel.kind != "matmul" or kernel.anchor is None:
        return "", 0.0
    lengths = [batch if isinstance(d, Dim) else d for d in (*kernel.view, *summed(kernel.anchor))]
    return " x ".join(map(str, lengths)), 2.0 * math.prod(lengths)


def rate(contestant: Contestant, flops: float) -> float:
    """Return the operations per second in a turn."""
    return flops / statistics.median(contestant.turn(0.2))


def measure(workload: Workload, threads: int, seconds: float) -> None:
    """Print the table of one network."""
    peak, ours = Peak(workload, threads), Ours(workload, threads)
    settle()
    ours.epoch(shuffle=False)
    caller: Any = ours.program.caller  # type: ignore[attr-defined]
    address = caller.code.engine.get_global_value_address("times")
    counters = (ctypes.c_int64 * (SLOTS * threads)).from_address(address)
    steps = -(-workload.rows // workload.batch)
    turns: list[list[list[float]]] = []  # turn, thread, part: microseconds of a step
    totals, peaks = [], []
    for _ in range(TURNS):
        peaks.append(rate(peak, peak.flops))
        ctypes.memset(address, 0, ctypes.sizeof(counters))
        began, epochs = time.perf_counter(), 0
        while time.perf_counter() - began < seconds / TURNS:
            ours.epoch(shuffle=False)
            epochs += 1
        taken = 1e6 * (time.perf_counter() - began) / (steps * epochs)
        totals.append(taken)
        by_thread = [list(counters[t * SLOTS : t * SLOTS + len(parts)]) for t in range(threads)]
        unit = taken / sum(by_thread[0])
        turns.append([[unit * cycles for cycles in part] for part in by_thread])
    kernels = {
        f"{kernel.kind}_{i}_{j}": kernel
        for i, level in enumerate(caller.code.schedule.levels)
        for j, kernel in enumerate(level)
    }
    total, top = statistics.median(totals), statistics.median(peaks)
    whole = caller.code.flops(workload.batch) / total / 1e3
    print(f"\n{workload.name}, {threads} threads: {total:,.1f} µs a step, ", end="")
    print(f"{whole:.1f} GF/s, {1e9 * whole / top:.0%} of the peak of {top / 1e9:.0f}\n")
    print("| part | lengths | µs | share of the step | share of the peak |\n|---|---|--:|--:|--:|")
    for number, part in enumerate(parts):
        taken = statistics.median(max(thread[number] for thread in turn) for turn in turns)
        words, flops = flops_of(kernels.get(part), workload.batch)
        of_peak = f"{1e6 * flops / taken / top:.0%}" if flops else ""
        if taken > SMALL * total:
            kind = part.split("_")[0]
            print(f"| {kind} | {words} | {taken:,.1f} | {taken / total:.0%} | {of_peak} |")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table for each network that is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", default="784-512-512-10")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args(arguments)
    emit.around = clocked
    with tempfile.TemporaryDirectory() as cache:  # not the code without clocks
        os.environ["CHAINRULE_CACHE"] = cache
        for workload in WORKLOADS.values():
            if options.only in workload.name:
                measure(workload, options.threads, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
