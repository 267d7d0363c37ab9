"""The base class of tensors: its shape and dtype are known, its value is computed on request.

Read next: :mod:`chainrule.core.tensor`, which adds the operations that record nodes.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from chainrule.core.errors import GraphError, ShapeError
from chainrule.core.foreign import no_member
from chainrule.core.graph import Node
from chainrule.core.recall import Evaluate, unknown, value_of
from chainrule.core.spec import Dim, Shape

__all__ = ["Handle", "recording", "set_evaluator"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_evaluate: Evaluate | None = None


_recording: ContextVar[bool] = ContextVar("chainrule_recording", default=False)


@contextmanager
def recording() -> Iterator[None]:
    """Mark the block as recorded once and run many times, with changing parameters.

    Tensors that depend on parameters have no value inside: an ``if`` on one would always take
    the branch of the first values.
    """
    token = _recording.set(True)
    try:
        yield
    finally:
        _recording.reset(token)


def set_evaluator(evaluate: Evaluate) -> None:
    """Set the function that computes values of tensors (the reference engine)."""
    global _evaluate
    _evaluate = evaluate


class Handle:
    """A handle on one value of a graph."""

    __slots__ = ("node",)
    node: Node

    def __init__(self, node: Node):
        self.node = node

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_member(self, name)

    # --- what is known without computing -------------------------------------------------

    @property
    def shape(self) -> Shape:
        """The shape; a length known only from the data is a :class:`~chainrule.core.spec.Dim`."""
        return self.node.spec.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype."""
        return self.node.spec.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.node.spec.ndim

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("a scalar has no length.")
        if isinstance(self.shape[0], Dim):
            raise ShapeError(f"length {self.shape[0]} is known only when data arrives.")
        return self.shape[0]

    # --- asking for the value ------------------------------------------------------------

    def numpy(self) -> Array:
        """Return the value as a new NumPy array, computed by the reference interpreter.

        Raises :class:`GraphError` when it depends on an input that has no value.
        """
        if _evaluate is None:
            raise GraphError("import chainrule to evaluate tensors: no engine is installed.")
        self._check_known(
            "so a tensor that depends on it can't be converted to a number or an array here. Use "
            "tensors and chainrule's functions instead, or give the value with "
            "chainrule.evaluate(chainrule.Graph({'y': y}), {NAME: value})."
        )
        value = value_of(self.node, _evaluate)
        return value if value.flags.writeable else value.copy()

    def item(self) -> Any:
        """Return the value as a Python number; raise ShapeError unless there is one element."""
        value = self.numpy()
        if value.size != 1:
            raise ShapeError(
                f"a tensor of shape {value.shape} can't be used as a scalar (a number or a "
                "boolean); reduce it first with sum(), mean() or max(), index one element, or use "
                ".numpy()."
            )
        return value.item()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        value = self.numpy()
        if dtype is None or np.dtype(dtype) == value.dtype:
            return value
        if copy is False:
            raise ValueError(f"converting {value.dtype} to {np.dtype(dtype)} needs a copy.")
        return value.astype(dtype)

    def __dlpack__(self, **options: Any) -> Any:
        """Hand the value to another library, as ``torch.from_dlpack(tensor)`` asks for it."""
        return self.numpy().__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # the memory of the CPU, as DLPack numbers devices

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())

    def __bool__(self) -> bool:
        self._check_known(
            "so 'if', 'while', 'and', 'or' and 'not' can't be used on a tensor that depends on it. "
            "Use chainrule.where(condition, a, b), which computes both and selects element by "
            "element, and combine conditions with &, | and ~."
        )
        return bool(self.item())

    def _inputs(self) -> list[Node]:
        """Return the leaves without a fixed value that this tensor depends on."""
        kinds = ("input", "parameter") if _recording.get() else ("input",)
        return [n for n in unknown(self.node) if n.primitive.name in kinds]

    def _check_known(self, consequence: str) -> None:
        """Raise GraphError, with the `consequence`, if a leaf that this depends on has no value."""
        for node in self._inputs():
            kind, name = node.primitive.name, repr(node.params["name"])
            why = "has no value while the graph is recorded"
            if kind == "parameter":
                why = "changes in training (its .value is the current one)"
            raise GraphError(
                f"{kind} {name}, {node.spec}, {why}, {consequence.replace('NAME', name)}"
            )

    def __repr__(self) -> str:
        if missing := self._inputs():
            return f"Tensor({self.node.spec}, needs {', '.join(n.params['name'] for n in missing)})"
        body = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
        return f"Tensor({body}, {self.node.spec})"
