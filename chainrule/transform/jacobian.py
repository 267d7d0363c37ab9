"""Jacobians and Hessians, as graph.

Reverse mode gives a row: the derivatives of one output to all inputs.  Forward mode gives a
column: the derivatives of all outputs to one input.  Forward mode does not need its own rules:
``J^T u`` is linear in `u`, so its gradient to `u` along `v` is ``J v`` (J. Townsend, "A new
trick for calculating Jacobian vector products", 2017).

Read next: :mod:`chainrule.optim.levenberg_marquardt`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import overload

import numpy as np

from chainrule.core.errors import DTypeError, ShapeError
from chainrule.core.spec import Shape, is_float
from chainrule.core.tensor import Tensor, tensor
from chainrule.ops.shape import broadcast_to, stack
from chainrule.transform.grad import Unused, check_tensors, check_unused, grad, pull_back

__all__ = ["hessian", "jacobian", "push_forward"]


def push_forward(
    output: Tensor, inputs: Sequence[Tensor], tangents: Sequence[Tensor | None]
) -> Tensor:
    """Return the Jacobian-vector product ``J v`` of `output` for the `tangents` of `inputs`.

    A tangent has the shape of its input; None means zero.  The result has the shape of
    `output`.  It costs about two evaluations of `output`.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0, 2.0])
    >>> push_forward(x * x, [x], [cr.tensor([1.0, 0.0])])
    Tensor([2., 0.], f32[2])
    """
    u = broadcast_to(tensor(np.zeros((), output.dtype)), output.shape)
    moved = [(x, v) for x, v in zip(inputs, tangents, strict=True) if v is not None]
    slopes = pull_back(output, u, [x for x, _ in moved])
    along: Tensor | None = None
    for slope, (_, tangent) in zip(slopes, moved, strict=True):
        term = (slope * tangent).sum()
        along = term if along is None else along + term
    return u if along is None else grad(along, u, unused="zero")


@overload
def jacobian(output: Tensor, inputs: Tensor, unused: Unused = "error") -> Tensor: ...
@overload
def jacobian(
    output: Tensor, inputs: Sequence[Tensor], unused: Unused = "error"
) -> list[Tensor]: ...
def jacobian(
    output: Tensor, inputs: Tensor | Sequence[Tensor], unused: Unused = "error"
) -> Tensor | list[Tensor]:
    """Return the derivatives of `output` with respect to `inputs`, as graph.

    ``jacobian(y, x)[i, j] = d y[i] / d x[j]``, of shape ``y.shape + x.shape``.  It is computed by
    columns (forward) or by rows (reverse), whichever are fewer, and the graph grows with
    their number.  A length known only from the data (`n`) may occur in `output` or in `inputs`.

    Raises ShapeError when both have such a length, DTypeError for tensors that are not floats,
    GraphError for arguments that are not tensors, and for an input that `output` does not depend
    on; with `unused` "zero", its derivatives are zero.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0, 2.0])
    >>> jacobian(cr.stack([x[0] * x[1], x[0] ** 2, x[1]]), x)
    Tensor([[2., 1.],
            [2., 0.],
            [0., 1.]], f32[3,2])
    """
    many = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    _check("jacobian", output, many)
    check_unused("jacobian", unused, output, many)
    rows, columns = _size(output.shape), math.fsum(_size(x.shape) for x in many)
    if math.isinf(rows) and math.isinf(columns):
        raise ShapeError(
            f"jacobian: the output {output.node.spec} and the inputs both have a length that is "
            "known only from the data, so the number of rows and columns is unknown. Give one of "
            "them a fixed shape, or differentiate with respect to parameters."
        )
    made = _by_columns(output, many) if columns < rows else _by_rows(output, many)
    return made[0] if isinstance(inputs, Tensor) else made


@overload
def hessian(output: Tensor, inputs: Tensor, unused: Unused = "error") -> Tensor: ...
@overload
def hessian(
    output: Tensor, inputs: Sequence[Tensor], unused: Unused = "error"
) -> list[list[Tensor]]: ...
def hessian(
    output: Tensor, inputs: Tensor | Sequence[Tensor], unused: Unused = "error"
) -> Tensor | list[list[Tensor]]:
    """Return the second derivatives of the scalar `output`, as graph.

    ``hessian(f, x)[i, j] = d²f / (d x[i] d x[j])``, of shape ``x.shape + x.shape``.  For a list of
    inputs, ``hessian(f, [a, b])[0][1]`` has the derivatives to `a`, then to `b`.
    Raises the errors of :func:`~chainrule.transform.grad.grad` and :func:`jacobian`.

    >>> import chainrule as cr
    >>> x = cr.tensor([1.0, 2.0])
    >>> hessian(x[0] ** 2 * x[1], x)
    Tensor([[4., 2.],
            [2., 0.]], f32[2,2])
    """
    if isinstance(inputs, Tensor):
        return jacobian(grad(output, inputs, unused), inputs, "zero")
    many = list(inputs)
    return [jacobian(slope, many, "zero") for slope in grad(output, many, unused)]


def _check(who: str, output: Tensor, inputs: Sequence[Tensor]) -> None:
    check_tensors(who, output, *inputs)
    for x in (output, *inputs):
        if not is_float(x.dtype):
            raise DTypeError(f"{who} needs floats, not {x.node.spec}.")


def _size(shape: Shape) -> float:
    """Return the number of elements; infinite if it is known only from the data."""
    return math.prod(d if isinstance(d, int) else math.inf for d in shape)


def _by_columns(output: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return each Jacobian by forward mode, one element of an input at a time."""
    u = broadcast_to(tensor(np.zeros((), output.dtype)), output.shape)
    made = []
    for x, slope in zip(inputs, pull_back(output, u, inputs), strict=True):
        flat = slope.reshape(-1)
        columns = [grad(flat[i], u, unused="zero") for i in range(int(_size(x.shape)))]
        made.append(
            stack(columns, axis=-1).reshape((*output.shape, *x.shape))
            if columns
            else _empty(output, x)
        )
    return made


def _by_rows(output: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return each Jacobian by reverse mode, one element of the output at a time."""
    size = int(_size(output.shape))
    units = (tensor(np.eye(1, size, i, output.dtype)) for i in range(size))
    rows = [pull_back(output, unit.reshape(output.shape), inputs) for unit in units]
    return [
        stack([row[k] for row in rows], axis=0).reshape((*output.shape, *x.shape))
        if rows
        else _empty(output, x)
        for k, x in enumerate(inputs)
    ]


def _empty(output: Tensor, x: Tensor) -> Tensor:
    return broadcast_to(tensor(np.zeros((), output.dtype)), (*output.shape, *x.shape))
