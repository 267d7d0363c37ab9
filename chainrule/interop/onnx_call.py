"""One application of an ONNX operator, as the functions that compute it see it.

Read next: :mod:`chainrule.interop.onnx_operators`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.core.errors import GraphError, OptionError
from chainrule.core.graph import reachable
from chainrule.core.primitive import lookup
from chainrule.core.spec import Dim, Shape
from chainrule.core.tensor import Tensor, as_tensor, record
from chainrule.ops.shape import concat

__all__ = ["MOST", "Call", "Step", "check_size", "lengths_of", "shape_tensor", "value_of"]

Array = np.ndarray[Any, Any]
MOST = 1 << 26  # elements of one value: a small file can ask for far more memory than it has bytes


@dataclass(frozen=True)
class Step:
    """A node of an ONNX graph as plain values; an input that is left out has an empty name."""

    operator: str  # with its domain, unless that is the usual one
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    version: int  # of the set of operators


@dataclass(frozen=True)
class Call:
    """A step and the values that it is given."""

    step: Step
    given: Sequence[Any]

    @property
    def version(self) -> int:
        """The version of the set of operators."""
        return self.step.version

    @property
    def results(self) -> int:
        """How many results are asked for."""
        return len(self.step.outputs)

    def has(self, place: int) -> bool:
        """Return whether there is an input at `place`."""
        return place < len(self.given) and self.given[place] is not None

    def x(self, place: int = 0) -> Tensor:
        """Return the input at `place`."""
        found = self.given[place] if self.has(place) else None
        if not isinstance(found, Tensor):
            what = "is missing" if found is None else "is not a tensor"
            raise OptionError(f"{self.step.operator}: input {place} {what}.")
        return found

    def tensors(self) -> list[Tensor]:
        """Return all inputs."""
        return [self.x(i) for i in range(len(self.given))]

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or `default` where it is not given."""
        return self.step.attributes.get(name, default)

    def value(self, place: int, name: str = "", default: Any = None) -> Any:
        """Return what is known before the graph is run: input `place`, or the attribute `name`.

        In older versions many inputs, such as axes, were attributes.
        """
        if self.has(place):
            return value_of(self.x(place), f"{self.step.operator}: input {place}")
        return self.attribute(name, default)

    def integers(self, place: int, name: str = "") -> list[int] | None:
        """Return a list of known integers, None where it is not given."""
        found = self.value(place, name)
        return None if found is None else [int(i) for i in np.ravel(found)]

    def axis(self, default: int, ndim: int | None = None) -> int:
        """Return the attribute ``axis``, counted from the start."""
        axis, axes = int(self.attribute("axis", default)), self.x().ndim if ndim is None else ndim
        if not -axes <= axis < max(axes, 1):
            raise OptionError(f"{self.step.operator}: axis {axis} of a value with {axes} axes.")
        return axis + axes if axis < 0 else axis


def check_size(what: str, shape: Shape) -> None:
    """Raise GraphError if a value of this shape would have more than :data:`MOST` elements."""
    size = math.prod(d for d in shape if isinstance(d, int))
    if size > MOST:
        raise GraphError(f"{what} would have {size:,} elements, more than the {MOST:,} allowed.")


def value_of(x: Tensor, what: str) -> Array:
    """Return the value of a tensor that depends on no input; raise OptionError for another."""
    nodes = reachable([x.node])
    for node in nodes:
        if node.primitive.leaf and node.primitive.name != "constant":
            raise OptionError(
                f"{what} depends on {node.params['name']!r}, so it is known only when the graph "
                "is run; only constants are supported there."
            )
    found: Array = x.node.params["value"] if len(nodes) == 1 else x.numpy()
    return found


def shape_tensor(shape: Shape) -> Tensor:
    """Return the lengths of a shape, int64, some of which may depend on the data."""
    if not any(isinstance(d, Dim) for d in shape):
        return as_tensor(np.array(shape, np.int64))
    return concat([record(lookup("count"), lengths=(d,), dtype="int64").reshape(1) for d in shape])


def lengths_of(x: Tensor, what: str) -> list[int | Dim]:
    """Return the lengths in a vector that :func:`shape_tensor` and moves of it made."""
    found: dict[Any, list[Any]] = {}
    for node in reachable([x.node]):
        parts, params = [found[i] for i in node.inputs], node.params
        name = node.primitive.name
        if name == "constant":
            found[node] = np.ravel(params["value"]).tolist()
        elif name == "count" and len(params["lengths"]) == 1:
            found[node] = list(params["lengths"])
        elif name == "concat":
            found[node] = [length for part in parts for length in part]
        elif name in ("reshape", "cast"):
            found[node] = parts[0]
        elif name == "slice" and len(params["starts"]) == 1:
            cut = slice(*(params[k][0] for k in ("starts", "stops", "steps")))
            found[node] = parts[0][cut]
        elif name == "gather" and node.inputs[0].spec.ndim == 1:
            found[node] = [parts[0][i] for i in parts[1]]
        else:
            return [int(i) for i in np.ravel(value_of(x, what))]
    return found[x.node]
