"""A training step made ready to run: state that stays, data that is gathered, sums that come out.

The step is one graph.  Inputs whose names are also outputs are *state*: what
the step returns for them is what the next step gets.  The other inputs are
*data*: arrays from which each step gathers its rows.  The other outputs are
*sums*, added up over steps.

Read next: :mod:`chainrule.train.step`, which records such graphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.core.errors import GraphError
from chainrule.core.graph import Graph
from chainrule.run.arena import Arena
from chainrule.run.reference import Interpreter

__all__ = ["Program"]

Array = np.ndarray[Any, Any]


class Program:
    """A step graph on the reference interpreter, with its state and data.

    State is grouped into arenas by the part of its name before the slash:
    ``parameter/0.weight`` and ``parameter/0.bias`` share one.
    Raises GraphError when the graph's inputs are not exactly `state` and `data`.
    """

    def __init__(self, graph: Graph, state: Mapping[str, Array], data: Mapping[str, Array]):
        given = set(state) | set(data)
        if given != set(graph.inputs) or not set(state) <= set(graph.outputs):
            odd = sorted(given ^ set(graph.inputs)) or sorted(set(state) - set(graph.outputs))
            raise GraphError(f"state and data do not match the step's inputs: {', '.join(odd)}.")
        self.data = dict(data)
        self.interpreter = Interpreter(graph)
        kinds: dict[str, dict[str, Array]] = {}
        for name, array in state.items():
            kinds.setdefault(name.split("/")[0], {})[name] = array
        self.arenas = {kind: Arena(arrays) for kind, arrays in kinds.items()}
        self.state = {name: v for arena in self.arenas.values() for name, v in arena.views.items()}

    def run(self, order: Array, batch_size: int) -> dict[str, float]:
        """Take one step for each `batch_size` rows of `order`, the last with what is left.

        Returns the sums, each added up over the steps in float64.
        """
        sums: dict[str, float] = {}
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = {name: array[rows] for name, array in self.data.items()}
            outputs = self.interpreter({**self.state, **batch})
            for name, view in self.state.items():
                fresh = outputs.pop(name)
                if fresh is not view:
                    view[...] = fresh
            for name, value in outputs.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        return sums
