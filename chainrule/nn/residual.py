"""Skip connections: layers whose input goes round them.

Read next: :mod:`chainrule.nn.losses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.core.errors import ShapeError
from chainrule.core.graph import scope
from chainrule.core.tensor import Tensor
from chainrule.nn.layer import Layer, Sequential, check_input, check_layer

__all__ = ["Residual"]


@dataclass(eq=False)
class Residual:
    """Add what `body` makes of x to x itself: ``y = body(x) + shortcut(x)``.

    The gradient reaches the layers before it undiminished, through the sum.  `body` is a layer
    or a list of layers; `shortcut` is a layer, such as a Linear, where body changes the shape,
    and the identity by default.  Raises OptionError for what is not a layer, and ShapeError when
    the two do not fit.

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016.

    >>> from chainrule import nn
    >>> import chainrule as cr
    >>> Residual([nn.Linear(4, 4), nn.Tanh()])(cr.input("x", ("n", 4))).shape
    (n, 4)
    """

    body: Layer | Sequence[Layer]
    shortcut: Layer | None = None

    def __post_init__(self) -> None:
        if isinstance(self.body, (list, tuple)):
            self.body = Sequential(self.body)
        check_layer("Residual: body", self.body)
        if self.shortcut is not None:
            check_layer("Residual: shortcut", self.shortcut)

    def check_input(self, X: Any) -> None:
        """Let both ways say which rows of `X` they can't take."""
        check_input((self.body, self.shortcut), X)

    def __call__(self, x: Tensor) -> Tensor:
        assert callable(self.body)
        with scope("body"):
            y = self.body(x)
        around = x
        if self.shortcut is not None:
            with scope("shortcut"):
                around = self.shortcut(x)
        if y.shape != around.shape:
            raise ShapeError(
                f"Residual: body returns shape {y.shape} and the shortcut {around.shape}; they "
                "are added, so give a shortcut such as Linear(inputs, outputs)."
            )
        return y + around
