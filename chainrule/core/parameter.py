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
from chainrule.core.pickling import check_named
from chainrule.core.primitive import Primitive, register
from chainrule.core.spec import Spec
from chainrule.core.tensor import Tensor

__all__ = ["Parameter"]

Array: TypeAlias = "np.ndarray[Any, Any]"
Initializer: TypeAlias = "Callable[[tuple[int, ...], np.random.Generator], Array]"


def _parameter_meaning(**params: Any) -> Array:
    value: Array = params["parameter"].value
    return value.copy()  # training must not change an output that is a view of it


PARAMETER = register(
    Primitive(
        "parameter",
        infer=lambda name, parameter: Spec(parameter.shape, parameter.dtype),
        meaning=_parameter_meaning,
        leaf=True,
    )
)


class Parameter(Tensor):
    """A leaf that training changes, with a shape, an initializer and a value.

    `value` is drawn by `initializer` with seed 0 on first use, unless
    :func:`chainrule.fit` or :func:`chainrule.nn.initialize` set it before.

    With `trainable` False it has no gradient: it is frozen, or a layer updates it during
    training (:func:`chainrule.ops.training.updating`).  `is_weight` sets whether penalties and
    weight decay apply to it where no names are given; by default they apply to parameters with
    two or more axes, so not to biases and scales.
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

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies and pickles hold: a value of their own, which no training changes."""
        check_named(f"the initializer of {self.name!r}", self.initializer)
        names = ("assigned", "initializer", "is_weight", "name", "trainable")
        value = self._value.copy() if self._watched and self._value is not None else self._value
        held = {name: getattr(self, name) for name in names}
        return held | {"_value": value, "_watched": False, "spec": self.node.spec}

    def __setstate__(self, state: dict[str, Any]) -> None:
        spec = state.pop("spec")
        for name, held in state.items():
            setattr(self, name, held)
        self.node = self._leaf(spec)

    @property
    def value(self) -> Array:
        """The current value; drawn with seed 0 if it was never set.

        Setting it copies; while :func:`chainrule.fit` runs, training continues from the new value.
        """
        if self._value is None:
            self._value = self.draw(np.random.Generator(np.random.Philox(key=[0, 0])))
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        array = np.array(value, dtype=self.dtype, order="C")  # the order that machine code reads
        if array.shape != self.shape:
            raise ShapeError(f"{self.name!r} has shape {self.shape}, not {array.shape}.")
        if self._watched:
            self.value[...] = array
        else:
            self._value = array
        self.assigned = True

    def watch(self, view: Array) -> None:
        """Use `view`, memory that training changes, as the value from now on."""
        self._value, self.assigned, self._watched = view, True, True

    def unwatch(self) -> None:
        """End :meth:`watch`: keep a copy of the current value."""
        if self._watched:
            self._value, self._watched = self.value.copy(), False

    def draw(self, generator: np.random.Generator) -> Array:
        """Return an initial value from the initializer, without storing it."""
        shape = tuple(int(d) for d in self.shape if isinstance(d, int))
        return np.array(self.initializer(shape, generator), dtype=self.dtype, order="C")

    def forget(self) -> None:
        """Delete the value, so that the next use draws it again."""
        self._value, self.assigned, self._watched = None, False, False
