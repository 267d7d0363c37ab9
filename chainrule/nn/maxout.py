"""Maxout: a layer whose units learn their activation as the maximum of linear functions.

Each piece is a separate product rather than a block of one wide product, so that the
compiler can take the maximum while a product's tile is in registers.  A step costs as much as
that of a ReLU layer with as many weights.

Read next: :mod:`chainrule.nn.catalogue`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

from chainrule.core.errors import ShapeError
from chainrule.core.options import check_size, check_whole, float_dtype
from chainrule.core.parameter import Parameter
from chainrule.core.tensor import Tensor
from chainrule.nn.initializers import Initializer, MaxoutNormal, initializer
from chainrule.ops.arithmetic import maximum

__all__ = ["Maxout"]


@dataclass(eq=False)
class Maxout:
    """Take the maximum of several linear functions: ``y = max(x @ weight[i] + bias[i])``.

    It replaces a Linear and its activation: two pieces can represent ReLU, leaky ReLU or the
    absolute value, more pieces approximate any convex function.  It does not saturate and does
    not die; it needs `pieces` times the weights.
    x: (n, inputs), weight: `pieces` of (inputs, outputs), bias: `pieces` of (outputs,),
    y: (n, outputs).  Where pieces are equal, the last one receives the gradient.
    The default `weight_init` is :class:`~chainrule.nn.initializers.MaxoutNormal`.

    Raises OptionError for sizes that are not positive integers, or fewer than two pieces, and
    ShapeError when called on an input of another width.
    Source: Goodfellow, Warde-Farley, Mirza, Courville and Bengio, "Maxout networks", 2013.

    >>> import chainrule as cr
    >>> layer = Maxout(1, 1)
    >>> layer.weight[0].value, layer.weight[1].value = [[1.0]], [[-1.0]]
    >>> layer(cr.tensor([[-3.0], [2.0]]))
    Tensor([[3.],
            [2.]], f32[2,1])
    """

    inputs: int
    outputs: int
    pieces: int = 2
    weight_init: str | Initializer | None = None
    bias_init: str | float | Initializer = "zeros"
    dtype: str = "float32"
    weight: list[Parameter] = field(init=False, repr=False)
    bias: list[Parameter] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.inputs = check_whole("Maxout: inputs", self.inputs)
        self.outputs = check_whole("Maxout: outputs", self.outputs)
        self.pieces = check_whole("Maxout: pieces", self.pieces, least=2)
        check_size("Maxout: the weights", self.inputs * self.outputs * self.pieces)
        self.dtype = float_dtype("Maxout: dtype", self.dtype)
        start: Initializer = MaxoutNormal(self.pieces)
        if self.weight_init is not None:
            start = initializer(self.weight_init)
        shape, first = (self.inputs, self.outputs), initializer(self.bias_init)
        each = range(self.pieces)
        self.weight = [Parameter(shape, start, self.dtype, f"weight.{i}") for i in each]
        self.bias = [Parameter(shape[1], first, self.dtype, f"bias.{i}") for i in each]

    def __call__(self, x: Tensor) -> Tensor:
        if not x.shape or x.shape[-1] != self.inputs:
            raise ShapeError(
                f"Maxout({self.inputs}, {self.outputs}) needs {self.inputs} features on the last "
                f"axis, but got shape {x.shape}."
            )
        pieces = [x @ w + b for w, b in zip(self.weight, self.bias, strict=True)]
        return reduce(maximum, pieces)
