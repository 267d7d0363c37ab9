"""The parameters of a model: leaves whose values training changes.

Read next: :mod:`chainrule.core.verify`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from chainrule.core.errors import ShapeError
from chainrule.core.graph import Node
from chainrule.core.primitive import Primitive, register
from chainrule.core.spec import Spec
from chainrule.core.tensor import Tensor

__all__ = ["Parameter"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Initializer: TypeAlias = "Callable[[tuple[int, ...], np.random.Generator], Array]"


def _parameter_meaning(**params: Any) -> Array:
    value: Array = params["parameter"].value
    return value.copy()  # an output that is a view of it must not change as training goes on


PARAMETER = register(
    Primitive(
        "parameter",
        infer=lambda name, parameter: Spec(parameter.shape, parameter.dtype),
        meaning=_parameter_meaning,
        leaf=True,
    )
)


class Parameter(Tensor):
    """A leaf that training changes: a shape, a way to draw its first value, and its value.

    `value` is drawn by `initializer` with seed 0 when first asked for, unless
    :func:`chainrule.fit` or :func:`chainrule.nn.initialize` set it before.

    With `trainable` False it has no gradient: it is frozen, or a layer sets it as training
    goes (:func:`chainrule.ops.training.updating`).  `is_weight` says whether penalties and
    weight decay act on it where no names are given; by default they act on what has two axes
    or more, so not on biases and scales.
    """

    __slots__ = (
        "_value", "_watched", "assigned", "initializer", "is_weight", "name", "trainable",
    )  # fmt: skip

    def __init__(
        self,
        shape: int | Sequence[int],
        initializer: Initializer,
        dtype: DTypeLike = np.float32,
        name: str = "parameter",
        trainable: bool = True,
        is_weight: bool | None = None,
    ):
        self.initializer = initializer
        self.name = name
        self.trainable = trainable
        self.assigned = self._watched = False
        self._value: Array | None = None
        super().__init__(self._leaf(Spec(shape, dtype)))
        self.is_weight = self.ndim > 1 if is_weight is None else is_weight

    def _leaf(self, spec: Spec) -> Node:
        return Node(PARAMETER, (), {"name": self.name, "parameter": self}, spec, "")

    @property
    def value(self) -> Array:
        """The present value; drawn with seed 0 if nothing has set it.

        Setting it copies; while :func:`chainrule.fit` runs, training goes on from what is set.
        """
        if self._value is None:
            self._value = self.draw(np.random.Generator(np.random.Philox(key=[0, 0])))
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        array = np.array(value, dtype=self.dtype, order="C")  # the order machine code reads in
        if array.shape != self.shape:
            raise ShapeError(f"{self.name!r} has shape {self.shape}, not {array.shape}.")
        if self._watched:
            self.value[...] = array
        else:
            self._value = array
        self.assigned = True

    def watch(self, view: Array) -> None:
        """Let the value be what `view`, memory that training changes, holds at any time."""
        self._value, self.assigned, self._watched = view, True, True

    def unwatch(self) -> None:
        """End :meth:`watch`: keep a copy of the value as it is now."""
        if self._watched:
            self._value, self._watched = self.value.copy(), False

    def draw(self, generator: np.random.Generator) -> Array:
        """Return a first value from the initializer, without keeping it."""
        shape = tuple(int(d) for d in self.shape if isinstance(d, int))
        return np.array(self.initializer(shape, generator), dtype=self.dtype, order="C")

    def forget(self) -> None:
        """Drop the value, so that the next use draws it anew."""
        self._value, self.assigned, self._watched = None, False, False
