"""Derive the training graph and the prediction graph of a model that was recorded once.

Both are free of the notes of :mod:`chainrule.ops.training`.  For training, the state updates
and penalties in the notes are returned as well.

Read next: :mod:`chainrule.run.reference`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.core.errors import GraphError
from chainrule.core.graph import Graph, Node, reachable, with_inputs
from chainrule.core.tensor import Tensor, tensor

__all__ = ["Trained", "draw_keys", "for_predicting", "for_training"]


@dataclass(frozen=True)
class Trained:
    """Tensors as training computes them, and the penalties and state updates of a step.

    `updates` pairs a parameter's node with its new value.
    """

    tensors: list[Tensor]
    penalties: list[Tensor]
    updates: list[tuple[Node, Tensor]]


def for_predicting(graph: Graph) -> Graph:
    """Return `graph` for prediction: without noise and notes, with running statistics.

    >>> import chainrule as cr
    >>> from chainrule.ops.training import by_mode
    >>> x = cr.input("x", (2,))
    >>> print(for_predicting(cr.Graph({"y": by_mode(x * 2.0, x)})))
    graph(x: f32[2]):
      return y=x
    """
    if not any(node.primitive.note for node in graph.nodes):
        return graph
    leaves = {node: node for node in graph.inputs.values()}
    nodes = _used(graph.outputs.values(), 1, leaves)
    draws = (node for node in nodes if node.primitive.name == "fresh_seed")
    new = _resolve(nodes, 1, leaves | {node: tensor(np.array(0)).node for node in draws})
    return Graph({name: new[node] for name, node in graph.outputs.items()}, graph.inputs)


def draw_keys(seed: int, count: int) -> list[int]:
    """Return the key of each of the `count` random draws of a step, in a training of `seed`.

    The low word is 0, to which the number of the step is added.  The high word is random, so that
    neither two draws nor two seeds of fit share a stream.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, count]))
    return [int(key) << 32 for key in generator.integers(2**31, size=count)]


def for_training(
    outputs: Sequence[Tensor], step: Tensor, seed: int | Callable[[int], Sequence[Tensor]] = 0
) -> Trained:
    """Return `outputs` as a training step computes them, with their penalties and updates.

    `step` is the number of steps taken, an int64 scalar; with `seed` it determines the random
    numbers.  A function instead of a seed returns the keys of as many draws, int64 scalars.
    Raises GraphError when two layers set the same state.
    """
    nodes = _used([x.node for x in outputs], 0, ())
    draws = [node for node in nodes if node.primitive.name == "fresh_seed"]
    seeds: dict[Node, Node] = {}
    if draws:
        count = len(draws)
        keys = seed(count) if callable(seed) else [tensor(key) for key in draw_keys(seed, count)]
        seeds = {node: (step + key).node for node, key in zip(draws, keys, strict=True)}
    new = _resolve(nodes, 0, seeds)
    updates: dict[Node, Tensor] = {}
    for node in nodes:
        if node.primitive.name == "updating":
            state, value = new[node.inputs[1]], new[node.inputs[2]]
            if state in updates and updates[state].node is not value:
                raise GraphError(
                    f"{state.params['name']!r}, used at {node.line}, is set twice in one training "
                    "step: a layer with running statistics can be used only once; make another."
                )
            updates[state] = Tensor(value)
    return Trained(
        [Tensor(new[x.node]) for x in outputs],
        [Tensor(new[n.inputs[1]]) for n in nodes if n.primitive.name == "penalizing"],
        list(updates.items()),
    )


def _used(outputs: Iterable[Node], branch: int, leaves: Collection[Node]) -> list[Node]:
    """Return the nodes that `outputs` need, oldest first, with only `branch` of each by_mode."""

    def needed(node: Node) -> tuple[Node, ...]:
        if node.primitive.name == "by_mode":
            return (node.inputs[branch],)
        notes = branch and node.primitive.name in ("updating", "penalizing")
        return node.inputs[:1] if notes else node.inputs

    return reachable(outputs, leaves, needed)


def _resolve(nodes: Sequence[Node], branch: int, known: Mapping[Node, Node]) -> dict[Node, Node]:
    """Return the node that replaces each of `nodes` when only `branch` is kept."""
    new = dict(known)
    for node in nodes:
        name = node.primitive.name
        if node in new:
            continue
        if name == "by_mode":
            new[node] = new[node.inputs[branch]]
        elif name in ("updating", "penalizing"):
            new[node] = new[node.inputs[0]]
        else:
            new[node] = with_inputs(node, tuple(new[i] for i in node.inputs))
    return new
