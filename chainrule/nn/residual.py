"""Skip connections: layers whose input is added to their output.

Read next: :mod:`chainrule.nn.losses`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.core.errors import ShapeError
from chainrule.core.graph import scope
from chainrule.core.pickling import check_named
from chainrule.core.tensor import Tensor
from chainrule.nn.layer import Layer, Sequential, check_input, check_layer

__all__ = ["Residual"]


@dataclass(eq=False)
class Residual:
    """Add the output of `body` to its input: ``y = body(x) + shortcut(x)``.

    The gradient flows through the sum undiminished to earlier layers.  `body` is a layer or a
    list of layers; `shortcut` is the identity by default, or a layer, such as a Linear, where body
    changes the shape.  Raises OptionError for objects that are not layers, and ShapeError when
    the shapes of the two differ.

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

    def __getstate__(self) -> dict[str, Any]:
        for name, layer in (("body", self.body), ("shortcut", self.shortcut)):
            check_named(f"the {name} of a Residual", layer)
        return self.__dict__

    def check_input(self, X: Any) -> None:
        """Let both branches check the rows of `X`."""
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
