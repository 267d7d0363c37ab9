"""Diagrams of a graph's compilation: after each pass, and as kernels with barriers between.

:func:`compile_passes` returns a :class:`Passes`: the graph after each pass, the kernels and their
levels, as planned by the compiler.  No code is emitted and llvmlite is not needed.

Read next: :mod:`chainrule.run.plan.fuse`, which makes the kernels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from chainrule.core.graph import Graph, Node
from chainrule.core.wording import counted
from chainrule.insight.drawing.operations import recorded_lines, short
from chainrule.insight.render.diagram import Box, Diagram, Edge
from chainrule.run.plan.fuse import Kernel, Kernels, fuse
from chainrule.run.plan.levels import Schedule, loads, schedule, split_of
from chainrule.run.plan.lower import copy_moved
from chainrule.run.plan.passes import PASSES

__all__ = ["Passes", "compile_passes", "gone_after", "kernel_labels", "kernels_of", "passes_of"]

WIDE = 34  # characters of a line in a kernel's box
_MEANS = {
    "matmul": "a matrix product; the other operations are applied to each tile while in cache",
    "sparse": "a product with a sparse matrix of fixed pattern, in blocks of rows",
    "edges": "for each edge of a fixed pattern, the sum over rows of the product of its ends",
    "scatter": "adds rows to the rows of a table selected by indices",
    "rows": "one pass over each row",
    "inner": "reduces the last of three axes, row by row",
    "sum_rows": "sums over rows, for each column",
    "total": "sums over all elements",
    "each": "one pass over every element",
    "reference": "computed by the interpreter",
}
_SPLITS = {
    "batch": "each thread computes rows of the batch",
    "rows": "each thread computes rows of the result",
    "columns": "each thread computes columns",
    "one": "computed by one thread",
}


@dataclass(frozen=True)
class Passes:
    """A graph after each pass, by name, and its kernels on levels.

    `idle` are the names of the passes without effect.
    """

    graphs: tuple[tuple[str, Graph], ...]
    kernels: Kernels
    schedule: Schedule
    idle: tuple[str, ...] = ()

    @property
    def outline(self) -> str:
        """The numbers of operations, kernels and barriers in one line."""
        counts = [f"{len(graph) - len(graph.inputs)} {name}" for name, graph in self.graphs]
        kernels = sum(map(len, self.schedule.levels))
        levels = len(self.schedule.levels)
        barriers = counted(levels - 1, "barrier")
        return f"operations: {', '.join(counts)}; {kernels} kernels, {barriers} within"


def compile_passes(graph: Graph) -> Passes:
    """Return the passes and kernels of `graph`; inputs that are also outputs are its state."""
    state = set(graph.inputs) & set(graph.outputs)
    named, idle = [("recorded", graph)], []
    for rewrite in PASSES:
        before, graph = graph, rewrite(graph)
        if str(graph) == str(before):
            idle.append(rewrite.__name__)
            named[-1] = (named[-1][0], graph)
        else:
            named.append((f"after {rewrite.__name__}", graph))
    graph = copy_moved(graph, state)
    named[-1] = (named[-1][0], graph)
    kernels = fuse(graph)
    return Passes(tuple(named), kernels, schedule(kernels, state), tuple(idle))


def passes_of(code: Any) -> Passes:
    """Return the final graph and the kernels of compiled code."""
    return Passes((("compiled", code.graph),), code.kernels, code.schedule)


def gone_after(before: Graph, after: Graph) -> set[Node]:
    """Return the operations of `before` that have no counterpart in `after`.

    A counterpart has the same name and type and was recorded in the same layer and line.
    """

    def like(node: Node) -> tuple[Any, ...]:
        return node.primitive.name, str(node.spec), node.scope, node.line

    left = Counter(like(node) for node in after.nodes)
    gone = set()
    for node in before.nodes:
        if left[like(node)]:
            left[like(node)] -= 1
        elif not node.primitive.leaf:
            gone.add(node)
    return gone


def kernel_labels(passes: Passes) -> dict[Node, str]:
    """Return the label of the kernel that computes each operation."""
    order = [kernel for level in passes.schedule.levels for kernel in level]
    return {
        node: f"kernel {number}"
        for number, kernel in enumerate(order, 1)
        for node in kernel.nodes
        if not node.primitive.leaf
    }


def kernels_of(passes: Passes) -> Diagram:
    """Return kernels as boxes, levels as bands, and loads of other kernels' results as edges."""
    kernels, plan = passes.kernels, passes.schedule
    graph = kernels.graph
    names, told = graph.names(), recorded_lines(graph)
    order = [(level, k) for level, members in enumerate(plan.levels) for k in members]
    place = {kernel: i for i, (_, kernel) in enumerate(order)}
    boxes, edges = [], []
    for here, (_, kernel) in enumerate(order):
        loaded = sorted(loads(kernels, kernel), key=lambda node: node.serial)
        boxes.append(_box(here + 1, kernel, loaded, passes, names, told))
        carried: dict[int, list[str]] = {}
        for node in loaded:
            home = kernels.home.get(node)
            if home is not kernel and home in place:
                carried.setdefault(place[home], []).append(f"{names[node]}: {node.spec}")
        edges += [Edge(source, here, ", ".join(values)) for source, values in carried.items()]
    return Diagram(tuple(boxes), tuple(edges), tuple(level for level, _ in order))


def _box(
    number: int,
    kernel: Kernel,
    loaded: list[Node],
    passes: Passes,
    names: dict[Node, str],
    told: dict[Node, str],
) -> Box:
    given = {node: short(name) for name, node in passes.kernels.graph.inputs.items()}
    results = {
        node: [short(n) for n, out in passes.kernels.graph.outputs.items() if out is node]
        for node in kernel.stores
    }
    rows, columns = kernel.view
    work = ", ".join(f"gather {given[n]}" if n in given else n.primitive.name for n in kernel.nodes)
    lines = wrap(work, WIDE)
    read = ", ".join(
        dict.fromkeys(given[n] for n in loaded if n in given and n not in kernel.nodes)
    )
    lines += wrap(f"reads {read}", WIDE) if read else []
    for node in kernel.stores:
        again = " in place" if node in passes.schedule.in_place else ""
        kept = " and ".join(f"{name}{again}" for name in results[node])
        lines.append(f"→ {kept or given.get(node, names[node])} {node.spec}")
    lines += ["in every tenth step"] if kernel.watched else []
    interpreted = kernel.kind == "reference"
    lines += wrap(f"it {kernel.reason}", WIDE) if interpreted else []
    about = [_MEANS.get(kernel.kind, ""), _SPLITS.get(split_of(kernel)[0], "")]
    tip = "\n".join([*filter(None, about), *(told[n] for n in kernel.nodes)])
    kind = "interpreter" if interpreted else "kernel"
    word = "interpreter" if interpreted else kernel.kind
    return Box(f"{number} {word} {rows} × {columns}", tuple(lines), kind, tip, name=str(number),
               nodes=tuple(kernel.nodes))  # fmt: skip
