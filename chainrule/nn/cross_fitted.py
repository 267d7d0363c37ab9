"""Members that are trained on different rows, and validated on those that they did not see.

Read next: :mod:`chainrule.nn.members`, whose average of the members this changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from chainrule.core.errors import OptionError
from chainrule.core.options import check_whole
from chainrule.core.tensor import Tensor
from chainrule.nn.layer import Layer, Sequential, row_shape
from chainrule.nn.members import member_weights
from chainrule.ops.compare import equal

__all__ = ["CrossFitted"]


@dataclass(eq=False, init=False)
class CrossFitted(Sequential):
    """A Sequential whose members are trained on different rows, for the time of its training.

    The rows are divided into `parts`, and member j is not trained on the rows of part ``j mod
    parts``.  The number of its part stands behind the features of a row: x: (n, features + 1).
    The number p is that of a row to train on: its output is the average of the members that are
    trained on part p.  p + 0.5 is that of a row to validate on: its output is the average of the
    others, which have not seen it.  So all rows are trained on, and all are validation rows.
    The last layer must be :class:`~chainrule.nn.members.AverageMembers`.

    Weights that members share, behind the first layer, are trained on all rows.  A test trains on
    targets of pure noise: rows that a member left out are then predicted as badly as new ones.

    After training, ``Sequential(model.layers)`` averages all members, and takes rows without the
    number.  :meth:`numbered` adds the numbers to rows.

    Raises OptionError unless `members` is a multiple of `parts`, and `parts` 2 or more.
    Source: Breiman, "Bagging predictors", 1996, and "Out-of-bag estimation", 1996.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = CrossFitted([nn.AverageMembers(2)], members=2, parts=2)
    >>> model(cr.tensor([[1.0, 7.0, 0.0], [1.0, 7.0, 0.5]]))  # to train on, and to validate on
    Tensor([[7.],
            [1.]], f32[2,1])
    """

    members: int
    parts: int

    def __init__(self, layers: Sequence[Layer], members: int, parts: int):
        super().__init__(layers)
        self.members = check_whole("CrossFitted: members", members)
        self.parts = check_whole("CrossFitted: parts", parts, least=2)
        if members % parts:
            raise OptionError(
                f"CrossFitted: {members} members can't be divided into {parts} parts."
            )

    def __call__(self, x: Tensor) -> Tensor:
        left_out = np.arange(self.members) % self.parts
        number, few = x[:, -1:], self.members // self.parts
        validating = equal(number, left_out + 0.5).astype(x.dtype) / few
        training = (1.0 - equal(number, left_out).astype(x.dtype)) / (self.members - few)
        trained_on = 1.0 - validating.sum(1, keepdims=True)
        with member_weights(validating + trained_on * training):
            return super().__call__(x[:, :-1])

    @property
    def row_width(self) -> int:
        """The number of features of a row, with that of its part."""
        return row_shape(Sequential(self.layers))[0] + 1

    @staticmethod
    def numbered(X: NDArray[np.float32], part: NDArray[np.intp], held: bool) -> NDArray[np.float32]:
        """Return the rows X with the numbers of their parts, to train on or to validate on."""
        number = (part + (0.5 if held else 0.0)).astype(X.dtype)
        return np.column_stack([X, number])
