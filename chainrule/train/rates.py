"""Learning rates in the training loop: read for the history, reduced on a plateau.

Read next: :mod:`chainrule.train.fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from chainrule.core.graph import Graph
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.plateau import PlateauWatch, ReduceOnPlateau
from chainrule.run.reference import Interpreter

__all__ = ["Rates", "plateaus"]

Array = np.ndarray[Any, Any]


def plateaus(optimizer: Optimizer) -> Iterator[tuple[str, ReduceOnPlateau]]:
    """Yield each plan in `optimizer` that lowers on a plateau, with the state that scales it."""
    for name, part in optimizer.walk():
        if isinstance(part, ReduceOnPlateau):
            yield f"hyper/{name}.scale", part


class Rates:
    """The learning rate of a training: `graph` computes it from the program's `state`."""

    def __init__(self, optimizer: Optimizer, graph: Graph | None, state: Mapping[str, Array]):
        self.computed = None if graph is None else Interpreter(graph)
        self.state = state
        self._last: tuple[tuple[bytes, ...], float] = ((), 0.0)
        self.watches = {name: PlateauWatch(plan) for name, plan in plateaus(optimizer)}

    def now(self) -> float | None:
        """Return the learning rate of the last step, or None where the optimizer has none."""
        if self.computed is None:
            return None
        known = {name: self.state[name] for name in self.computed.graph.inputs}
        content = tuple(value.tobytes() for value in known.values())
        if content != self._last[0] or not content:
            self._last = content, float(self.computed(known)["learning_rate"])
        return self._last[1]

    def look(self, score: Callable[[str | None], float]) -> bool:
        """Lower what asks for it, and return whether any did.

        `score` returns an entry of the record, negated where more is better.
        """
        lower = [n for n, w in self.watches.items() if w.asks_to_lower(score(w.plan.monitor))]
        for name in lower:
            self.state[name][...] *= self.watches[name].plan.factor
        return bool(lower)

    def keep(self) -> dict[str, list[float]]:
        """Return what the plans that lower on a plateau remember, as plain JSON values."""
        return {name: [w.best, w.waited, w.resting] for name, w in self.watches.items()}

    def go_on(self, kept: Mapping[str, list[Any]]) -> None:
        """Continue from what :meth:`keep` returned."""
        for name, watch in self.watches.items():
            watch.best, watch.waited, watch.resting = kept[name]
