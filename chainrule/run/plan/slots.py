"""The layout of the table of pointers that is passed to compiled code.

The layout follows from the schedule alone, so that the caller and the code agree on it even
if the code was read from the cache on disk.

Read next: :mod:`chainrule.run.llvm.body`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from chainrule.core.graph import Node
from chainrule.ops.sparse import Wiring
from chainrule.run.plan.fuse import Kernels
from chainrule.run.plan.levels import Schedule
from chainrule.run.plan.view import unmoved, view_of

__all__ = ["SCALARS_A_THREAD", "SCALAR_BYTES", "Slots", "slots_of", "wiring_tables"]

Table: TypeAlias = "tuple[Wiring, str]"
SCALAR_BYTES = 8
SCALARS_A_THREAD = 512


def wiring_tables(product: Node | None) -> list[Table]:
    """Return the tables that a product along edges reads; [] for any other node."""
    name = product.primitive.name if product is not None else ""
    if product is None or name not in ("sparse_matmul", "edge_products"):
        return []
    if name == "edge_products":
        names = ["sources", "targets"]
    elif product.params["transposed"]:
        names = ["starts_by_source", "targets_by_source", "by_source"]
    else:
        names = ["starts", "sources"]
    return [(product.params["wiring"], name) for name in names]


@dataclass
class Slots:
    """The entries of the pointer table, in order of their index.

    `arrays` are inputs by name; `buffers` are stored nodes; `tables` are those of wirings,
    by attribute name; then come the sums, the scalars of each thread, the workspace of each
    thread, and the faults.  Scalar outputs are accumulated as sums; the other outputs are
    in the buffer of the node given by `wholes`.
    """

    arrays: dict[str, int] = field(default_factory=dict)
    buffers: dict[Node, int] = field(default_factory=dict)
    tables: dict[Table, int] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)  # position in the block of sums
    wholes: dict[str, Node] = field(default_factory=dict)  # outputs that stay in a buffer
    checked: list[Node] = field(default_factory=list)  # nodes whose indices may be out of range
    scalars: list[Node] = field(default_factory=list)
    workspace: int = 0  # bytes per thread

    @property
    def sums_index(self) -> int:
        """The table entry of the block of sums (float64)."""
        return len(self.arrays) + len(self.buffers) + len(self.tables)

    @property
    def scalars_index(self) -> int:
        """The table entry of the threads' scalars."""
        return self.sums_index + 1

    @property
    def workspace_index(self) -> int:
        """The table entry of the threads' workspace."""
        return self.sums_index + 2

    @property
    def faults_index(self) -> int:
        """The table entry of index errors: a flag, the index and the rows for each checked node."""
        return self.sums_index + 3


def slots_of(kernels: Kernels, plan: Schedule, state: set[str]) -> Slots:
    """Return the slots that code for `kernels` expects, except for the size of the workspace."""
    graph = kernels.graph
    slots = Slots()
    for name in graph.inputs:
        slots.arrays[name] = len(slots.arrays)
    for node in (n for kernel in kernels.order for n in kernel.stores):
        if node not in plan.in_place:
            slots.buffers[node] = len(slots.arrays) + len(slots.buffers)
    for table in (t for kernel in kernels.order for t in wiring_tables(kernel.anchor)):
        if table not in slots.tables:
            slots.tables[table] = slots.sums_index
    for name, node in graph.outputs.items():
        if name in state:
            continue
        if view_of(node.spec.shape) == (1, 1):
            slots.sums[name] = len(slots.sums)
        else:
            slots.wholes[name] = unmoved(node)
    slots.checked = [n for n in graph.nodes if n.primitive.indexed]
    return slots
