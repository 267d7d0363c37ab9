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
from chainrule.run.xla.translate import Check, Tracing, all_bits, nodes_for, raise_for

__all__ = ["Compiled", "values"]

Array = np.ndarray[Any, Any]


class Compiled:
    """A function of JAX arrays, compiled for arguments like `examples`.

    The function returns its results and the reports of a :class:`Tracing`.  The arguments
    numbered in `given` may be overwritten by the results.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Any, Tracing]],
        examples: Sequence[Any],
        given: Sequence[int] = (),
    ):
        self.checks: list[Check] = []

        def traced(*arguments: Any) -> tuple[Any, Any]:
            results, tracing = function(*arguments)
            self.checks = tracing.checks
            return results, tracing.reports

        with all_bits():
            lowered = jax.jit(traced, donate_argnums=tuple(given)).lower(*examples)
            self.run = lowered.compile()

    def __call__(self, *arguments: Any) -> Any:
        """Return the results; raises ShapeError for an index that was out of range."""
        with all_bits():
            results, reports = self.run(*arguments)
        raise_for(self.checks, np.asarray(reports))
        return results


def values(graph: Graph, given: Mapping[str, Any]) -> dict[str, Array]:
    """Return the outputs of `graph` by name for the input values `given`, computed by XLA."""
    arrays, lengths = bound(graph, given)
    nodes = nodes_for(graph, graph.outputs)

    def function(arrays: dict[str, Any]) -> tuple[dict[str, Any], Tracing]:
        tracing = Tracing({graph.inputs[name]: a for name, a in arrays.items()}, lengths)
        tracing.evaluate(nodes)
        return {name: tracing.output(node) for name, node in graph.outputs.items()}, tracing

    results = Compiled(function, [arrays])(arrays)
    return {name: np.array(result) for name, result in results.items()}
