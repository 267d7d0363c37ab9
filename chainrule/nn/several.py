"""Several targets that one network predicts, each with outputs of its own: their loss.

Read next: :mod:`chainrule.step.objective`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import accumulate
from typing import Any

from chainrule.core.errors import OptionError
from chainrule.core.options import check_whole
from chainrule.core.tensor import Tensor
from chainrule.nn.losses import LOSSES, WITH_OPTIONS
from chainrule.ops.arithmetic import add

__all__ = ["Columns", "Several"]


@dataclass(frozen=True)
class Columns:
    """Return the columns of x (n, columns) from `start` to before `stop`: ``x[:, start:stop]``.

    After a model of several targets, it leaves the outputs of one.  Raises OptionError unless
    0 <= start < stop.

    >>> import chainrule as cr
    >>> Columns(1, 3)(cr.tensor([[1.0, 2.0, 3.0, 4.0]]))
    Tensor([[2., 3.]], f32[1,2])
    """

    start: int
    stop: int

    def __post_init__(self) -> None:
        check_whole("Columns: start", self.start, least=0)
        check_whole("Columns: stop", self.stop, least=self.start + 1)

    def __call__(self, x: Tensor) -> Tensor:
        return x[:, self.start : self.stop]


@dataclass(frozen=True)
class Several:
    """The sum over targets of ``loss(own outputs, own column) / scale``.

    `losses` are names, or losses with options, for each target; `outputs` is how many outputs each
    has, in order; `scales` are what the losses are divided by, such as those of a plain guess, so
    that no target outweighs the others (1 by default).
    output: (n, sum of `outputs`); target: (n, targets), with class numbers as whole numbers.
    Raises OptionError for a loss that reads more than one column of the target.

    >>> import chainrule as cr
    >>> both = Several(("mse", "cross_entropy"), (1, 2))
    >>> both(cr.tensor([[1.0, 0.0, 0.0]]), cr.tensor([[3.0, 1.0]]))  # 2² + log 2
    Tensor([4.693147], f32[1])
    """

    losses: tuple[Any, ...]
    outputs: tuple[int, ...]
    scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        scales = tuple(self.scales) or (1.0,) * len(self.losses)
        for name, value in (("losses", self.losses), ("outputs", self.outputs), ("scales", scales)):
            object.__setattr__(self, name, tuple(value))
        if not len(self.losses) == len(self.outputs) == len(scales) > 0 or min(scales) <= 0:
            raise OptionError(
                "Several: losses, outputs and scales need an entry for each target, scales above 0."
            )
        self.kinds  # noqa: B018 - raises for an unknown loss

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of target of each loss, as in the table of :mod:`chainrule.nn.losses`."""
        found = []
        for loss in self.losses:
            known = LOSSES.get(WITH_OPTIONS.get(type(loss), loss))
            if known is None or known.kind == "labels":
                raise OptionError(
                    f"Several: {loss!r} is not a loss of one column: a name such as 'mse' or "
                    "'cross_entropy', or a loss with options such as nn.Huber(2.0)."
                )
            found.append(known.kind)
        return tuple(found)

    @property
    def columns(self) -> tuple[slice, ...]:
        """The outputs of each target."""
        ends = list(accumulate(self.outputs, initial=0))
        return tuple(map(slice, ends[:-1], ends[1:]))

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        charges = []
        entries = zip(self.losses, self.kinds, self.columns, self.scales, strict=True)
        for k, (loss, kind, columns, scale) in enumerate(entries):
            function = LOSSES[loss].function if isinstance(loss, str) else loss
            own = target[:, k : k + 1]
            if kind in ("classes", "ordered"):
                own = target[:, k].astype("int32")
            charges.append(function(output[:, columns], own) / scale)
        return reduce(add, charges)
