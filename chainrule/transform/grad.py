"""Reverse-mode differentiation: the gradient of a scalar, as graph.

The gradient of a node is the sum of the parts that the gradient rules of its
consumers return (the chain rule), so the walk goes from the output to the
inputs, visiting every node once, after all its consumers.  The result consists
of ordinary nodes: it can be printed, run, compiled and differentiated again.

Read next: :mod:`chainrule.run.reference`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Literal, TypeAlias, get_args, overload

import numpy as np

from chainrule.core.errors import DTypeError, GraphError, OptionError, ShapeError
from chainrule.core.graph import Node, reachable, user_frame
from chainrule.core.spec import is_float
from chainrule.core.tensor import Tensor, tensor
from chainrule.ops.shape import broadcast_to, sum_to
from chainrule.transform.slope import Slope

__all__ = [
    "Unused", "check_tensors", "check_unused", "depending_on", "grad", "pull_back", "send_back",
    "send_slope",
]  # fmt: skip

Unused: TypeAlias = Literal["error", "zero"]


@overload
def grad(output: Tensor, inputs: Tensor, unused: Unused = "error") -> Tensor: ...
@overload
def grad(output: Tensor, inputs: Sequence[Tensor], unused: Unused = "error") -> list[Tensor]: ...
def grad(
    output: Tensor, inputs: Tensor | Sequence[Tensor], unused: Unused = "error"
) -> Tensor | list[Tensor]:
    """Return the gradient of the scalar `output` with respect to each of `inputs`, as graph.

    Raises ShapeError when `output` is not a scalar, DTypeError when it is not a float,
    GraphError for arguments that are not tensors, and for an input that `output` does not depend
    on; with `unused` "zero", its gradient is zero.

    >>> import chainrule as cr
    >>> x = cr.tensor(3.0)
    >>> slope = cr.grad(x * x, x)
    >>> float(slope), float(cr.grad(slope, x))
    (6.0, 2.0)
    """
    single = isinstance(inputs, Tensor) or not isinstance(inputs, Iterable)
    many: list[Tensor] = [inputs] if single else list(inputs)  # type: ignore[list-item]
    check_tensors("grad", output, *many)
    if output.shape != ():
        raise ShapeError(
            f"grad needs a scalar, but the output is {output.node.spec}; "
            "take its mean() or sum() first."
        )
    if not is_float(output.dtype):
        raise DTypeError(f"grad needs a float output, not {output.node.spec}.")
    check_unused("grad", unused, output, many)
    slopes = pull_back(output, tensor(np.ones((), output.dtype)), many)
    return slopes[0] if isinstance(inputs, Tensor) else slopes


def check_unused(who: str, unused: Unused, output: Tensor, inputs: Sequence[Tensor]) -> None:
    """Raise GraphError, on behalf of `who`, for an input that `output` does not depend on.

    With `unused` "zero" such inputs are allowed; OptionError if it is neither this nor "error".
    """
    if unused not in get_args(Unused):
        raise OptionError(f"{who}: unused must be 'error' or 'zero', not {unused!r}.")
    if unused == "zero":
        return
    nodes = set(_above(output, inputs))
    for i, x in enumerate(inputs):
        if x.node not in nodes:
            known = x.node.params.get("name") or _variable(x)
            name = f"{known!r}" if known else "its input" if len(inputs) == 1 else f"inputs[{i}]"
            where = f", recorded at {x.node.line}" if x.node.line else ""
            raise GraphError(
                f"{who}: the output, recorded at {output.node.line}, does not depend on {name}, "
                f"{x.node.spec}{where}. Was {name} reassigned after the output was computed from "
                "it, or did float(), .item() or .numpy() break the graph between them? If a "
                f"gradient of zero is intended, call {who}(output, inputs, unused='zero')."
            )


def _variable(x: Tensor) -> str:
    """Return the name of the variable in the user's frame that is `x`, or an empty string."""
    here = user_frame().f_locals
    return next((name for name, value in here.items() if value is x), "")


def _above(output: Tensor, inputs: Sequence[Tensor]) -> list[Node]:
    """Return the nodes `output` depends on, oldest first, back to the oldest of `inputs`.

    Older nodes can't depend on any of them.  A hand-written training loop has a long history,
    and each of its gradients needs only the last step.
    """
    oldest = min((x.node.serial for x in inputs), default=output.node.serial)
    return reachable([output.node], follow=lambda node: node.inputs if node.serial > oldest else ())


def check_tensors(who: str, *things: object) -> None:
    """Raise GraphError, on behalf of the function `who`, for a thing that is not a tensor."""
    for thing in things:
        if not isinstance(thing, Tensor):
            raise GraphError(
                f"{who} needs tensors, not {type(thing).__name__}: leave out float(), .item() and "
                ".numpy() between inputs and output, and make inputs with chainrule.tensor(...)."
            )


def pull_back(output: Tensor, g: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return, for each of `inputs`, the vector-Jacobian product of `g` with ``d output / d input``.

    `g` has the shape of `output`.
    """
    for x in inputs:
        if not is_float(x.dtype):
            raise DTypeError(f"only float tensors have gradients, not {x.node.spec}.")
    if g.shape != output.shape:
        raise ShapeError(f"g must have the output's shape {output.shape}, not {g.shape}.")
    nodes = _above(output, inputs)
    concerned = depending_on(nodes, {x.node for x in inputs})
    slopes: dict[Node, Slope] = {output.node: Slope(g)}
    for node in reversed(nodes):
        if node in concerned and node in slopes:
            for position, part in send_slope(node, slopes[node], concerned):
                source = node.inputs[position]
                slopes[source] = slopes[source].plus(part) if source in slopes else part
    return [
        slopes[x.node].settled()
        if x.node in slopes
        else broadcast_to(tensor(np.zeros((), x.dtype)), x.shape)
        for x in inputs
    ]


def send_slope(node: Node, slope: Slope, concerned: Container[Node]) -> Iterator[tuple[int, Slope]]:
    """Apply the gradient rule of `node` to `slope`, as :func:`send_back` does to a tensor."""
    elementwise = node.primitive.elementwise
    slope = slope if elementwise else Slope(slope.settled())
    for position, part in _parts(node, slope.value, concerned):
        sent = slope.through(node, position, part)
        if elementwise:
            sent = sent.onto(node.inputs[position].spec.shape)
        yield position, sent


def depending_on(nodes: Sequence[Node], roots: Iterable[Node]) -> set[Node]:
    """Return `roots` and those of `nodes`, oldest first, that depend on any of them."""
    found = set(roots)
    for node in nodes:
        if not found.isdisjoint(node.inputs):
            found.add(node)
    return found


def send_back(node: Node, g: Tensor, concerned: Container[Node]) -> Iterator[tuple[int, Tensor]]:
    """Apply the gradient rule of `node` to `g`, the gradient of its value.

    Yields the position of each input in `concerned`, and the part that is added to its gradient.
    Raises GraphError when the rule fails.
    """
    for position, part in _parts(node, g, concerned):
        yield (
            position,
            (
                sum_to(part, node.inputs[position].spec.shape)
                if node.primitive.elementwise
                else part
            ),
        )


def _parts(node: Node, g: Tensor, concerned: Container[Node]) -> Iterator[tuple[int, Tensor]]:
    """Yield the results of :func:`send_back`, before they are summed to the shape of an input."""
    rule = node.primitive.vjp
    if rule is None or not node.inputs:
        return  # comparisons, integer results, stop_gradient: they have no gradient
    handles = [Tensor(i) for i in node.inputs]
    try:
        parts = rule(g, Tensor(node), *handles, **node.params)
    except Exception as error:
        raise GraphError(
            f"the gradient rule of {node.primitive.name!r}, recorded at {node.line}, "
            f"failed: {error}"
        ) from error
    for position, (source, part) in enumerate(zip(node.inputs, parts, strict=True)):
        if part is not None and source in concerned and is_float(source.spec.dtype):
            yield position, part
