"""A layer made of single neurons and the edges between them, any directed acyclic graph.

Neurons that can be computed at the same time and have the same activation form a group, and all
edges between two groups become one sparse product.  Thousands of neurons thus need only a few
dozen operations, and absent edges cost nothing.

Read next: :mod:`chainrule.nn.wiring`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from chainrule.core.errors import OptionError, ShapeError, did_you_mean
from chainrule.core.graph import scope
from chainrule.core.options import float_dtype
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.core.wording import counted
from chainrule.nn.activations import activation
from chainrule.nn.initializers import GlorotUniform, Initializer, initializer
from chainrule.nn.layer import Layer
from chainrule.nn.network import levels_of, pairs_of
from chainrule.nn.wiring import Edges, PerUnit
from chainrule.ops.sparse import Wiring, sparse_matmul

__all__ = ["Neurons"]

Array: TypeAlias = "np.ndarray[Any, Any]"


@dataclass
class Group:
    """Neurons computed together: their names, their activation and their incoming edges.

    The keys of `wirings` are the numbers of the groups that edges come from, 0 for the inputs.
    """

    names: list[str]
    activation: str
    layer: Layer
    wirings: dict[int, Wiring]


@dataclass(eq=False, repr=False)
class Neurons:
    """Compute each neuron from its predecessors: ``y = activation(sum of w * x + bias)``.

    edges: pairs (source, target), a dictionary, or a graph object such as networkx.DiGraph.
    `inputs` are the neurons for the columns of x: (n, len(inputs)), by default those without
    incoming edges; `outputs` are the columns of the result, by default the neurons without
    outgoing edges, both in the order of the edges.  `output_activation` is the activation of
    outputs, `activation` that of all other neurons; `activations` overrides them by neuron.
    Weights are initialized by each neuron's own number of inputs, Glorot-uniform unless
    `weight_init` is given; biases start at 0.

    Raises OptionError for a cycle, which it shows, for unknown neurons, and for a neuron without
    incoming edges that is not an input; ShapeError for another number of columns.

    >>> import chainrule as cr
    >>> net = Neurons([("a", "h"), ("b", "h"), ("h", "y"), ("a", "y")])
    >>> net
    Neurons(2 inputs, 2 neurons, 4 edges)
      1: 1 tanh from inputs
      2: 1 identity from inputs, 1
    >>> net(cr.input("x", ("n", 2))).shape
    (n, 1)
    """

    edges: Any
    inputs: Sequence[str] | None = None
    outputs: Sequence[str] | None = None
    activation: str = "tanh"
    output_activation: str = "identity"
    activations: Mapping[str, str] = field(default_factory=dict)
    use_bias: bool = True
    weight_init: str | Initializer | None = None
    dtype: str = "float32"
    names: Sequence[str] | None = None
    groups: list[Group] = field(init=False)
    weights: dict[str, Parameter] = field(init=False)
    biases: dict[str, Parameter] = field(init=False)

    def __post_init__(self) -> None:
        self.dtype = float_dtype("Neurons: dtype", self.dtype)
        self.activations = {str(name): choice for name, choice in self.activations.items()}
        for choice in (self.activation, self.output_activation, *self.activations.values()):
            activation(choice)  # raises for an unknown name
        pairs = self._pairs()
        level = levels_of(pairs)
        targets, sources = {t for _, t in pairs}, {s for s, _ in pairs}
        for name, given, found in (
            ("inputs", self.inputs, [n for n in self.names or () if n not in targets]),
            ("outputs", self.outputs, [n for n in self.names or () if n not in sources]),
        ):
            setattr(self, name, self._chosen(name, given, found))
        self._check(pairs, level)
        self.groups = self._grouped(pairs, level, sources)
        self._make_parameters()

    # --- reading the arguments ------------------------------------------------------------------

    def _pairs(self) -> list[tuple[str, str]]:
        """Return the edges by name, and keep them packed, as in a saved model."""
        if isinstance(self.edges, Edges):
            self.names = [str(name) for name in self.names or ()]
        else:
            pairs = pairs_of(self.edges)
            if not pairs:
                raise OptionError("Neurons: there are no edges.")
            self.names = list(dict.fromkeys(name for pair in pairs for name in pair))
            place = {name: i for i, name in enumerate(self.names)}
            ends = np.array([(place[s], place[t]) for s, t in pairs])
            self.edges = Edges.of(Wiring(len(place), len(place), ends[:, 0], ends[:, 1]))
        names = self.names
        wiring = self.edges.wiring(len(names), len(names))
        both = zip(wiring.sources.tolist(), wiring.targets.tolist(), strict=True)
        return [(names[s], names[t]) for s, t in both]

    def _chosen(self, what: str, given: Iterable[Any] | None, found: list[str]) -> list[str]:
        assert self.names is not None
        known = set(self.names)
        chosen = found if given is None else [str(name) for name in given]
        for i, name in enumerate(chosen):
            if name not in known:
                raise OptionError(
                    f"Neurons: {what} names {name!r}, which no edge has. "
                    f"{did_you_mean(name, known)}"
                )
            if len(set(chosen)) < len(chosen) and name in chosen[:i]:
                raise OptionError(f"Neurons: {what} names {name!r} twice.")
        if not chosen:
            raise OptionError(f"Neurons: {what} is empty; name at least one neuron.")
        return chosen

    def _check(self, pairs: Sequence[tuple[str, str]], level: Mapping[str, int]) -> None:
        assert self.inputs is not None
        inputs = set(self.inputs)
        for source, target in pairs:
            if target in inputs:
                raise OptionError(
                    f"Neurons: edge {source!r} -> {target!r} leads to an input, which the data set."
                )
        for name, depth in level.items():
            if depth == 0 and name not in inputs:
                raise OptionError(
                    f"Neurons: no edge leads to {name!r}, and it is not one of the inputs."
                )
        for name in self.activations:
            if name not in level or name in inputs:
                near = did_you_mean(str(name), [n for n in level if n not in inputs])
                raise OptionError(
                    f"Neurons: activations names {name!r}, which is not a computed neuron. {near}"
                )

    # --- from neurons to groups -----------------------------------------------------------------

    def _activation_of(self, name: str, outputs: set[str]) -> str:
        usual = self.output_activation if name in outputs else self.activation
        return self.activations.get(name, usual)

    def _grouped(
        self, pairs: Sequence[tuple[str, str]], level: Mapping[str, int], sources: set[str]
    ) -> list[Group]:
        """Return the groups in order; outputs without outgoing edges are on the last level."""
        assert self.inputs is not None
        assert self.outputs is not None
        last, outputs, inputs = max(level.values()), set(self.outputs), set(self.inputs)
        # Outputs come first, in their order, so that the last group often is the result itself.
        order = [*self.outputs, *(name for name in level if name not in outputs)]
        members: dict[tuple[int, str], list[str]] = {}
        for name in order:
            if name not in inputs:
                waits = name in outputs and name not in sources
                key = (last if waits else level[name], self._activation_of(name, outputs))
                members.setdefault(key, []).append(name)
        keys = sorted(members, key=lambda key: key[0])
        place = {name: (0, i) for i, name in enumerate(self.inputs)}
        for g, key in enumerate(keys, 1):
            place.update({name: (g, i) for i, name in enumerate(members[key])})
        found: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for source, target in pairs:
            (from_group, s), (to_group, t) = place[source], place[target]
            found.setdefault((to_group, from_group), []).append((s, t))
        sizes = [len(self.inputs), *(len(members[key]) for key in keys)]
        groups = [Group(members[key], key[1], activation(key[1]), {}) for key in keys]
        for (to_group, from_group), ends in sorted(found.items()):
            array = np.array(ends)
            groups[to_group - 1].wirings[from_group] = Wiring(
                sizes[from_group], sizes[to_group], array[:, 0], array[:, 1]
            )
        self._picks = self._pick(place, sizes)
        return groups

    def _pick(
        self, place: Mapping[str, tuple[int, int]], sizes: Sequence[int]
    ) -> dict[int, Wiring | None]:
        """Return by group the wiring of its outputs to their columns, or None if in place."""
        assert self.outputs is not None
        found: dict[int, list[tuple[int, int]]] = {}
        for column, name in enumerate(self.outputs):
            group, at = place[name]
            found.setdefault(group, []).append((at, column))
        whole = [(i, i) for i in range(len(self.outputs))]
        picks: dict[int, Wiring | None] = {}
        for group, ends in found.items():
            if ends == whole and sizes[group] == len(ends):
                picks[group] = None
            else:
                array = np.array(ends)
                picks[group] = Wiring(sizes[group], len(whole), array[:, 0], array[:, 1])
        return picks

    def _make_parameters(self) -> None:
        start = GlorotUniform() if self.weight_init is None else initializer(self.weight_init)
        self.weights, self.biases = {}, {}
        for g, group in enumerate(self.groups, 1):
            fan_in = np.sum([wiring.fan_in for wiring in group.wirings.values()], axis=0)
            for source, wiring in group.wirings.items():
                name = f"{source}-{g}"
                self.weights[name] = Parameter(
                    (wiring.edges,),
                    PerUnit(start, wiring, fan_in),
                    self.dtype,
                    name,
                    is_weight=True,
                )
            if self.use_bias:
                size = len(group.names)
                self.biases[str(g)] = Parameter((size,), initializer("zeros"), self.dtype, str(g))

    # --- computing ------------------------------------------------------------------------------

    def __call__(self, x: Tensor) -> Tensor:
        assert self.inputs is not None
        if len(x.shape) != 2 or x.shape[1] != len(self.inputs):
            raise ShapeError(
                f"Neurons: x needs a column for each of {len(self.inputs)} inputs, but has shape "
                f"{x.shape}."
            )
        values = [x]
        for g, group in enumerate(self.groups, 1):
            with scope(str(g)):
                total = None
                for source, wiring in group.wirings.items():
                    part = sparse_matmul(values[source], self.weights[f"{source}-{g}"], wiring)
                    total = part if total is None else total + part
                assert total is not None
                if self.use_bias:
                    total = total + self.biases[str(g)]
                values.append(group.layer(total))
        output = None
        for g, pick in self._picks.items():
            part = values[g]
            if pick is not None:
                part = sparse_matmul(part, np.ones(pick.edges, self.dtype), pick)
            output = part if output is None else output + part
        assert output is not None
        return output

    def edge_weights(self) -> dict[tuple[str, str], float]:
        """Return the current weight of each edge, by the names of its ends."""
        assert self.inputs is not None
        names = [list(self.inputs), *(group.names for group in self.groups)]
        found = {}
        for g, group in enumerate(self.groups, 1):
            for source, wiring in group.wirings.items():
                values = self.weights[f"{source}-{g}"].value.tolist()
                for s, t, w in zip(wiring.sources, wiring.targets, values, strict=True):
                    found[names[source][s], names[g][t]] = w
        return found

    def __repr__(self) -> str:
        assert self.inputs is not None
        count = sum(len(group.names) for group in self.groups)
        lines = [
            f"Neurons({counted(len(self.inputs), 'input')}, {counted(count, 'neuron')}, "
            f"{counted(self.edges.count, 'edge')})"
        ]
        for g, group in enumerate(self.groups, 1):
            sources = ", ".join("inputs" if s == 0 else str(s) for s in group.wirings)
            lines.append(f"  {g}: {len(group.names)} {group.activation} from {sources}")
        return "\n".join(lines)
