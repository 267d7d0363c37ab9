"""Assign buffers to offsets in one block of memory, by their lifetimes.

A buffer is live from the level that writes it to the last level that reads it.  Two
buffers can share memory if their lifetimes do not overlap.  Threads are not synchronized
within a level, so levels are the finest safe unit.

Read next: :mod:`chainrule.run.llvm.caller`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from chainrule.core.graph import Node
from chainrule.core.spec import Dim
from chainrule.run.arena import ALIGNMENT
from chainrule.run.plan.fuse import Kernels
from chainrule.run.plan.levels import Schedule, loads
from chainrule.run.plan.slots import Slots

__all__ = ["MemoryPlan", "plan_memory"]


@dataclass(frozen=True)
class MemoryPlan:
    """The offset of each buffer in bytes, and the size of the whole block."""

    offsets: dict[Node, int]
    size: int


def plan_memory(kernels: Kernels, plan: Schedule, slots: Slots, capacity: int) -> MemoryPlan:
    """Return the offset of each buffer, for batches of up to `capacity` rows."""
    lives = _lives(kernels, plan, slots)
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first and last level
    offsets: dict[Node, int] = {}
    # The largest first: small buffers fit into the gaps that are left.
    sizes = {node: _bytes(node, capacity) for node in slots.buffers}
    for node in sorted(slots.buffers, key=lambda n: -sizes[n]):
        first, last = lives[node]
        at = 0
        for start, end, born, gone in sorted(placed):
            if born <= last and first <= gone and start < at + sizes[node] and at < end:
                at = end
        offsets[node] = at
        placed.append((at, at + sizes[node], first, last))
    return MemoryPlan(offsets, max((end for _, end, _, _ in placed), default=0))


def _bytes(node: Node, capacity: int) -> int:
    lengths = [capacity if isinstance(d, Dim) else d for d in node.spec.shape]
    size = math.prod(lengths) * node.spec.dtype.itemsize
    return -(-size // ALIGNMENT) * ALIGNMENT


def _lives(kernels: Kernels, plan: Schedule, slots: Slots) -> dict[Node, tuple[int, int]]:
    """Return the first and last level at which each buffer is live."""
    lives: dict[Node, tuple[int, int]] = {}
    level = {kernel: i for i, members in enumerate(plan.levels) for kernel in members}
    end = len(plan.levels)
    for kernel in kernels.order:
        for node in kernel.stores:
            lives[node] = (level[kernel], level[kernel])
    for kernel in kernels.order:
        for node in loads(kernels, kernel):
            if node in lives:
                first, last = lives[node]
                lives[node] = (first, max(last, level[kernel]))
    # The commit at the end adds up sums and copies state; outputs are read after it.
    for node in kernels.graph.outputs.values():
        for source in (node, *kernels.sources(node)):
            if source in lives:
                lives[source] = (lives[source][0], end)
    for node in slots.wholes.values():
        lives[node] = (lives[node][0], end)
    return lives
