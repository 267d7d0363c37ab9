"""A function of rows that XLA compiles, for pieces of few lengths.

Read next: :mod:`chainrule.run.xla.xla_engine`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from chainrule.core.errors import ShapeError
from chainrule.core.graph import Graph
from chainrule.core.spec import Dim
from chainrule.run.reference import Interpreter
from chainrule.run.xla.compiled import Compiled
from chainrule.run.xla.placement import Placement
from chainrule.run.xla.translate import Tracing, nodes_for
from chainrule.transform.rows import pieces_fit

__all__ = ["XlaFunction"]

Array = np.ndarray[Any, Any]
ROWS_AT_ONCE = 4096  # a function of many rows processes them in pieces of this size


class XlaFunction:
    """A function of rows; see :class:`~chainrule.run.program.RowFunction`.

    XLA compiles for each number of rows.  Where only arrays of rows are returned, a piece is
    filled up with copies of its last row to a power of two, so that there are few such numbers.
    """

    engine = "xla"

    def __init__(
        self,
        graph: Graph,
        data: Collection[str],
        frozen: Mapping[str, Array] | None = None,
    ):
        self.graph, self.data, self.frozen = graph, sorted(data), frozen
        self.whole = not pieces_fit(graph.outputs.values())
        self.fills = not self.whole and all(o.spec.shape for o in graph.outputs.values())
        self.placement = Placement()
        self.nodes = nodes_for(graph, graph.outputs)
        self.codes: dict[tuple[int, ...], Compiled] = {}
        self.parameters = {
            name: node.params["parameter"]
            for name, node in graph.inputs.items()
            if name not in self.data
        }
        if frozen is not None:
            self.frozen = {name: value.copy() for name, value in frozen.items()}
        self.kept = self.placement.put(self.frozen) if self.frozen is not None else None

    def brief(self) -> None:
        """Return None: nothing is faster."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle what the code was compiled from: the code stays in its process."""
        return XlaFunction, (self.graph, self.data, self.frozen)

    def __call__(self, data: Mapping[str, Array]) -> dict[str, Any]:
        """Return outputs by name: arrays of rows, and scalars summed over the rows."""
        lengths: dict[Dim, int] = {}
        arrays = {}
        for name in self.data:
            spec = self.graph.inputs[name].spec
            arrays[name] = np.asarray(data[name], spec.dtype)
            spec.bind(arrays[name], lengths, name)
        counts = {len(array) for array in arrays.values()}
        if len(counts) > 1:
            raise ShapeError(
                "data have different numbers of rows: "
                f"{', '.join(f'{name} {len(array)}' for name, array in arrays.items())}."
            )
        (rows,) = counts
        if not rows:  # nothing to compile
            empty = Interpreter(self.graph)({**(self.frozen or {}), **arrays})
            return {name: a if a.ndim else float(a) for name, a in empty.items()}
        kept = self.kept
        if kept is None:
            kept = self.placement.put({name: p.value for name, p in self.parameters.items()})
        most = rows if self.whole else ROWS_AT_ONCE
        pieces = [
            self._piece({n: a[start : start + most] for n, a in arrays.items()}, kept)
            for start in range(0, rows, most)
        ]
        return {
            name: np.concatenate([np.asarray(piece[name]) for piece in pieces])
            if node.spec.shape
            else float(sum(float(piece[name]) for piece in pieces))
            for name, node in self.graph.outputs.items()
        }

    def _piece(self, arrays: dict[str, Array], kept: Mapping[str, Any]) -> dict[str, Any]:
        """Return the outputs for the rows of `arrays`."""
        rows = len(next(iter(arrays.values())))
        if self.fills:
            room = 2 ** (rows - 1).bit_length()
            arrays = {
                name: np.concatenate([array, np.repeat(array[-1:], room - rows, axis=0)])
                for name, array in arrays.items()
            }
        code = self._code(arrays, kept)
        results, reports = code(kept, arrays)
        code.check(reports)
        return {name: value[:rows] if value.ndim else value for name, value in results.items()}

    def _code(self, arrays: Mapping[str, Array], kept: Mapping[str, Any]) -> Compiled:
        shapes = tuple(length for array in arrays.values() for length in array.shape)
        if shapes not in self.codes:
            lengths: dict[Dim, int] = {}
            for name, array in arrays.items():
                self.graph.inputs[name].spec.bind(array, lengths, name)

            def function(kept: Any, arrays: Any) -> tuple[Any, Tracing, Any]:
                given = {self.graph.inputs[n]: a for n, a in (kept | arrays).items()}
                tracing = Tracing(given, lengths)
                tracing.evaluate(self.nodes)
                outputs = self.graph.outputs.items()
                return {n: tracing.output(o) for n, o in outputs}, tracing, tracing.reports

            self.codes[shapes] = Compiled(function, [kept, arrays])
        return self.codes[shapes]
