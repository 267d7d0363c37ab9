"""Check gradients, to any order, by comparing them with central differences.

The check projects on random directions, so it costs a few evaluations however
many inputs there are: ``(f(x + h v) - f(x - h v)) / 2 h`` must equal ``grad(f) . v``.
The idea is from HIPS/autograd's ``check_grads``.

Read next: :mod:`chainrule.run.reference`, which computes the values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.core.errors import ChainruleError
from chainrule.core.spec import is_float
from chainrule.core.tensor import Tensor, tensor
from chainrule.ops.shape import stack
from chainrule.transform.grad import grad

__all__ = ["check_grads"]


def check_grads(
    function: Callable[..., Tensor],
    arrays: Sequence[Any],
    order: int = 2,
    step: float = 1e-5,
    tolerance: float = 1e-5,
    seed: int = 0,
) -> None:
    """Raise unless the gradients of `function` at `arrays` match central differences.

    `function` maps tensors to one tensor; float arrays are varied in float64,
    integers and booleans are held fixed.  With ``order=2`` the gradient's own
    gradient is checked too.  Raises ChainruleError with both numbers.

    >>> import chainrule as cr
    >>> check_grads(lambda x: cr.tanh(x) * x, [np.linspace(-1, 1, 5)])
    """
    generator = np.random.Generator(np.random.Philox(seed))
    values = [np.asarray(a) for a in arrays]
    values = [v.astype(np.float64) if is_float(v.dtype) else v for v in values]
    varied = [i for i, v in enumerate(values) if is_float(v.dtype)]
    weights: list[Any] = []

    def scalar(*tensors: Tensor) -> Tensor:
        # A fixed random weighting makes every element of the output count.
        out = function(*tensors)
        if not weights:
            weights.append(generator.normal(size=out.numpy().shape))
        return (out * tensor(weights[0])).sum()

    def slopes_along(
        directions: Sequence[Any], current: Callable[..., Tensor]
    ) -> Callable[..., Tensor]:
        def along(*tensors: Tensor) -> Tensor:
            slopes = grad(current(*tensors), [tensors[i] for i in varied], unused="zero")
            parts = [(s * tensor(d)).sum() for s, d in zip(slopes, directions, strict=True)]
            return stack(parts).sum()

        return along

    current: Callable[..., Tensor] = scalar
    for level in range(1, order + 1):
        directions = [generator.normal(size=values[i].shape) for i in varied]
        along = slopes_along(directions, current)
        exact = float(along(*map(tensor, values)))
        sides = []
        for sign in (1, -1):
            moved = list(values)
            for i, direction in zip(varied, directions, strict=True):
                moved[i] = values[i] + sign * step * direction
            sides.append(float(current(*map(tensor, moved))))
        measured = (sides[0] - sides[1]) / (2 * step)
        if not abs(exact - measured) <= tolerance * (1 + abs(exact) + abs(measured)):
            raise ChainruleError(
                f"gradient of order {level} is {exact:.9g}, "
                f"central differences give {measured:.9g}."
            )
        current = along
