"""Schedule kernels on threads: assign them to levels, and divide their work.

Every thread runs every kernel on its own part: rows of the batch, rows of a
weight, or columns of a bias.  A kernel that computes a scalar runs on the first
thread only.  A kernel can follow another without synchronization if it reads only
what the same thread wrote; otherwise it is placed on a later level.  All threads
wait at a barrier between levels.

State is updated in place if no other kernel still needs the old value.

Read next: :mod:`chainrule.run.llvm.emit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from chainrule.core.graph import Node
from chainrule.core.spec import Dim
from chainrule.run.plan.fuse import Kernel, Kernels
from chainrule.run.plan.view import is_swap, operands_of, unmoved

__all__ = ["Schedule", "Split", "has_stops", "loads", "schedule", "split_of"]

Split: TypeAlias = "tuple[str, int]"
BY_ROWS = ("matmul", "sparse")  # products whose rows are divided among threads


@dataclass
class Schedule:
    """Kernels by level, and where state outputs are written.

    `in_place` maps a stored node to the state it overwrites.  `copies` are the
    state outputs that are stored in a buffer and copied at the end of the step.
    """

    levels: list[list[Kernel]]
    in_place: dict[Node, list[str]]
    copies: dict[str, Node]


def has_stops(plan: Schedule) -> bool:
    """Return whether a step must stop between levels for the interpreter."""
    return any(kernel.kind == "reference" for level in plan.levels for kernel in level)


def split_of(kernel: Kernel) -> Split:
    """Return the axis along which a kernel's work is divided among threads, and its length."""
    rows, columns = kernel.view
    if kernel.kind in ("total", "reference"):
        return ("one", 1)
    by_rows = kernel.kind in BY_ROWS
    if kernel.kind == "scatter" and kernel.anchor is not None:
        by_rows = kernel.anchor.spec.ndim > 1  # a table of one row belongs to one thread
    if kernel.kind == "sum_rows" or (rows == 1 and not by_rows):
        return ("columns", columns)
    return ("batch", 0) if isinstance(rows, Dim) else ("rows", rows)


def _aligned(reader: Kernel, source: Node, writer: Kernel, far: bool) -> bool:
    """Return whether each thread reads only the part of `source` that it wrote itself.

    If `far`, the reader reads `source` at other positions, but in the same row of a batch.
    """
    if "reference" in (reader.kind, writer.kind):
        return False
    if split_of(reader) != split_of(writer) or (far and split_of(reader)[0] != "batch"):
        return False
    if reader.kind == "inner":
        return True
    if reader.anchor is not None and reader.kind not in BY_ROWS:
        inputs = set(reader.anchor.inputs)
        # A reduction reads across the split only what it reduces, not what its epilogue uses.
        return not (inputs and _reaches(inputs, source, reader))
    if reader.kind in BY_ROWS and reader.anchor is not None:
        others = [i for i in reader.anchor.inputs if not _in_step(reader.anchor, i)]
        return not _reaches(set(others), source, reader)
    return True


def _in_step(product: Node, operand: Node) -> bool:
    """Return whether a row of `product` needs only the same row of `operand`."""
    if product.spec.ndim > 2 and isinstance(product.spec.shape[0], Dim):
        return operand.spec.ndim == product.spec.ndim and operand.spec.shape[0] != 1
    return operand is product.inputs[0] and not is_swap(operand)


def _reaches(roots: set[Node], target: Node, kernel: Kernel) -> bool:
    members = set(kernel.nodes)
    pending, seen = list(roots), set()
    while pending:
        node = pending.pop()
        if node is target:
            return True
        if node in seen or node in members:
            continue
        seen.add(node)
        pending.extend(node.inputs)
    return False


def loads(kernels: Kernels, kernel: Kernel) -> set[Node]:
    """Return what `kernel` loads: leaves, and nodes stored by other kernels."""
    found: set[Node] = set()
    for node in kernel.nodes:
        if node.primitive.leaf:
            found.add(node)
        for i in node.inputs:
            found.update(s for s in kernels.sources(i) if kernels.home.get(s) is not kernel)
    return found


def schedule(kernels: Kernels, state: set[str]) -> Schedule:
    """Assign `kernels` to levels, and choose how each output named in `state` is written."""
    graph = kernels.graph
    position = {kernel: i for i, kernel in enumerate(kernels.order)}
    loaded = {kernel: loads(kernels, kernel) for kernel in kernels.order}
    far = {kernel: kernels.far_of(kernel) for kernel in kernels.order}
    across = {kernel: kernels.across_of(kernel) for kernel in kernels.order}
    written: dict[Kernel, list[tuple[str, Node]]] = {}
    copies: dict[str, Node] = {}
    for name, node in graph.outputs.items():
        if name not in state or node is graph.inputs[name] or node not in kernels.home:
            continue
        written.setdefault(kernels.home[node], []).append((name, node))
    level: dict[Kernel, int] = {}
    in_place: dict[Node, list[str]] = {}
    for kernel in kernels.order:
        level[kernel] = max(
            (
                level[home]
                + (
                    source in across[kernel]
                    or not _aligned(kernel, source, home, source in far[kernel])
                )
                for source in loaded[kernel]
                if (home := kernels.home.get(source)) is not None and home is not kernel
            ),
            default=0,
        )
        for name, node in written.get(kernel, ()):
            old = graph.inputs[name]
            readers = [k for k in kernels.order if old in loaded[k] and k is not kernel]
            late = any(position[k] > position[kernel] for k in readers)
            operand = _is_whole(kernel, old) or old in far[kernel]
            # A pass over rows may store one column before it rereads another.
            again = kernel.kind == "rows" and old in loaded[kernel]
            if late or operand or again or kernel.kind == "reference":
                copies[name] = node
                continue
            in_place.setdefault(node, []).append(name)
            for reader in readers:
                apart = split_of(reader) == split_of(kernel)
                apart = apart and not (_is_whole(reader, old) or old in far[reader])
                level[kernel] = max(level[kernel], level[reader] + (not apart))
    levels: list[list[Kernel]] = [[] for _ in range(max(level.values(), default=0) + 1)]
    for kernel in kernels.order:
        levels[level[kernel]].append(kernel)
    return Schedule(levels, in_place, copies)


def _is_operand(anchor: Node, leaf: Node) -> bool:
    return any(unmoved(i) is leaf for i in operands_of(anchor))


def _is_whole(kernel: Kernel, leaf: Node) -> bool:
    return kernel.anchor is not None and _is_operand(kernel.anchor, leaf)
