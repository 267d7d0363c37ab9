"""Networks as directed acyclic graphs of layers: skip, dense and residual connections.

A :class:`Network` is a layer made of named layers and the edges between them.  Edges are a list
of pairs, a dictionary, or an object with nodes and edges such as a networkx.DiGraph.

Read next: :mod:`chainrule.nn.neurons`, where the nodes are single neurons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from chainrule.core.errors import OptionError, ShapeError, did_you_mean
from chainrule.core.foreign import no_member
from chainrule.core.graph import scope
from chainrule.core.pickling import check_named
from chainrule.core.tensor import Tensor
from chainrule.nn.layer import Layer, check_input, check_layer, suit, summary
from chainrule.nn.summary import Summary, describe
from chainrule.ops.shape import concat

__all__ = ["EdgeList", "Network", "levels_of", "pairs_of"]

EdgeList: TypeAlias = "list[tuple[str, str]]"
JOINS = ("concat", "add")


def pairs_of(edges: Any) -> EdgeList:
    """Return `edges`, a list of pairs, a dictionary or a graph object, as pairs of names.

    A dictionary maps each name to the name or the list of names that its edges lead to.

    Raises OptionError for anything else, and for an edge given twice.

    >>> pairs_of({"x": ["a", "b"], "a": "b"})
    [('x', 'a'), ('x', 'b'), ('a', 'b')]
    """
    if hasattr(edges, "nodes") and hasattr(edges, "edges"):
        if not getattr(edges, "is_directed", lambda: True)():
            raise OptionError("the edges of a network need a direction: give a DiGraph.")
        edges = list(edges.edges)
    elif isinstance(edges, Mapping):
        edges = [
            (source, target)
            for source, targets in edges.items()
            for target in ([targets] if isinstance(targets, (str, int)) else targets)
        ]
    if isinstance(edges, str) or not isinstance(edges, Iterable):
        raise OptionError(f"edges must be pairs of names, not {edges!r:.60}.")
    pairs: EdgeList = []
    for edge in edges:
        ends = [] if isinstance(edge, str) or not isinstance(edge, Iterable) else list(edge)
        if len(ends) != 2:
            raise OptionError(f"an edge must be a pair of names (from, to), not {edge!r:.60}.")
        pairs.append((str(ends[0]), str(ends[1])))
    again = [pair for pair, count in Counter(pairs).items() if count > 1]
    if again:
        raise OptionError(f"the edge {_told(again[0])} is given twice.")
    return pairs


def levels_of(pairs: Sequence[tuple[str, str]], names: Iterable[str] = ()) -> dict[str, int]:
    """Return for each name the length of the longest path to it, in increasing order.

    Raises OptionError, showing the cycle, if there is one.

    >>> levels_of([("x", "a"), ("a", "b"), ("x", "b")])
    {'x': 0, 'a': 1, 'b': 2}
    """
    before: dict[str, list[str]] = {name: [] for name in names}
    after: dict[str, list[str]] = {}
    for source, target in pairs:
        before.setdefault(source, [])
        before.setdefault(target, []).append(source)
        after.setdefault(source, []).append(target)
    waiting = {name: len(sources) for name, sources in before.items()}
    level = {name: 0 for name, count in waiting.items() if count == 0}
    ready = list(level)
    for name in ready:  # grows during the loop
        for target in after.get(name, ()):
            level[target] = max(level.get(target, 0), level[name] + 1)
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    if len(ready) < len(before):
        stuck = {name for name, count in waiting.items() if count > 0}
        raise OptionError(f"the edges form a cycle: {_cycle(before, stuck)}; remove one of them.")
    return {name: level[name] for name in sorted(ready, key=level.__getitem__)}


def _cycle(before: Mapping[str, list[str]], stuck: set[str]) -> str:
    """Return a cycle among the `stuck` names, each of which has a predecessor among them."""
    path = [next(name for name in before if name in stuck)]
    while path.count(path[-1]) < 2:
        path.append(next(name for name in before[path[-1]] if name in stuck))
    return " -> ".join(path[path.index(path[-1]) :][::-1])


def _told(edge: tuple[str, str]) -> str:
    return f"{edge[0]!r} -> {edge[1]!r}"


@dataclass(eq=False, repr=False)
class Network:
    """Apply `layers` along the edges of a graph, from its one input to its one output.

    The values of several edges to one name are joined in the order of the edges: concatenated on
    the last axis ("concat", as in DenseNets) or summed ("add", as in residual networks); `join`
    is one of these for all names or, in a dictionary, for some.  The input is the one name that
    no edge leads to; other names without a layer only join.  `layers` may be omitted if `edges`
    is a graph object whose nodes have the attribute "layer" (and optionally "join"), as in
    ``graph.add_node("a", layer=nn.Linear(4, 8))``.

    Raises OptionError for a cycle, which it shows, for unknown names, and unless there is one
    input and one output; ShapeError, naming the edges, if shapes do not fit.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> block = Network({"f": nn.Linear(4, 4), "act": nn.ReLU()},
    ...                 [("x", "f"), ("f", "act"), ("x", "sum"), ("act", "sum")], join="add")
    >>> block
    Network(4 edges)
      f <- x: Linear(4, 4)
      act <- f: ReLU
      sum <- x + act
    >>> block(cr.input("x", ("n", 4))).shape
    (n, 4)
    """

    layers: Mapping[str, Layer]
    edges: Any
    join: str | Mapping[str, str] = "concat"
    order: list[str] = field(init=False)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_member(self, name)

    def __init__(
        self,
        layers: Mapping[str, Layer] | Any = None,
        edges: Any = None,
        join: str | Mapping[str, str] = "concat",
    ):
        if edges is None and layers is not None and not isinstance(layers, Mapping):
            layers, edges = None, layers  # only a graph object was given
        found, joins = _attributes(edges)
        self.layers = {**found, **{str(name): layer for name, layer in (layers or {}).items()}}
        self.edges = pairs_of([] if edges is None else edges)
        if isinstance(join, str) and not joins:
            self.join = join
        else:
            if not isinstance(join, (str, Mapping)):
                raise OptionError(f"Network: join must be 'concat' or 'add', not {join!r}.")
            named = dict.fromkeys(self._joined(), join) if isinstance(join, str) else join
            self.join = {**{str(name): how for name, how in named.items()}, **joins}
        level = levels_of(self.edges, self.layers)
        self.input, self.output = self._ends(level)
        self.order = [name for name in level if name != self.input]
        self._check_names(level)
        for source, target in self.edges:
            if source in self.layers and target in self.layers:
                suit(self.layers[source], self.layers[target])

    def _joined(self) -> list[str]:
        counts = Counter(target for _, target in self.edges)
        return [name for name, count in counts.items() if count > 1]

    def _ends(self, level: Mapping[str, int]) -> tuple[str, str]:
        """Return the name that no edge leads to, and the name that no edge leads from."""
        for name in self.layers:
            if not any(name in edge for edge in self.edges):
                raise OptionError(f"Network: no edge leads to or from layer {name!r}.")
        found = []
        for what, side, way in (("input", 1, "to"), ("output", 0, "from")):
            taken = {edge[side] for edge in self.edges}
            ends = [name for name in level if name not in taken]
            if len(ends) != 1:
                told = ", ".join(map(repr, ends)) or "none"
                raise OptionError(
                    f"Network: one name must have no edge {way} it, the {what}; found: {told}."
                )
            found.append(ends[0])
        return found[0], found[1]

    def _check_names(self, level: Mapping[str, int]) -> None:
        if self.input in self.layers:
            raise OptionError(
                f"Network: no edge leads to layer {self.input!r}; begin with an edge from the "
                f"input, such as ('x', {self.input!r})."
            )
        for name, layer in self.layers.items():
            check_layer(f"Network: {name!r}", layer)
        told = {self.join: "all"} if isinstance(self.join, str) else {}
        named = {} if isinstance(self.join, str) else self.join
        for name, how in named.items():
            if name not in level:
                near = did_you_mean(name, level)
                raise OptionError(f"Network: join names {name!r}, which no edge has. {near}")
            told[how] = name
        for how in told:
            if how not in JOINS:
                raise OptionError(f"Network: join must be 'concat' or 'add', not {how!r}.")

    def summary(self, features: int | Sequence[int] | None = None) -> Summary:
        """Return a table of the layers; see :func:`chainrule.nn.summary`."""
        return summary(self, features)

    def __getstate__(self) -> dict[str, Any]:
        for name, layer in self.layers.items():
            check_named(f"layer {name!r} of a Network", layer)
        return self.__dict__

    def named_layers(self) -> dict[str, Layer]:
        """Return the layers by name, in the order they are applied."""
        return {name: self.layers[name] for name in self.order if name in self.layers}

    def check_input(self, X: Any) -> None:
        """Raise DataError for rows of `X` that a layer that takes only the input rejects."""
        first = (name for name in self.layers if self._sources(name) == [self.input])
        check_input((self.layers[name] for name in first), X)

    def _sources(self, name: str) -> list[str]:
        return [source for source, target in self.edges if target == name]

    def _how(self, name: str) -> str:
        return self.join if isinstance(self.join, str) else self.join.get(name, "concat")

    def __call__(self, x: Tensor) -> Tensor:
        values = {self.input: x}
        for name in self.order:
            sources = self._sources(name)
            value = self._join(name, {source: values[source] for source in sources})
            layer = self.layers.get(name)
            if layer is not None:
                with scope(name):
                    try:
                        value = layer(value)
                    except ShapeError as error:
                        edges = ", ".join(f"{_told((s, name))} {values[s].shape}" for s in sources)
                        raise ShapeError(f"Network: after {edges}: {error}") from None
            values[name] = value
        return values[self.output]

    def _join(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        (first, whole), *others = values.items()
        adds = self._how(name) == "add"
        for source, value in others:
            alike = value.shape == whole.shape if adds else value.shape[:-1] == whole.shape[:-1]
            if not alike:
                need = "to be added" if adds else "on all axes but the last"
                raise ShapeError(
                    f"Network: edge {_told((source, name))} has shape {value.shape}, but edge "
                    f"{_told((first, name))} has {whole.shape}; they must be equal {need}."
                )
        if not others:
            return whole
        if not adds:
            return concat(list(values.values()), axis=-1)
        for _, value in others:
            whole = whole + value
        return whole

    def __repr__(self) -> str:
        lines = [f"Network({len(self.edges)} edges)"]
        for name in self.order:
            mark = " + " if self._how(name) == "add" else ", "
            layer = self.layers.get(name)
            told = "" if layer is None else f": {_briefly(layer)}"
            lines.append(f"  {name} <- {mark.join(self._sources(name))}{told}")
        return "\n".join(lines)


def _attributes(graph: Any) -> tuple[dict[str, Layer], dict[str, str]]:
    """Return the layers and the joins in the node attributes of a graph object."""
    items: Any = getattr(getattr(graph, "nodes", None), "items", list)()
    found = {str(name): held for name, held in items if isinstance(held, Mapping)}
    layers = {name: held["layer"] for name, held in found.items() if "layer" in held}
    return layers, {name: held["join"] for name, held in found.items() if "join" in held}


def _briefly(layer: Layer) -> str:
    told = repr(layer) if isinstance(layer, Network) else describe(layer)
    return "\n    ".join(told.splitlines())
