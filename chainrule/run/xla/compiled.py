"""Functions that XLA has compiled for arrays of given shapes, and the values of a graph.

Read next: :mod:`chainrule.run.xla.xla_program`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from chainrule.core.graph import Graph
from chainrule.run.reference import bound
from chainrule.run.xla.placement import size_of, told_of_memory
from chainrule.run.xla.translate import Check, Tracing, all_bits, nodes_for, raise_for

__all__ = ["Compiled", "values"]

Array = np.ndarray[Any, Any]


class Compiled:
    """A function of JAX arrays, compiled for arguments like `examples`.

    The function returns its results, a :class:`Tracing`, and the reports that belong to its
    checks.  The arguments numbered in `given` may be overwritten by the results.  `sizes`
    are what an error about memory tells.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Any, Tracing, Any]],
        examples: Sequence[Any],
        given: Sequence[int] = (),
        sizes: Mapping[str, int] | None = None,
    ):
        self.checks: list[Check] = []

        def traced(*arguments: Any) -> tuple[Any, Any]:
            results, tracing, reports = function(*arguments)
            self.checks = tracing.checks
            return results, reports

        self.sizes = sizes or {"arrays": size_of(examples)}
        with all_bits(), told_of_memory(self.sizes):
            lowered = jax.jit(traced, donate_argnums=tuple(given)).lower(*examples)
            self.run = lowered.compile()

    def __call__(self, *arguments: Any) -> tuple[Any, Any]:
        """Return the results, and the reports for :meth:`check`, which may not be computed yet."""
        with all_bits(), told_of_memory(self.sizes):
            results, reports = self.run(*arguments)
        return results, reports

    def check(self, reports: Any) -> None:
        """Wait for the results; raise ShapeError for an index that was out of range."""
        with told_of_memory(self.sizes):
            raise_for(self.checks, np.asarray(reports))


def values(graph: Graph, given: Mapping[str, Any]) -> dict[str, Array]:
    """Return the outputs of `graph` by name for the input values `given`, computed by XLA."""
    arrays, lengths = bound(graph, given)
    nodes = nodes_for(graph, graph.outputs)

    def function(arrays: dict[str, Any]) -> tuple[dict[str, Any], Tracing, Any]:
        tracing = Tracing({graph.inputs[name]: a for name, a in arrays.items()}, lengths)
        tracing.evaluate(nodes)
        found = {name: tracing.output(node) for name, node in graph.outputs.items()}
        return found, tracing, tracing.reports

    code = Compiled(function, [arrays])
    results, reports = code(arrays)
    code.check(reports)
    return {name: np.array(result) for name, result in results.items()}
