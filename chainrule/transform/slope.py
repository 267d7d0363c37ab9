"""A gradient with the conditions under which it is not 0, so that unused branches do not give NaN.

``where(x > 0, log(x), 0)`` sends a gradient of 0 to ``log(x)`` where x is 0, but the rule of log
turns it into NaN there: 0 divided by 0.  An element that was not chosen has no effect, so its
gradient is 0, whatever the branch computed.  So the condition is passed along with the gradient,
as long as elements keep their positions, and is applied again at the end of the branch, if a
rule in between could have turned 0 into another value.

Read next: :mod:`chainrule.transform.grad`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.core.errors import ShapeError
from chainrule.core.graph import Node
from chainrule.core.spec import Shape, broadcast_shapes
from chainrule.core.tensor import Tensor
from chainrule.ops.arithmetic import where
from chainrule.ops.shape import sum_to

__all__ = ["Slope"]


@dataclass(frozen=True)
class Slope:
    """The gradient `value` of a node, which should be 0 where one of `choices` does not hold.

    A choice is a condition and the value that it must have for the gradient to count.  If
    `spoilt`, the gradient may be NaN or infinite there instead.
    """

    value: Tensor
    choices: frozenset[tuple[Node, bool]] = frozenset()
    spoilt: bool = False

    def settled(self) -> Tensor:
        """Return the gradient, set to 0 where a choice does not hold."""
        value = self.value
        if self.spoilt:
            for condition, chosen in sorted(self.choices, key=lambda choice: choice[0].serial):
                pair = (value, 0.0) if chosen else (0.0, value)
                value = where(Tensor(condition), *pair)
        return value

    def plus(self, other: Slope) -> Slope:
        """Return the sum of two gradients of one node, with the choices that both have."""
        if self.choices == other.choices:
            return Slope(self.value + other.value, self.choices, self.spoilt or other.spoilt)
        return Slope(self.settled() + other.settled(), self.choices & other.choices)

    def through(self, node: Node, position: int, part: Tensor) -> Slope:
        """Return the slope of the input at `position`; the rule of `node` gave its value `part`."""
        if node.primitive.choice:
            # The rules of maximum and minimum return where(lost, 0, ...).
            name = node.primitive.name
            made = (
                (node.inputs[0], position == 1) if name == "where" else (part.node.inputs[0], False)
            )
            fresh = self.choices | {made}
            return Slope(part, fresh, self.spoilt and fresh != {made})
        return Slope(part, self.choices, self.spoilt or not _harmless(node, position))

    def onto(self, shape: Shape) -> Slope:
        """Return the slope summed to `shape`; choices that vary within a sum are applied first."""
        kept = frozenset(c for c in self.choices if _fits(c[0].spec.shape, shape))
        if kept == self.choices:
            return Slope(sum_to(self.value, shape), kept, self.spoilt)
        return Slope(sum_to(self.settled(), shape), kept)


def _harmless(node: Node, position: int) -> bool:
    """Return whether the rule of `node` maps 0 to 0, whatever its inputs are."""
    if node.primitive.linear or node.primitive.choice:
        return True
    if node.primitive.name not in ("mul", "div"):
        return False
    other = node.inputs[1 - position]
    if not _constant(other) or (node.primitive.name == "div" and position == 1):
        return False
    value = other.params["value"]
    return bool(np.isfinite(value).all() and (node.primitive.name == "mul" or value.all()))


def _constant(node: Node) -> bool:
    return node.primitive.name == "constant"


def _fits(condition: Shape, shape: Shape) -> bool:
    """Return whether the condition has one value for each element of `shape`."""
    try:
        return broadcast_shapes([condition, shape]) == shape
    except ShapeError:
        return False
