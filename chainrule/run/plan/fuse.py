"""Operator fusion: group the operations of a graph into kernels, each one pass over memory.

:func:`fuse` also decides which values are stored.  Every value is treated as a matrix
(:func:`view_of`), whose rows are those of the batch or of a weight.  A matrix product, a
reduction or a first elementwise operation starts a kernel; elementwise operations of the
same shape are appended to the kernel of their latest input, as its epilogue.  Scalars,
cheap values that depend only on leaves, and values that only move elements of a stored
value are not stored: they are recomputed wherever they are used.

Read next: :mod:`chainrule.run.plan.levels`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from chainrule.core.graph import Graph, Node, reachable
from chainrule.core.spec import Dim
from chainrule.run.plan.moves import check_move, is_move, mixes_rows
from chainrule.run.plan.view import (
    PRODUCTS,
    Unsupported,
    View,
    broadcasts,
    is_swap,
    operands_of,
    unmoved,
    view_of,
)

__all__ = [
    "WATCH_EVERY",
    "Kernel",
    "Kernels",
    "fuse",
    "is_inner",
    "is_watched",
    "reduction_kind",
]

WATCH_EVERY = 10  # outputs named watch/... are computed in the first step and every tenth after
ROW_UNROLL = 64  # rows of at most this many columns stay in registers between passes


def is_watched(name: str) -> bool:
    """Return whether output `name` is computed in some steps only; see :data:`WATCH_EVERY`."""
    return name.startswith("watch/")


@dataclass(eq=False)
class Kernel:
    """One pass over memory.

    kind: "matmul", "sparse", "edges" or "scatter" (anchor is the product, see `PRODUCTS`),
    "rows" (elementwise work and reductions over columns, row by row), "sum_rows" (anchor
    reduces over rows, column by column), "inner" (anchor reduces the last of three axes, row
    by row), "total" (anchor reduces everything), "each" (elementwise work on a matrix of fixed
    size) or "reference" (the interpreter computes the anchor, for `reason`).  A `watched`
    kernel is needed only by watched outputs and runs in some steps only.  `view` is the matrix
    it iterates over: for reductions with an anchor, the view of the input.
    """

    kind: str
    view: View
    anchor: Node | None = None
    nodes: list[Node] = field(default_factory=list)
    stores: list[Node] = field(default_factory=list)
    reason: str = ""
    watched: bool = False

    @property
    def result_view(self) -> View:
        """The view of the results of elementwise members."""
        if self.kind == "sum_rows":
            return (1, self.view[1])
        if self.kind == "inner" and self.anchor is not None:
            return view_of(self.anchor.spec.shape) or self.view
        return (1, 1) if self.kind == "total" else self.view


@dataclass
class Kernels:
    """The kernels of a graph, in order, and the kernel (`home`) that computes each stored node."""

    graph: Graph
    order: list[Kernel]
    home: dict[Node, Kernel]

    def sources(self, node: Node) -> Iterator[Node]:
        """Yield the stored nodes and leaves that are loaded if `node` is computed where used."""
        seen: set[Node] = set()
        pending = [node]
        while pending:
            current = pending.pop()
            if current in seen:
                continue
            seen.add(current)
            if current in self.home or current.primitive.leaf:
                if current.primitive.name != "constant":
                    yield current
            else:
                pending.extend(current.inputs)

    def _moves(self, node: Node) -> Iterator[Node]:
        """Yield the moves that are loaded if `node` is computed."""
        pending, seen = [node], set()
        while pending:
            current = pending.pop()
            if is_move(current):
                yield current
                continue
            new = [i for i in current.inputs if i not in self.home and i not in seen]
            seen.update(new)
            pending.extend(new)

    def far(self, node: Node) -> set[Node]:
        """Return the sources of `node` that are read at a different position than its own."""
        return {s for move in self._moves(node) for i in move.inputs for s in self.sources(i)}

    def far_of(self, kernel: Kernel) -> set[Node]:
        """Return what `kernel` loads from rows or columns other than the current ones."""
        return set().union(*(self.far(node) for node in kernel.nodes))

    def across_of(self, kernel: Kernel) -> set[Node]:
        """Return what `kernel` loads from other rows of a batch than the current one."""
        moves = (m for node in kernel.nodes for m in self._moves(node) if mixes_rows(m))
        return {source for move in moves for source in self.sources(move.inputs[0])}


def is_cheap(node: Node) -> bool:
    """Return whether recomputing `node` costs no more than loading it."""
    primitive = node.primitive
    if primitive.costly:
        return False
    return primitive.elementwise or primitive.alias or not node.inputs or is_move(node)


def reduction_kind(node: Node) -> str:
    """Return "columns", "rows" or "all" for a sum or max, by the axes it reduces.

    Raises Unsupported for other axes.
    """
    source = node.inputs[0].spec
    axes = set(node.params["axes"]) if "axes" in node.params else {node.params["axis"]}
    moving = {a for a in range(source.ndim) if source.shape[a] != 1}
    axes &= moving  # reducing an axis of length 1 changes nothing
    by_rows = isinstance(source.shape[0], Dim) if source.ndim else False
    if axes == moving:
        alone = source.ndim > 1 and by_rows and moving == {0}
        return "rows" if alone and len(node.spec.shape) > 0 else "all"
    inner = moving - {0} if by_rows else {source.ndim - 1}
    if axes == inner:
        return "columns"
    if axes == moving - inner:
        return "rows"
    raise Unsupported(node, f"reduces axes {sorted(axes)} of {source}")


def is_inner(node: Node) -> bool:
    """Return whether `node` reduces the last of three axes, the first being rows of a batch."""
    shape, axes = node.inputs[0].spec.shape, node.params.get("axes")
    if len(shape) != 3 or not isinstance(shape[0], Dim) or axes != (2,) or 1 in shape[1:]:
        return False
    return node.spec.ndim == 2


def fuse(
    graph: Graph, refused: Mapping[Node, str] | None = None, in_order: Collection[str] = ()
) -> Kernels:
    """Return the kernels of `graph`; the nodes in `refused` are left to the interpreter.

    Rows of the inputs `in_order` are read where they are.  Those of the others are gathered.
    """
    return _Fuser(graph, refused or {}, in_order).run()


class _Fuser:
    def __init__(self, graph: Graph, refused: Mapping[Node, str], in_order: Collection[str]):
        self.graph, self.refused = graph, refused
        self.in_order = {graph.inputs[name] for name in in_order}
        self.kernels = Kernels(graph, [], {})
        kept = [n for name, n in graph.outputs.items() if not is_watched(name)]
        self.watched = set(graph.nodes) - set(reachable(kept))
        self.place: dict[Kernel, int] = {}

    def run(self) -> Kernels:
        given = set(self.graph.inputs.values())
        self.moved = {
            i for n in self.graph.nodes if n.primitive.name != "matmul" for i in n.inputs
        } | set(self.graph.outputs.values())
        self.operands = self._operands()
        self.whole = self.operands | {unmoved(n) for n in self.graph.outputs.values()}
        self.whole.update(n for n in self.graph.nodes if n.primitive.name == "scatter_add")
        for node in self.graph.nodes:
            # Leaves come first: a kernel must follow those whose results it loads.
            if node in self.whole and node.primitive.leaf:
                self._place_leaf(node)
        for node in self.graph.nodes:
            if node in given or node.primitive.leaf:
                continue
            try:
                if node in self.refused:
                    raise Unsupported(node, self.refused[node])
                self._assign(node)
            except Unsupported as problem:
                view = view_of(node.spec.shape) or (1, 1)
                self._open("reference", view, node, node).reason = problem.reason
        self._mark_stores()
        return self.kernels

    def _view(self, node: Node) -> View:
        view = view_of(node.spec.shape)
        if view is None:
            raise Unsupported(node, "has a length that depends on data on an axis after the first")
        return view

    def _open(self, kind: str, view: View, anchor: Node | None, node: Node) -> Kernel:
        kernel = Kernel(kind, view, anchor, [node], watched=node in self.watched)
        self.place[kernel] = len(self.kernels.order)
        self.kernels.order.append(kernel)
        self.kernels.home[node] = kernel
        return kernel

    def _join(self, kernel: Kernel, node: Node) -> None:
        kernel.nodes.append(node)
        self.kernels.home[node] = kernel

    def _latest(self, sources: Iterable[Node]) -> Kernel | None:
        """Return the last of the kernels that compute `sources`."""
        homes = [self.kernels.home[s] for s in sources if s in self.kernels.home]
        return max(homes, key=self.place.__getitem__, default=None)

    def _sources(self, node: Node) -> set[Node]:
        return {s for i in node.inputs for s in self.kernels.sources(i)}

    def _host(self, node: Node, view: View) -> Kernel | None:
        """Return the kernel that `node` joins, if any: the kernel of its latest input.

        A source that is read at another position must have been stored by an earlier kernel.
        """
        latest, far = (self._latest(s) for s in (self._sources(node), self.kernels.far(node)))
        if latest is None:
            return None
        if latest is not far:
            return latest if self._accepts(latest, view, node) else None
        after = self.kernels.order[self.place[latest] + 1 :]
        passing = (k for k in after if k.kind in ("rows", "each"))
        return next((k for k in passing if self._accepts(k, view, node)), None)

    def _assign(self, node: Node) -> None:
        name = node.primitive.name
        if is_swap(node) and node not in self.moved:
            return  # only products use it, and they read its input transposed
        view = self._view(node)
        if name in PRODUCTS:
            self._check_operands(node)
            self._open(PRODUCTS[name], view, node, node)
        elif node.primitive.combine is not None:
            self._assign_reduction(node)
        elif is_move(node):
            check_move(node)
            if node in self.whole and (view != (1, 1) or node in self.operands):
                self._settle(node, view)
        elif node.primitive.alias:
            for source in node.inputs:
                self._view(source)  # a value without a view stays in the interpreter
            if node in self.whole and view != (1, 1):  # a broadcast used as a matrix
                self._open(_elementwise_kind(view), view, None, node)
        elif node.primitive.elementwise or name == "uniform":
            self._assign_elementwise(node, view)
        elif name not in ("arange", "count"):
            raise Unsupported(node, "has no native form yet")
        elif node in self.operands:
            self._open(_elementwise_kind(view), view, None, node)

    def _assign_elementwise(self, node: Node, view: View) -> None:
        if node.primitive.scalar is None and node.primitive.name != "uniform":
            raise Unsupported(node, "has no scalar rule")
        for source in node.inputs:
            if not broadcasts(self._view(source), view):
                raise Unsupported(node, f"repeats {source.spec} along inner axes")
        latest = self._latest(self._sources(node))
        # Watched outputs must not add work to the kernels that run in every step.
        again = latest is None or node in self.watched
        again = again and is_cheap(node) and node not in self.whole
        single = view == (1, 1) and node not in self.operands
        if single or again:
            return  # recomputed wherever it is used
        self._settle(node, view)

    def _settle(self, node: Node, view: View) -> None:
        """Add `node` to an existing kernel if one accepts it, else to a new one."""
        host = self._host(node, view)
        if host is not None:
            self._join(host, node)
        else:
            self._open(_elementwise_kind(view), view, None, node)

    def _accepts(self, kernel: Kernel, view: View, node: Node) -> bool:
        if kernel.kind == "reference" or kernel.watched != (node in self.watched):
            return False
        if kernel.kind == "rows" and view[0] == kernel.view[0]:
            if kernel.view[1] == 1 and view[1] > 1:
                kernel.view = view
            return view[1] in (1, kernel.view[1])
        return kernel.result_view == view

    def _check_operands(self, node: Node) -> None:
        for operand in operands_of(node):
            self._view(operand)  # a value without a view is never in memory

    def _operands(self) -> set[Node]:
        """Return the nodes that must be in memory for products and moves to read."""
        products = (n for n in self.graph.nodes if n.primitive.name in PRODUCTS)
        found = {unmoved(operand) for n in products for operand in operands_of(n)}
        for node in self.graph.nodes:
            if is_move(node) and (not is_swap(node) or node in self.moved):
                sources = (unmoved(i) for i in node.inputs)
                found.update(s for s in sources if not s.primitive.leaf or mixes_rows(node))
        return found

    def _place_leaf(self, node: Node) -> None:
        """Copy rows gathered from data, or a returned constant, into a buffer."""
        view = view_of(node.spec.shape)
        if view is None:
            return
        gathered = node.primitive.name == "input" and isinstance(view[0], Dim)
        gathered = gathered and node not in self.in_order
        returned = node in {unmoved(n) for n in self.graph.outputs.values()} and view != (1, 1)
        if gathered or (node.primitive.name == "constant" and returned):
            self._open(_elementwise_kind(view), view, None, node)

    def _assign_reduction(self, node: Node) -> None:
        (source,) = node.inputs
        view = self._view(source)
        if is_inner(node):
            self._open("inner", view, node, node)
            return
        kind = reduction_kind(node)
        shape = {"columns": (view[0], 1), "rows": (1, view[1]), "all": (1, 1)}[kind]
        if self._view(node) != shape:
            raise Unsupported(node, f"reduces {source.spec} to a shape with another matrix view")
        if kind == "columns":
            if self._view(node)[0] != view[0]:  # (k,) is viewed as one row, not as k
                raise Unsupported(node, f"gives a number for each row of {source.spec}")
            host = self._host(node, view)
            if self._latest(self._sources(node)) is None:  # only leaves: any pass over the rows
                rows = [k for k in self.kernels.order if k.kind == "rows"]
                host = next((k for k in reversed(rows) if self._accepts(k, view, node)), None)
            if host is not None and host.kind == "rows":
                self._join(host, node)
            else:
                self._open("rows", view, None, node)
        elif kind == "rows":
            self._open("sum_rows", view, node, node)
        else:
            self._assign_total(node, view)

    def _assign_total(self, node: Node, view: View) -> None:
        """Join an earlier total over the same view if `node` does not depend on later kernels."""
        latest = self._latest(self._sources(node))
        for kernel in reversed(self.kernels.order):
            if kernel is latest:
                break
            if (
                kernel.kind == "total"
                and kernel.view == view
                and self._accepts(kernel, (1, 1), node)
            ):
                self._join(kernel, node)
                return
        self._open("total", view, node, node)

    def _mark_stores(self) -> None:
        """Mark as stored what another kernel loads, what is returned, and operands of products.

        A value that is cheap to recompute from stored values (the mask of a ReLU from
        its output) is removed from its kernel instead.
        """
        needed = self.whole & set(self.kernels.home)
        for node in self.graph.outputs.values():  # the commit computes scalar outputs from these
            needed.update(s for s in self.kernels.sources(node) if s in self.kernels.home)
        stored = self._loaded_elsewhere() | needed
        home = self.kernels.home
        for node in self.graph.nodes:
            again = node in stored and node not in needed and is_cheap(node)
            if again and home[node].kind != "reference":
                sources = {s for i in node.inputs for s in self.kernels.sources(i)}
                if all(s in stored or s not in home for s in sources):
                    home.pop(node).nodes.remove(node)
        stored = self._loaded_elsewhere() | needed
        for kernel in self.kernels.order:
            several = kernel.kind == "rows" and kernel.view[1] > ROW_UNROLL
            late = _used_in_later_pass(kernel) if several else set()
            kernel.stores = [n for n in kernel.nodes if n in stored or n in late]
            if kernel.kind == "reference" and view_of(kernel.nodes[0].spec.shape) is None:
                kernel.stores = []  # only the interpreter uses it, and keeps it
        self.kernels.order = [k for k in self.kernels.order if k.stores or k.kind == "reference"]

    def _loaded_elsewhere(self) -> set[Node]:
        """Return the nodes that are loaded by a kernel other than their own."""
        home = self.kernels.home
        found: set[Node] = set()
        for node, kernel in home.items():
            if node.primitive.leaf:
                continue
            for source in (s for i in node.inputs for s in self.kernels.sources(i)):
                if home.get(source, kernel) is not kernel:
                    found.add(source)
        return found


def _elementwise_kind(view: View) -> str:
    return "rows" if isinstance(view[0], Dim) else "each"


def _nearest(node: Node, members: Collection[Node]) -> Iterator[Node]:
    """Yield the `members` that `node` depends on without another member in between."""
    pending, seen = list(node.inputs), set()
    while pending:
        source = pending.pop()
        if source in seen:
            continue
        seen.add(source)
        if source in members:
            yield source
        elif not source.primitive.leaf:
            pending.extend(source.inputs)


def passes(kernel: Kernel) -> dict[Node, int]:
    """Return the pass over the columns in which a rows kernel computes each of its nodes.

    A node that uses a reduction over columns is computed in a later pass than the reduction.
    """
    found: dict[Node, int] = {}
    for node in kernel.nodes:
        waits = (found[s] + (s.primitive.combine is not None) for s in _nearest(node, found))
        found[node] = max(waits, default=0)
    return found


def _used_in_later_pass(kernel: Kernel) -> set[Node]:
    """Return nodes of several columns that are computed in one pass and used in a later one."""
    level = passes(kernel)
    return {
        source
        for node in kernel.nodes
        for source in _nearest(node, level)
        if level[source] < level[node] and (view_of(source.spec.shape) or (1, 1))[1] > 1
    }
